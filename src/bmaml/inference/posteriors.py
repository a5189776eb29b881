"""What adaptation returns: an object that predicts, and the further abilities that it may have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.distributions import AbstractDistribution, mixture
from bmaml.errors import PairError
from bmaml.inference.particles import map_particles
from bmaml.io.notebook import facts_html, shapes
from bmaml.models.base import AbstractModel, log_likelihood


class AbstractPosterior(eqx.Module):
    """What is believed about one task after its support has been seen."""

    def _repr_html_(self) -> str:
        """Say in a notebook what kind of posterior this is, and what it is made of."""
        return facts_html(type(self).__name__, shapes(self))

    @abstractmethod
    def predict(self, x: Array) -> AbstractDistribution:
        """Return the predictive distribution of the targets at inputs `x` of shape `(n, inputs)`."""

    @abstractmethod
    def sample_functions(self, x: Array, *, key: PRNGKeyArray, count: int = 1) -> Float[Array, "count n outputs"]:
        """Return `count` draws of the task's noise-free function at inputs `x`, jointly over the rows."""


class AbstractMembersPosterior(AbstractPosterior):
    """A weighted set of members, such as particles or experts. Each member predicts by itself."""

    @abstractmethod
    def each(self, score: Callable[[AbstractDistribution], Array], x: Array) -> Float[Array, " members"]:
        """Return the `score` of every member's own predictive at inputs `x`, without weights."""


class AbstractJointPosterior(AbstractPosterior):
    """A posterior that knows the joint density of several targets of a task, not only that of each target."""

    @abstractmethod
    def log_joint(self, query: Data) -> Float[Array, ""]:
        """Return the log density of all unmasked targets of `query` together, in nats."""


class AbstractNoisePosterior(AbstractPosterior):
    """A posterior that separates noise from uncertainty about the task. `information` needs this."""

    @abstractmethod
    def noise_entropy(self, x: Array) -> Float[Array, " n"]:
        """Return the entropy of each target at `x` that would remain if the task were known, in nats, averaged over the
        posterior.
        """


class AbstractWrappedPosterior(AbstractPosterior):
    """A posterior around another one."""

    if TYPE_CHECKING:  # A field or a property: an abstract property could not be overridden by a field.

        @property
        def inner(self) -> AbstractPosterior:
            """The posterior inside."""
            ...


def each_member(posterior: AbstractPosterior, score: Callable[[AbstractDistribution], Array], x: Array) -> Array:
    """Return the `score` of every member's own predictive at inputs `x`. A `posterior` without members counts as one member."""
    if isinstance(posterior, AbstractMembersPosterior):
        return posterior.each(score, x)
    return score(posterior.predict(x))[None]


def knows_noise(posterior: AbstractPosterior) -> bool:
    """Say whether `posterior`, or what it wraps, separates noise from uncertainty about the task."""
    return isinstance(unwrapped(posterior), AbstractNoisePosterior)


def unwrapped(posterior: AbstractPosterior) -> AbstractPosterior:
    """Return the posterior inside of all wrappers of `posterior`."""
    while isinstance(posterior, AbstractWrappedPosterior):
        posterior = posterior.inner
    return posterior


def noise_entropy(posterior: AbstractPosterior, x: Array) -> Float[Array, " n"]:
    """Return `AbstractNoisePosterior.noise_entropy` of `posterior` at inputs `x`.

    Raises: PairError if the posterior does not separate noise from uncertainty about the task.
    """
    if isinstance(posterior, AbstractNoisePosterior):
        return posterior.noise_entropy(x)
    raise PairError(f"{type(posterior).__name__} does not tell noise from what is not known of the task: use variance.")


class ParticlePosterior(AbstractMembersPosterior, AbstractJointPosterior, AbstractNoisePosterior):
    """Weighted particles of a model's parameters. The predictive is their mixture.

    - `model`: the model that the particles belong to.
    - `params`: parameters, stacked on a leading particle axis.
    - `log_weights`: unnormalised log weights of the particles.
    """

    model: AbstractModel
    params: PyTree[Any]
    log_weights: Float[Array, " particles"]

    def predict(self, x):
        return mixture(self.log_weights, jax.vmap(self.model.predictive, (0, None))(self.params, x))

    def sample_functions(self, x, *, key, count=1):
        picked = jax.random.categorical(key, self.log_weights, shape=(count,))
        return jax.vmap(self.model.predictive, (0, None))(self.params, x).mean[picked]

    def each(self, score, x):
        return map_particles(lambda params: score(self.model.predictive(params, x)), self.params)

    def log_joint(self, query):
        each = map_particles(lambda params: log_likelihood(self.model, params, query), self.params)
        return logsumexp(each + jax.nn.log_softmax(self.log_weights))

    def noise_entropy(self, x):
        each = jax.vmap(lambda params: self.model.predictive(params, x).entropy())(self.params)
        return jnp.tensordot(jax.nn.softmax(self.log_weights), each, 1)
