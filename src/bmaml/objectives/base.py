"""The contract of an objective: how an adaptation is scored."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Task
from bmaml.learners.base import AbstractLearner, Meta

Metrics = dict[str, Array]


class AbstractObjective(eqx.Module):
    """Says how to score a learner on one task. It is handed the learner, since some objectives adapt more than once."""

    @abstractmethod
    def check(self, learner: AbstractLearner) -> None:
        """Raise TypeError or ValueError ("X needs Y because Z; use W") where the learner does not fit."""

    @abstractmethod
    def __call__(
        self, learner: AbstractLearner, meta: Meta, task: Task, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of one task and numbers worth logging."""
