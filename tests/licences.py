"""Write docs/licences.md: the licence of every package that an installation needs, as the packages themselves say."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
# Licences that allow any use. What is under another is looked at by a person, and then named here.
FREE = r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|HPND|Zlib|0BSD|Unlicense|CC0|MPL-2\.0|Mozilla Public License 2\.0"
_HEAD = """# Licences

bmaml is under the MIT licence. An installation of its core needs these packages, directly or through others, with the
licences that the packages state. `python tests/licences.py` writes this page from the installed packages, and refuses a licence
that is not on its list. `make audit` also asks for known vulnerabilities.

| package | licence |
|---|---|
"""


def needed(names: list[str]) -> dict[str, Distribution]:
    """The installed packages that some packages need, and those that these need, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # needed on other platforms alone
        wanted = map(Requirement, found[name].requires or ())
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """What a package says of its licence."""
    about = package.metadata
    short = about.get("License-Expression")
    known = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    text = (about.get("License") or "").strip().splitlines()
    return short or ", ".join(known) or (text[0] if text else "")


def core() -> list[str]:
    """The names of the packages that the core needs."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [Requirement(one).name for one in wanted]


def page() -> str:
    """The page as it should be."""
    rows = {name: licence(package) for name, package in needed(core()).items()}
    bad = [f"{name} ({said or 'no licence'})" for name, said in rows.items() if not re.search(FREE, said)]
    if bad:
        raise SystemExit(f"These licences are not on the list: {', '.join(bad)}.")
    return _HEAD + "".join(f"| {name} | {said} |\n" for name, said in rows.items())


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE} lists {page().count(chr(10)) - _HEAD.count(chr(10))} packages\n")
