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
    known = [field.name for field in dataclasses.fields(Plan)]
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1) or known
            raise InputError(f"a plan has no setting {name!r}: use {', '.join(close)}.")


def _instead_of_method(given: Any) -> str:
    if isinstance(given, AbstractLearner):
        return "give bmaml.Method(learner, objective), since a method is a learner with an objective"
    if isinstance(given, AbstractSource):
        return "give the method first and the tasks second"
    return "give one that is built, such as bmaml.methods.maml(model)"
