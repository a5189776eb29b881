"""Functions that add methods to the table, and find those that fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from bmaml.errors import InputError
from bmaml.methods.made_of import Preset
from bmaml.methods.rows import METHODS, POLICY_METHODS
from bmaml.methods.spec import MethodSpec, Outcome
from bmaml.rows import Rows

_Preset = TypeVar("_Preset", bound=Preset)


def add(spec: MethodSpec) -> MethodSpec:
    """Add the row `spec` to the table of methods and return it. Front doors, boards and pictures then know the method by name.

    A row that fits policies alone goes into the table of methods for policies.
    Raises: InputError for a name that is taken, or that is not lower case with hyphens.
    """
    return (POLICY_METHODS if spec.fits == ("policies",) else METHODS).add(spec)


def preset(name: str, **row: Any) -> Callable[[_Preset], _Preset]:
    """Return a decorator that adds a preset to the table of methods under `name`.

    `row` holds further fields of `MethodSpec`, such as `made_of` or `papers`.
    Raises: InputError in the cases of `add`.
    """

    def decorate(function: _Preset) -> _Preset:
        add(MethodSpec(name, function, **row))
        return function

    return decorate


def choose(name: str, outcome: Outcome) -> MethodSpec:
    """Return the row of the method `name`, which must predict `outcome`: "numbers", "classes" or "policies".

    Raises: InputError for an unknown name, or a method that predicts something else.
    """
    row = _table(outcome).find(name)
    if outcome in row.fits:
        return row
    raise InputError(
        f"method {name!r} is for {' and '.join(row.fits)} and here {outcome} are to be predicted: use one of "
        f"{', '.join(fitting(outcome))}."
    )


def _table(outcome: Outcome) -> Rows[MethodSpec]:
    return POLICY_METHODS if outcome == "policies" else METHODS


def fitting(outcome: Outcome) -> tuple[str, ...]:
    """Return the names of all usable methods that predict `outcome`: "numbers", "classes" or "policies"."""
    return tuple(row.name for row in _table(outcome).usable() if outcome in row.fits)
