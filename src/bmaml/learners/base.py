"""The contract of a learner: how a task is adapted to."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.posteriors import AbstractPosterior

Meta = PyTree[Any]
State = TypeVar("State")


class AbstractLearner(eqx.Module):
    """Says how to adapt. Meta-parameters are an argument, never the learner itself."""

    @abstractmethod
    def init(self, key: PRNGKeyArray) -> Meta:
        """Return fresh meta-parameters."""

    @abstractmethod
    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return the posterior of one task given its support."""


class AbstractIterativeLearner(AbstractLearner, Generic[State]):
    """A learner that adapts by steps that can be continued: the chaser loss goes on from where it stopped."""

    @abstractmethod
    def start(self, meta: Meta, support: Data) -> State:
        """Return the state before the first step."""

    @abstractmethod
    def advance(self, meta: Meta, state: State, support: Data, steps: int, *, key: PRNGKeyArray) -> State:
        """Return the state after `steps` further inner steps on `support`."""

    @abstractmethod
    def finish(self, meta: Meta, state: State) -> AbstractPosterior:
        """Return the posterior that a state stands for."""
