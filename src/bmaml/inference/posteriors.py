"""What adaptation returns: an object that predicts."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.distributions import AbstractDistribution, mixture
from bmaml.models.base import AbstractModel


class AbstractPosterior(eqx.Module):
    """What is believed about one task after its support has been seen."""

    @abstractmethod
    def predict(self, x: Array) -> AbstractDistribution:
        """Return the predictive distribution of the targets at inputs `x` of shape `(n, inputs)`."""

    @abstractmethod
    def sample_functions(self, x: Array, *, key: PRNGKeyArray, count: int = 1) -> Float[Array, "count n outputs"]:
        """Return `count` draws of the task's noise-free function at inputs `x`, jointly over the rows."""


class ParticlePosterior(AbstractPosterior):
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
