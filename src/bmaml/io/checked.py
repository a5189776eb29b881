"""Checks values against annotations, so that a wrong setting is one sentence, and never an error of Python or JAX.

An annotation says what a value may be: `int`, `float` (finite), `bool`, `str`, a path, a choice (`Literal`), a class, a tuple
or a sequence of these, or one of several. `Annotated[int, AtLeast(1)]` bounds a number. Arrays, callables and everything else
are not checked here. `register` checks the fields of each class that a run can hold when an object is built, and `checked`
checks the arguments of a function.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from bmaml.errors import InputError, said

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """A number of at least `least`."""

    least: float

    def holds(self, value: Any) -> bool:
        """Return whether the number `value` keeps the bound."""
        return value >= self.least

    def __str__(self) -> str:
        """Return the bound as the end of a sentence."""
        return f"of at least {self.least:g}"


@dataclasses.dataclass(frozen=True)
class Above:
    """A number above `limit`."""

    limit: float

    def holds(self, value: Any) -> bool:
        """Return whether the number `value` keeps the bound."""
        return value > self.limit

    def __str__(self) -> str:
        """Return the bound as the end of a sentence."""
        return f"above {self.limit:g}"


@dataclasses.dataclass(frozen=True)
class Below:
    """A number of at least 0 and below `end`."""

    end: int

    def holds(self, value: Any) -> bool:
        """Return whether the number `value` keeps the bound."""
        return 0 <= value < self.end

    def __str__(self) -> str:
        """Return the bound as the end of a sentence."""
        return f"from 0 to {self.end - 1}"


Bound = AtLeast | Above | Below
# Numbers as most settings are.
Count = Annotated[int, AtLeast(1)]
Positive = Annotated[float, Above(0)]
NotNegative = Annotated[float, AtLeast(0)]
Seed = Annotated[int, Below(2**32)]
# Parts with a check of their own, which says how to make one of what was given.
_OWN_CHECK = {"AbstractModel", "AbstractNetwork", "AbstractFeatures", "AbstractLearner", "AbstractObjective"}


# How a newcomer gets what most functions are given.
_SOURCE = "a source of tasks, such as bmaml.tasks.Sinusoids()"
_HOW = {
    "AbstractMethod": "a method, such as bmaml.methods.maml(model) or bmaml.Method(learner, objective)",
    "AbstractSource": _SOURCE,
    "AbstractTasks": _SOURCE,
    "Callback": "an object of a class that inherits from bmaml.Callback",
    "Plan": "a plan, such as bmaml.Plan(steps=2000)",
    "Run": "a run, as bmaml.train and bmaml.load return it",
    "Predictor": "a predictor, bmaml.Predictor(learner, meta)",
}


@dataclasses.dataclass(frozen=True)
class _Rule:
    """Whether a value `fits` an annotation, and what the annotation is in `words`, for one value and for `many`."""

    fits: Callable[[Any], bool]
    words: str
    many: str


# JAX counts in 32 bits.
_MOST = 2**31
_ONE = {
    bool: _Rule(lambda v: isinstance(v, bool) or type(v).__name__ == "bool_", "True or False", "True or False"),
    int: _Rule(lambda v: _is_whole(v) and -_MOST <= v < _MOST, "a whole number", "whole numbers"),
    float: _Rule(lambda v: _is_number(v) and isfinite(v), "a finite number", "finite numbers"),
    str: _Rule(lambda v: isinstance(v, str), "text", "texts"),
    Path: _Rule(lambda v: isinstance(v, PathLike), "a path", "paths"),
    dict: _Rule(lambda v: isinstance(v, dict), "a dictionary", "dictionaries"),
    type(None): _Rule(lambda v: v is None, "None", "None"),
}


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


@functools.cache
def _rule(hint: Any) -> _Rule | None:
    """Return the rule of an annotation, or None if it is not checked."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in _ONE:
        return _ONE[hint]
    if origin is Annotated:
        bounds = [bound for bound in parts[1:] if isinstance(bound, Bound)]
        ended = parts[0] is int and any(isinstance(bound, Below) for bound in bounds)
        return _bounded(_Rule(_is_whole, "a whole number", "whole numbers") if ended else _rule(parts[0]), bounds)
    if origin is Literal:
        named = ", ".join(repr(choice) for choice in parts)
        return _Rule(lambda v: isinstance(v, str | int) and v in parts, f"one of {named}", f"some of {named}")
    if origin in (Union, types.UnionType):
        return _either([_rule(part) for part in parts])
    if origin is tuple:
        return _tuple(parts)
    if origin in (Sequence, Iterable) and parts:
        return _several(_rule(parts[0]), lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | dict))
    if origin is dict:
        return _ONE[dict]
    if origin is Callable:
        return _Rule(callable, "a function", "functions")
    if origin is PathLike:
        return _ONE[Path]
    if inspect.isclass(origin or hint) and (origin or hint).__module__.startswith("bmaml."):
        return _part(origin or hint)
    return None


def _bounded(rule: _Rule | None, bounds: list[Bound]) -> _Rule | None:
    if rule is None or not bounds:
        return rule
    said_so = " ".join(str(bound) for bound in bounds)
    return _Rule(
        lambda v: rule.fits(v) and all(bound.holds(v) for bound in bounds), f"{rule.words} {said_so}", f"{rule.many} {said_so}"
    )


