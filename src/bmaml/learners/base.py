"""The contract of a learner: how a task is adapted to."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data, Task
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.diagonal import DiagonalGaussian

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


class AbstractLatentLearner(AbstractLearner):
    """A learner with a latent variable z for each task and a bound on its evidence: the pieces that `Elbo` puts together."""

    @abstractmethod
    def prior(self, meta: Meta, support: Data) -> DiagonalGaussian:
        """Return p(z | support), all that training asks the guide to stay near."""

    @abstractmethod
    def guide(self, meta: Meta, task: Task, *, key: PRNGKeyArray) -> DiagonalGaussian:
        """Return q(z | task), the variational posterior in training; it may look at the query."""

    @abstractmethod
    def decode(self, meta: Meta, latent: PyTree[Any], support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return what a task with this latent and this support predicts."""

    @abstractmethod
    def log_hyper_prior(self, meta: Meta) -> Float[Array, ""]:
        """Return the log-density of the meta-parameters, in nats up to a constant (0 where they have no prior)."""
