"""Outcomes that are counts."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import check_draw, check_targets
from bmaml.distributions.discrete import AbstractDiscrete
from bmaml.distributions.mixtures import sampled_entropy

# The CDF is the Poisson one where the size squared is so many times the mean: the incomplete beta function loses more digits.
_POISSON = 2e5
# A larger size makes no difference.
_MOST = 1e9
# From here on Stirling's series of two terms is exact to 1e-7.
_MANY = 8.0


class NegativeBinomial(AbstractDiscrete):
    """Independent counts with mean exp(`log_mean`) and variance mean + mean^2 / exp(`log_size`).

    It is a Poisson distribution whose rate has a gamma distribution of shape exp(`log_size`). So with a large size it is the
    Poisson distribution.
    """

    BY_ROWS: ClassVar[bool] = True

    log_mean: Float[Array, "*batch n outputs"]
    log_size: Float[Array, "*#batch #n #outputs"]

    def log_prob(self, y):
        check_targets(self.log_mean.shape, y)
        y, log_mean, log_size = same_rank(jnp.asarray(y, self.log_mean.dtype), self.log_mean, self.log_size)
        known = (y >= 0) & (y == jnp.floor(y))
        return jnp.where(known, log_mass(jnp.maximum(y, 0.0), log_mean, log_size), -jnp.inf).sum(-1)

    @property
    def mean(self):
        return jnp.exp(self.log_mean)

    @property
    def variance(self):
        mean = self.mean
        return mean + jnp.exp(2 * self.log_mean - self.log_size)

    def cdf(self, y):
        above, mean, size, few = self._tail(y)
        at_most = jnp.where(few, special.betainc(size, above, size / (size + mean)), special.gammaincc(above, mean))
        return jnp.where(above < 1, 0.0, at_most)

    def survival(self, y):
        above, mean, size, few = self._tail(y)
        more = jnp.where(few, special.betainc(above, size, mean / (size + mean)), special.gammainc(above, mean))
        return jnp.where(above < 1, 1.0, more)

    def _tail(self, y: Array | np.ndarray) -> tuple[Array, Array, Array, Array]:
        """Return the least count above `y`, mean and size, and whether the size is too small for Poisson counts."""
        y, log_mean, log_size = same_rank(jnp.asarray(y, self.log_mean.dtype), self.log_mean, self.log_size)
        y, mean, size = jnp.broadcast_arrays(jnp.floor(y), jnp.exp(log_mean), jnp.minimum(jnp.exp(log_size), _MOST))
        return y + 1, mean, size, size**2 < _POISSON * mean

    def sample(self, key, shape=()):
        check_draw(key, shape)
        shape = (*shape, *self.log_mean.shape)
        rate, count = jax.random.split(key)
        log_mean, log_size = (jnp.broadcast_to(leaf, shape) for leaf in (self.log_mean, self.log_size))
        size = jnp.minimum(jnp.exp(log_size), _POISSON)
        drawn = jnp.exp(log_mean + jax.random.loggamma(rate, size, shape, log_mean.dtype)) / size
        return jax.random.poisson(count, drawn).astype(log_mean.dtype)

    def entropy(self):
        return sampled_entropy(self)


def log_mass(y: Array, log_mean: Array, log_size: Array) -> Array:
    """Return the log probability of counts `y` under negative binomials with exp(`log_mean`) and exp(`log_size`).

    `y` is at least 0; between whole numbers the function is smooth. The terms are those that remain after large ones cancel (a
    saddle point, Loader, 2000), so that single precision keeps its digits.
    """
    mean, size = jnp.exp(log_mean), jnp.exp(log_size)
    some = jnp.maximum(y, 1.0)
    off = (y + size) * jnp.log1p((y - mean) / (size + mean)) - jnp.where(y > 0, some * (jnp.log(some) - log_mean), 0.0)
    shape = -0.5 * jnp.log1p(y / size) + stirling_rest(y + size) - stirling_rest(size)
    own = jnp.where(y > 0, 0.5 * jnp.log(2 * jnp.pi * some) + stirling_rest(some), 0.0)
    return off + shape - own


def stirling_rest(z: Array) -> Array:
    """Return log Gamma(z) - (z - 1/2) log z + z - log(2 pi) / 2."""
    few, many = jnp.minimum(z, _MANY), jnp.maximum(z, _MANY)
    exact = special.gammaln(few) - (few - 0.5) * jnp.log(few) + few - 0.5 * math.log(2 * math.pi)
    return jnp.where(z < _MANY, exact, 1 / (12 * many) - 1 / (360 * many**3) + 1 / (1260 * many**5))
