"""Print the lower bound of everything that pyproject.toml asks for, as constraints for pip.

`make test-lowest` installs exactly these, so that a bound that has become wrong is seen.
"""

import re
import sys
import tomllib
from pathlib import Path


def lowest(project):
    """Return `name==version` of each dependency of the package and of its tests, at its lower bound."""
    asked = project["dependencies"] + project["optional-dependencies"]["test"]
    bounds = {re.match(r"[\w.-]+", entry)[0]: re.search(r">=\s*([\w.]+)", entry) for entry in asked}
    if unbound := [name for name, bound in bounds.items() if not bound]:
        sys.exit(f"no lower bound of {', '.join(unbound)} in pyproject.toml: give one.")
    return [f"{name}=={bound[1]}" for name, bound in bounds.items()]


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    print(*lowest(tomllib.loads((root / "pyproject.toml").read_text())["project"]), sep="\n")
