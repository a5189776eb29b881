"""The rooms of the package, and the text about them in the docs."""

import ast
import textwrap
from pathlib import Path

# From the bottom up: a room imports only rooms that stand before it here, and itself.
# `__init__` is the package's own list of public names. The rooms after it may use that list.
ROOMS = (
    *("errors", "rows", "io", "data", "distributions", "likelihoods", "models", "inference", "tasks", "learners", "objectives"),
    *(
        "training",
        "evaluation",
        "methods",
        "tables",
        "images",
        "recipes",
        "estimators",
        "rl",
        "__init__",
        "experiments",
        "plots",
        "reports",
        "lecture",
        "explore",
        "cli",
    ),
    "__main__",
)
HEAD = """# The rooms

Each folder of `src/bmaml` holds one idea. The folders stand here from the bottom up. A folder imports only folders that
stand before it. The text is the docstring of each folder's `__init__.py`: it says what belongs there and what a new file
needs. `python tests/rooms.py` writes this page, and a test checks that the page is up to date. [design.md](design.md)
explains the decisions.
"""


def page(package: Path) -> str:
    """Return docs/rooms.md, made from the docstrings of a package's folders."""
    parts = [HEAD]
    for room in ROOMS:
        if (package / room).is_dir():
            folders = [package / room, *sorted(f.parent for f in (package / room).rglob("*/__init__.py"))]
            parts += [_section(folder, folder.relative_to(package)) for folder in folders]
        elif not room.startswith("__"):
            parts.append(f"## `{room}.py`\n\n{_docstring(package / f'{room}.py')}\n")
    return "\n".join(parts)


def _section(folder: Path, name: Path) -> str:
    level = "#" * (1 + len(name.parts))
    return f"{level} `{name.as_posix()}/`\n\n{_docstring(folder / '__init__.py')}\n"


def _docstring(file: Path) -> str:
    return textwrap.dedent(ast.get_docstring(ast.parse(file.read_text())) or "").strip()


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    (root / "docs" / "rooms.md").write_text(page(root / "src" / "bmaml"))
