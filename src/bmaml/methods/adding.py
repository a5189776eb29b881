"""Functions that add methods to the table, and find those that fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from bmaml.errors import InputError
from bmaml.methods.base import Method
from bmaml.methods.made_of import Preset
from bmaml.methods.rows import METHODS, POLICY_METHODS
from bmaml.methods.spec import MethodSpec, Outcome
from bmaml.rows import Rows
from bmaml.training.plan import Plan

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


def as_published(name: str, tasks: str = "sinusoid", **settings: Any) -> tuple[Method, Plan]:
    """Return a method with the settings of its paper, and how its authors train it.

    - `name`: name of the method.
    - `tasks`: family of the paper's tasks.
    - `settings`: changes; None keeps the paper's value.

    Raises: InputError for an unknown name, or a method whose paper gives no settings for these tasks.

    >>> method, plan = as_published("bmaml")
    >>> method.learner.particles, plan.steps, plan.batch
    (10, 100000, 10)
    """
    row = METHODS.find(name)
    tuned = row.as_published(tasks)
    method = row.build(tuned.offer(), tuned, **settings)
    assert isinstance(method, Method)  # Families of tasks have points.
    return method, tuned.plan


def fitting(outcome: Outcome) -> tuple[str, ...]:
    """Return the names of all usable methods that predict `outcome`: "numbers", "classes" or "policies"."""
    return tuple(row.name for row in _table(outcome).usable() if outcome in row.fits)
