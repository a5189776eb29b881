"""Stable names for the contents of saved runs. A file says `learner/gradient`, never the path of a Python module.

One line above a class gives the class its name. The library's own names have the form kind/name, with a kind from `KINDS`.
All other names begin with the name of their own package, such as `mylab/ring`. A file can build only what is registered in
the process that reads it, so a file cannot name any other code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx

from bmaml.errors import InputError
from bmaml.io.checked import check_when_built
from bmaml.rows.plugins import import_plugins

# The prefixes of the library's own names.
KINDS = frozenset(
    {
        *("adjoint", "curvature", "data", "direction", "exact-head", "features", "images", "kernel", "learner"),
        *("likelihood", "method"),
        *("model", "network", "noise", "objective", "outer", "outer-step", "plan", "policy", "prior", "rule"),
        *("target-head", "tasks"),
        "world",
    }
)
# The modules and folders whose classes have names. Other folders are not imported to load a run.
ROOMS = ("data", "experiments.inferences", "experiments.one_task", "images", "inference", "learners", "likelihoods", "methods")
ROOMS += ("models", "objectives", "rl", "tasks", "training")
_NAME = re.compile(r"[A-Za-z][\w.-]*/[A-Za-z][\w.-]*", re.ASCII)
_OBJECTS: dict[str, Any] = {}
_NAMES: dict[Any, str] = {}

Named = TypeVar("Named", bound=Callable[..., Any])


def register(name: str) -> Callable[[Named], Named]:
    """Return a decorator that gives a class or a function a stable name for saved runs.

    `name` is `prefix/name`, such as `"mylab/ring"`. The prefix is the package that must be imported before such a run is
    loaded. Instances of a registered `equinox.Module` (or another dataclass) are saved as their fields, and built from these
    again. The fields are checked against their annotations whenever an object is built. A registered function, or a class used
    as a constructor, is saved as its name alone.
    Raises: InputError for a malformed name, a prefix that is the library's own, a name that something else has, or an object
    that has another name already.
    """
    if not is_name(name):
        raise InputError(f"{name!r} is no name for saved runs: give your package and a name of letters, such as 'mylab/ring'.")

    def decorate(named: Named) -> Named:
        _check(name, named)
        kind: Any = named
        if inspect.isclass(kind) and issubclass(kind, eqx.Module):
            check_when_built(kind)
        _OBJECTS[name] = named
        _NAMES[named] = name
        return named

    return decorate


def is_name(name: Any) -> bool:
    """Return whether something is of the form prefix/name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _check(name: str, named: Any) -> None:
    prefix, ours = name.split("/")[0], _place(named).startswith("bmaml.")
    if prefix in KINDS and not ours:
        raise InputError(f"the prefix {prefix!r} of {name!r} is kept for bmaml's own classes: use your package's name.")
    if ours and prefix not in KINDS:
        raise InputError(f"{prefix!r} is no kind of class of bmaml's: use one of {', '.join(sorted(KINDS))}.")
    if _NAMES.get(named, name) != name:
        raise InputError(f"{_place(named)} is registered as {_NAMES[named]!r} already: give it one name.")
    # A notebook cell that runs again, or a module that is loaded again, defines the same class a second time.
    if name in _OBJECTS and _place(_OBJECTS[name]) != _place(named):
        raise InputError(f"{_place(_OBJECTS[name])} is registered as {name!r} already: give {_place(named)} another name.")


def _place(named: Any) -> str:
    return f"{getattr(named, '__module__', '?')}.{getattr(named, '__qualname__', repr(named))}"


def name_of(named: Any) -> str | None:
    """Return the registered name of the class or function `named`, or None."""
    try:
        return _NAMES.get(named)
    except TypeError:  # An object without a hash was never registered.
        return None


def find(name: str) -> Any | None:
    """Return what is registered under `name` in this process or by an installed package that adds a row, or None."""
    if name not in _OBJECTS:
        _import_library() if name.split("/")[0] in KINDS else import_plugins()
    return _OBJECTS.get(name)


def names() -> dict[str, Any]:
    """Return all registered names and what each one names, including those of the whole library."""
    _import_library()
    return dict(_OBJECTS)


@functools.cache
def _import_library() -> None:
    """Import the modules that register the library's own names. `import bmaml` leaves out rooms that most runs do not need."""
    for room in ROOMS:
        module = importlib.import_module(f"bmaml.{room}")
        for inner in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
            with contextlib.suppress(ImportError):  # An extra that is not installed.
                importlib.import_module(inner.name)
