"""See through learners that wrap others: the learner behind all of them, with its meta-parameters and its view of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bmaml.data import Task
from bmaml.errors import PairError
from bmaml.learners.base import AbstractIterativeLearner, AbstractLearner, AbstractWrapper, Meta


def core(learner: AbstractLearner) -> AbstractLearner:
    """Return the learner behind all wrappers, such as extractors and recalibrations."""
    while isinstance(learner, AbstractWrapper):
        learner = learner.inner
    return learner


def at_core(learner: AbstractLearner, meta: Meta, task: Task) -> tuple[AbstractLearner, Meta, Task]:
    """Return the learner behind all wrappers, its meta-parameters, and the task as that learner sees it."""
    while isinstance(learner, AbstractWrapper):
        meta, task = learner.within(meta, task)
        learner = learner.inner
    return learner, meta, task


def replace_core(learner: AbstractLearner, replace: Callable[[AbstractLearner], AbstractLearner]) -> AbstractLearner:
    """Return the learner with what lies behind all wrappers replaced."""
    if isinstance(learner, AbstractWrapper):
        return dataclasses.replace(learner, inner=replace_core(learner.inner, replace))
    return replace(learner)


def with_steps(learner: AbstractLearner, steps: int) -> AbstractLearner:
    """Return the learner with another number of inner steps, whatever wraps it.

    Raises: PairError where the learner takes no steps.
    """

    def replace(one: AbstractLearner) -> AbstractLearner:
        if isinstance(one, AbstractIterativeLearner):
            return one.with_steps(steps)
        raise PairError(f"{type(one).__name__} has no number of inner steps to set: leave out steps.")

    return replace_core(learner, replace)
