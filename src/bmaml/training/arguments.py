"""Checks the arguments of `train` before anything is built from them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from bmaml.errors import InputError, said
from bmaml.learners.base import AbstractLearner
from bmaml.tasks.base import AbstractSource
from bmaml.training.method import AbstractMethod
from bmaml.training.plan import Plan

_SETTINGS = tuple(field.name for field in dataclasses.fields(Plan))
_OPTIONS = ("directory", "overwrite", "about", "save_every", "keep", "callbacks", "progress")
# Where a setting belongs that is none of a training's.
_ELSEWHERE = {
    ("learning_rate", "decay", "warmup", "weight_decay"): "outer=bmaml.Adam({}) instead",
    ("shots", "queries"): "it to the tasks, as in bmaml.tasks.Sinusoids({})",
    ("particles", "inner_steps", "inner_learning_rate"): "it to the method, as in bmaml.methods.bmaml(model, {})",
}


def check_arguments(method: Any, tasks: Any, plan: Any, options: Mapping[str, Any]) -> None:
    """Check the types of what `train` is given (`method`, `tasks`, `plan`), and that the names in `options` are settings of a
    plan.

    Raises: InputError that says what to write.
    """
    if not isinstance(method, AbstractMethod):
        raise InputError(f"the method is {said(method)}: {_instead_of_method(method)}.")
    if not isinstance(tasks, AbstractSource):
        raise InputError(f"the tasks are {said(tasks)}: give a source of tasks, such as bmaml.tasks.Sinusoids().")
    if plan is not None and not isinstance(plan, Plan):
        raise InputError(f"the plan is {said(plan)}: give bmaml.Plan(steps=2000), or write steps=2000.")
    for name, value in options.items():
        if name not in _SETTINGS:
            raise InputError(f"train has no setting {name!r}: {_instead_of_setting(name, value)}.")


def _instead_of_setting(name: str, value: Any) -> str:
    """Return what to write instead of `name=value`: what users most often look for here has its place elsewhere."""
    for elsewhere, place in _ELSEWHERE.items():
        if name in elsewhere:
            return f"give {place.format(f'{name}={value!r}')}"
    close = difflib.get_close_matches(name, [*_SETTINGS, *_OPTIONS], 1)
    return f"use {', '.join(close or [*_SETTINGS, *_OPTIONS])}"


def _instead_of_method(given: Any) -> str:
    if isinstance(given, AbstractLearner):
        return "give bmaml.Method(learner, objective), since a method is a learner with an objective"
    if isinstance(given, AbstractSource):
        return "give the method first and the tasks second"
    return "give one that is built, such as bmaml.methods.maml(model)"
