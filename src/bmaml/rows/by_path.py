"""Find what a user typed as `package.module:name`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.rows.lookup import pick


def is_path(text: str) -> bool:
    """Return whether a text names an object as `package.module:name`."""
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])


def imported(text: str) -> Any:
    """Return the object `package.module:name`; the module may also lie in the current folder.

    This runs the module's code. So only call it with what a user typed, never with what a file says.
    Raises: InputError where there is no such module, where importing it fails, or where it has no such name.
    """
    module, _, names = text.partition(":")
    found = import_module(module)
    for name in names.split("."):
        found = pick(f"name in {module}", name, {n: v for n, v in vars(found).items() if not n.startswith("_")})
    return found


def import_module(name: str) -> Any:
    """Return a module by its dotted name; it may also lie in the current folder.

    Raises: InputError where there is no such module, or where importing it fails.
    """
    here = str(Path.cwd())
    # As `python -m` does: what lies in the folder comes first.
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"there is no module {error.name!r} in this folder or among the installed packages: give the name of a module "
                "that can be imported here."
            ) from error
        raise InputError(f"{name} needs the module {error.name!r}, which is not installed: install it first.") from error
    except Exception as error:
        raise InputError(f"{name} cannot be imported ({said(error)}): mend the module or give another.") from error


def said(error: BaseException) -> str:
    """Return the kind and the first line of an error, as a part of a sentence."""
    line = next(iter(str(error).splitlines()), "").strip().rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
