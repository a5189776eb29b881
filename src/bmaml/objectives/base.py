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
    """Says how to score a learner on one task. An objective gets the learner, because some objectives adapt more than once.

    `check` and the call look through wrappers, such as an extractor. They pass on the learner inside and the task in its view,
    so an objective need not know about wrappers. An objective asks a learner for abilities (the abstract classes of
    `bmaml.learners.base`), never for a class.
    """

    def check(self, learner: AbstractLearner) -> None:
        """Raise PairError or InputError ("X needs Y because Z; use W") if `learner` does not fit."""
        self.require(core(learner))

    def __call__(
        self, learner: AbstractLearner, meta: Meta, task: Task, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of one task and numbers worth logging."""
        return self.loss(*at_core(learner, meta, task), key=key)

    @abstractmethod
    def require(self, learner: AbstractLearner) -> None:
        """Raise in the cases of `check` if `learner`, without its wrappers, does not fit."""

    @abstractmethod
    def loss(self, learner: AbstractLearner, meta: Meta, task: Task, *, key: PRNGKeyArray) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of one task, and numbers worth logging.

        `learner` has no wrappers, and `task` is in its view.
        """


class AbstractContinuingObjective(AbstractObjective):
    """An objective that takes `steps` further inner steps after adaptation. Policies then gather data for these steps too."""

    if TYPE_CHECKING:  # A field or a property: an abstract property could not be overridden by a field.

        @property
        def steps(self) -> int:
            """Number of further steps."""
            ...
