"""The contract of an objective: how an adaptation is scored."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Task
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.learners.wrappers import at_core, core

Metrics = dict[str, Array]


class AbstractObjective(eqx.Module):
    """Says how to score a learner on one task. It is handed the learner, since some objectives adapt more than once.

    A learner behind a wrapper, such as an extractor, is scored as itself on the task as it sees it: `check` and the call look
    through wrappers, so that no objective need know of them. An objective asks a learner for abilities (the abstract classes of
    `bmaml.learners.base`), never for a class.
    """

    def check(self, learner: AbstractLearner) -> None:
        """Raise PairError or InputError ("X needs Y because Z; use W") where the learner does not fit."""
        self.require(core(learner))

    def __call__(
        self, learner: AbstractLearner, meta: Meta, task: Task, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of one task and numbers worth logging."""
        return self.loss(*at_core(learner, meta, task), key=key)

    @abstractmethod
    def require(self, learner: AbstractLearner) -> None:
        """Raise as `check` where a learner, without its wrappers, does not fit."""

    @abstractmethod
    def loss(self, learner: AbstractLearner, meta: Meta, task: Task, *, key: PRNGKeyArray) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of one task, seen as `learner`, without its wrappers, sees it, and numbers worth logging."""


class AbstractContinuingObjective(AbstractObjective):
    """An objective that takes `steps` further inner steps after adaptation: policies then gather data for them, too."""

    if TYPE_CHECKING:  # A field or a property: an abstract property could not be overridden by a field.

        @property
        def steps(self) -> int:
            """Number of further steps."""
            ...
