"""Looks through learners that wrap others: the learner behind all wrappers, its meta-parameters and its view of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bmaml.data import Task
from bmaml.errors import PairError
from bmaml.learners.base import AbstractIterativeLearner, AbstractLearner, AbstractWrapper, Meta


def core(learner: AbstractLearner) -> AbstractLearner:
    """Return the learner behind all wrappers of `learner`, such as extractors and recalibrations."""
    while isinstance(learner, AbstractWrapper):
        learner = learner.inner
    return learner


def at_core(learner: AbstractLearner, meta: Meta, task: Task) -> tuple[AbstractLearner, Meta, Task]:
    """Return the learner behind all wrappers of `learner`, its meta-parameters, and the task in its view."""
    while isinstance(learner, AbstractWrapper):
        meta, task = learner.within(meta, task)
        learner = learner.inner
    return learner, meta, task


def replace_core(learner: AbstractLearner, replace: Callable[[AbstractLearner], AbstractLearner]) -> AbstractLearner:
    """Return `learner` with the learner behind all wrappers replaced by `replace(it)`."""
    if isinstance(learner, AbstractWrapper):
        return dataclasses.replace(learner, inner=replace_core(learner.inner, replace))
    return replace(learner)


def with_steps(learner: AbstractLearner, steps: int) -> AbstractLearner:
    """Return `learner` with `steps` inner steps, whatever wraps it.

    Raises: PairError if the learner takes no steps.
    """

    def replace(inner: AbstractLearner) -> AbstractLearner:
        if isinstance(inner, AbstractIterativeLearner):
            return inner.with_steps(steps)
        raise PairError(f"{type(inner).__name__} has no number of inner steps to set: leave out steps.")

    return replace_core(learner, replace)