def _either(rules: list[_Rule | None]) -> _Rule | None:
    if any(rule is None for rule in rules):
        return None
    known = [rule for rule in rules if rule is not None]
    if _ONE[Path] in known and _ONE[str] in known:
        known = [
            _Rule(lambda v: isinstance(v, str | PathLike), "a path", "paths"),
            *(r for r in known if r not in _ONE.values()),
        ]
        known += [_ONE[type(None)]] if _ONE[type(None)] in rules else []
    return _Rule(
        lambda v: any(rule.fits(v) for rule in known),
        ", or ".join(rule.words for rule in known),
        ", or ".join(rule.many for rule in known),
    )


def _tuple(parts: tuple[Any, ...]) -> _Rule | None:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return _several(_rule(parts[0]), lambda v: isinstance(v, tuple))
    rules = [_rule(part) for part in parts]
    if any(rule is None for rule in rules):
        return None
    words = f"{len(parts)} {rules[0].many}" if len(set(parts)) == 1 else ", ".join(rule.words for rule in rules)  # pyright: ignore
    fits = lambda v: (  # noqa: E731
        isinstance(v, tuple | list)
        and len(v) == len(rules)
        and all(rule.fits(item) for rule, item in zip(rules, v, strict=True))  # pyright: ignore
    )
    return _Rule(fits, words, words)


def _several(rule: _Rule | None, is_list: Callable[[Any], bool]) -> _Rule | None:
    if rule is None:
        return None
    return _Rule(lambda v: is_list(v) and all(map(rule.fits, v)), f"a list of {rule.many}", f"lists of {rule.many}")


def _part(kind: type) -> _Rule | None:
    if kind.__name__ in _OWN_CHECK or typing.is_typeddict(kind) or getattr(kind, "_is_protocol", False):
        return None
    words = _HOW.get(kind.__name__, f"an object of the class {kind.__name__}")
    return _Rule(lambda v: isinstance(v, kind), words, f"objects of {kind.__name__}")


def _shown(value: Any) -> str:
    """Return a wrong value in a few words: short lists as they are."""
    plain = isinstance(value, tuple | list) and len(value) <= 6 and all(isinstance(v, str | Real | None) for v in value)
    return repr(value) if plain else said(value)


def check_value(owner: str, name: str, value: Any, hint: Any) -> None:
    """Check `value`, the setting or argument `name` of `owner`, against the annotation `hint`.

    Raises: InputError that says what the value is and what would be right.
    """
    rule = _rule(hint)
    if rule is not None and not rule.fits(value):
        large = " below 2147483648" if rule is _ONE[int] and _is_whole(value) else ""
        raise InputError(f"{name} of {owner} is {_shown(value)}: give {rule.words}{large}.")


@functools.cache
def _hints(function: Any, module: str) -> dict[str, Any]:
    """Return the annotations of a class's own body or of a function by name, without those that cannot be read here."""
    space, found = vars(sys.modules[module]), {}
    for name, hint in inspect.get_annotations(function).items():
        try:
            # Only what the module imports when it runs: a name for type checkers alone leaves its annotation unchecked.
            found[name] = eval(hint, dict(space)) if isinstance(hint, str) else hint
        except (NameError, AttributeError, TypeError, SyntaxError):
            continue
    return found


def check_fields(built: Any) -> None:
    """Check the fields of the dataclass `built` against the annotations of its class and of those above it.

    Raises: InputError for the first field that does not fit.
    """
    hints: dict[str, Any] = {}
    for kind in reversed(type(built).__mro__):
        if dataclasses.is_dataclass(kind):
            hints |= _hints(kind, kind.__module__)
    for field in dataclasses.fields(built):
        if field.init and field.name in hints:
            check_value(type(built).__name__, field.name, getattr(built, field.name), hints[field.name])


def check_when_built(kind: type) -> None:
    """Let the `equinox.Module` `kind` check its fields before any check of its own, whenever an object is built."""
    own = vars(kind).get("__check_init__")

    def __check_init__(self: Any) -> None:
        check_fields(self)
        if own is not None:
            own(self)

    kind.__check_init__ = __check_init__  # pyright: ignore[reportAttributeAccessIssue]


def checked(function: Function) -> Function:
    """Return `function` with a check of its arguments against its annotations.

    Raises: InputError, when called, for the first argument that does not fit.
    """
    signature, owner = inspect.signature(function), function.__name__
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    single = {name for name, parameter in signature.parameters.items() if parameter.kind not in variadic}

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        given = signature.bind(*arguments, **options).arguments
        check_arguments(function, owner, {name: given[name] for name in given if name in single})
        return function(*arguments, **options)

    return call  # pyright: ignore[reportReturnType]


def check_arguments(function: Callable[..., Any], owner: str, given: Mapping[str, Any]) -> None:
    """Check the arguments `given` by name against the annotations of `function`; `owner` is its name in messages.

    Raises: InputError for the first argument that does not fit.
    """
    hints = _hints(function, function.__module__)
    for name, value in given.items():
        if name in hints:
            check_value(owner, name, value, hints[name])


def as_tuple(values: Any) -> Any:
    """Return an iterable `values` as a tuple; text and everything else as it is, for the check of its field to refuse."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes | dict) else values
