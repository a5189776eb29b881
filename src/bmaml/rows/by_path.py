"""Finds what a user typed as `package.module:name`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.rows.lookup import pick


def is_path(text: str) -> bool:
    """Return whether `text` names an object as `package.module:name`."""
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])


def check_path(text: str) -> None:
    """Check that `text`, which a user typed for a name, is no path of a file.

    Raises: InputError that says how an object in a file is written.
    """
    file, _, name = text.partition(":")
    if is_path(text) or not (name or file.endswith(".py")):
        return
    stem = Path(file).stem if Path(file).stem.isidentifier() else "module"
    raise InputError(
        f"{text} is no name and no package.module:name: give {stem}:{name or 'NAME'}, in the folder that holds {stem}.py."
    )


def imported(text: str) -> Any:
    """Return the object that `text` names as `package.module:name`. The module may also lie in the current folder.

    This runs the module's code. So call it only with what a user typed, never with what a file says.
    Raises: InputError if there is no such module, importing it fails, or it has no such name.
    """
    module, _, names = text.partition(":")
    found = import_module(module)
    for name in names.split("."):
        if not hasattr(found, name):
            own = {n: v for n, v in vars(found).items() if not n.startswith("_") and getattr(v, "__module__", "") == module}
            pick(f"name in {module}", name, own)
        found = getattr(found, name)
    return found


def import_module(name: str) -> Any:
    """Return the module with the dotted `name`. It may also lie in the current folder.

    Raises: InputError if there is no such module, or importing it fails.
    """
    here = str(Path.cwd())
    # As in `python -m`, what lies in the folder comes first.
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
        raise InputError(f"{name} cannot be imported ({said(error)}): repair the module or give another.") from error


def said(error: BaseException) -> str:
    """Return the kind and the first line of `error`, as a part of a sentence."""
    line = next(iter(str(error).splitlines()), "").strip().rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
