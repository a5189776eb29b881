"""What the posteriors of hierarchical models have in common: Gaussians given a few draws of the scales."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from bmaml.distributions import Mixture, Normal
from bmaml.inference.posteriors import AbstractMembersPosterior, AbstractNoisePosterior


class AbstractDrawsPosterior(AbstractMembersPosterior, AbstractNoisePosterior):
    """A Gaussian process for each draw of the scales, weighted by the evidence of the support.

    - `given`: the conditioned draws, on a leading axis.
    - `log_weights`: log weights of the draws.
    """

    given: eqx.AbstractVar[PyTree[Any]]
    log_weights: eqx.AbstractVar[Float[Array, " draws"]]

    @abstractmethod
    def _moments(self, x: Array) -> tuple[Array, Array, Array]:
        """Return mean and variance of the functions, and the noise, for each draw (draws, n, outputs)."""

    @abstractmethod
    def _functions(self, given: PyTree[Any], x: Array, keys: Key[Array, " count"]) -> Float[Array, "count n outputs"]:
        """Return a function drawn from one of the draws for each of `keys`, at `x`."""

    def predict(self, x):
        mean, variance, noise = self._moments(x)
        return Mixture(self.log_weights, Normal(mean, jnp.sqrt(variance + noise)))

    def each(self, score, x):
        mean, variance, noise = self._moments(x)
        return jax.vmap(score)(Normal(mean, jnp.sqrt(variance + noise)))

    def noise_entropy(self, x):
        noise = self._moments(x)[2]
        each = jax.vmap(lambda part: Normal(jnp.zeros_like(part), jnp.sqrt(part)).entropy())(noise)
        return jnp.tensordot(jax.nn.softmax(self.log_weights), each, 1)

    def sample_functions(self, x, *, key, count=1):
        pick_key, draw_key = jax.random.split(key)
        picked = jax.random.categorical(pick_key, self.log_weights, shape=(count,))
        keys = jax.random.split(draw_key, count)
        if count > len(self.log_weights):
            # Functions of one draw share a factorisation, which costs the most.
            every = jax.lax.map(lambda given: self._functions(given, x, keys), self.given)
            return every[picked, jnp.arange(count)]

        def function(draw: Array, key: PRNGKeyArray) -> Array:
            return self._functions(jax.tree.map(lambda leaf: leaf[draw], self.given), x, key[None])[0]

        return jax.vmap(function)(picked, keys)
