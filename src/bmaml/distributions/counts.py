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

# For such a size and count at least, the normal approximation is exact to 3e-5. Of a smaller size, a gamma distribution is it
# for such a count. The incomplete beta and gamma functions lose all digits for many more.
_NORMAL, _GAMMA = 30.0, 1000.0
# Terms of a series near 1, and how near.
_TERMS, _NEAR = 8, 0.3
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
        return self._tail(y, False)

    def survival(self, y):
        return self._tail(y, True)

    def _tail(self, y: Array | np.ndarray, upper: bool) -> Array:
        y, log_mean, log_size = same_rank(jnp.asarray(y, self.log_mean.dtype), self.log_mean, self.log_size)
        y, mean, size = jnp.broadcast_arrays(jnp.floor(y), jnp.exp(log_mean), jnp.minimum(jnp.exp(log_size), _MOST))
        none, normal, gamma = y < 0, (size >= _NORMAL) & (y >= _NORMAL), (size < _NORMAL) & (y >= _GAMMA)
        # Each function sees what it is exact for, since the others cost many terms there.
        far = normal | gamma
        above, rate, shape = jnp.where(far | none, 1.0, y + 1), jnp.where(far, 1.0, mean), jnp.where(far, 1.0, size)
        z = _as_normal(jnp.where(normal, y, _NORMAL), mean, jnp.where(normal, size, _NORMAL))
        own, scaled = jnp.minimum(size, _NORMAL), _as_gamma(y, mean, size)
        by_gamma = special.gammaincc(own, scaled) if upper else special.gammainc(own, scaled)
        few = _below(above, rate, shape, upper)
        found = jnp.where(normal, special.ndtr(-z if upper else z), jnp.where(gamma, by_gamma, few))
        return jnp.where(none, float(upper), found)

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


def _below(above: Array, mean: Array, size: Array, upper: bool) -> Array:
    """Return how often a count of this `mean` and `size` lies below the whole number `above`, or with `upper`, does not.

    Large sizes are those of a Poisson distribution. Of the two tails the lesser keeps its digits.
    """
    low = above < mean
    ends = (jnp.where(low, size, above), jnp.where(low, above, size), jnp.where(low, size, mean) / (size + mean))
    lesser, poisson = special.betainc(*ends), special.gammainc(above, mean) if upper else special.gammaincc(above, mean)
    return jnp.where(size**2 < _POISSON * mean, jnp.where(low != upper, lesser, 1 - lesser), poisson)


def _as_normal(y: Array, mean: Array, size: Array) -> Array:
    """Return the value that a standard normal exceeds as often as a count of this `mean` and `size` exceeds `y`.

    A count is at most y as often as at most y of y + `size` trials succeed. The formula is that of Peizer and Pratt (1968,
    https://doi.org/10.1080/01621459.1968.11009335), with the differences of large numbers taken by hand.
    """
    yes, no, trials = mean / (size + mean), size / (size + mean), y + size
    away = (y - mean) * no + (2 - yes) / 3 + 0.02 * (no / (y + 1) - yes / size + (no - 0.5) / (trials + 1))
    bent = 1 + no * bend((y + 0.5) / (trials * yes)) + yes * bend((size - 0.5) / (trials * no))
    return away * jnp.sqrt(jnp.maximum(bent, 0.0) / ((trials + 1 / 6) * yes * no))


def _as_gamma(y: Array, mean: Array, size: Array) -> Array:
    """Return the value that a gamma variable of shape `size` exceeds as often as a count of this `mean` exceeds `y`.

    Wise (1950, https://doi.org/10.1093/biomet/37.3-4.208). It is exact for a `size` far below `y`.
    """
    return (jnp.maximum(y, 0.0) + 0.5 * (size + 1)) * jnp.log1p(size / mean)


def bend(x: Array) -> Array:
    """Return (1 - x^2 + 2 x log x) / (1 - x)^2."""
    away = x - 1
    far = jnp.abs(away) > _NEAR
    other = jnp.where(far, x, 2.0)
    near = jnp.where(far, 0.0, away)
    terms = [2 / ((power + 1) * (power + 2)) * (-near) ** power for power in range(1, _TERMS + 1)]
    return jnp.where(far, (1 - other**2 + 2 * other * jnp.log(other)) / (1 - other) ** 2, sum(terms))


def log_mass(y: Array, log_mean: Array, log_size: Array) -> Array:
    """Return the log probability of counts `y` under negative binomials with exp(`log_mean`) and exp(`log_size`).

    `y` is at least 0; between whole numbers the function is smooth. The terms are those that remain after large ones cancel (a
    saddle point, Loader, 2000), so that single precision keeps its digits.
    """
    mean, size = jnp.exp(log_mean), jnp.exp(log_size)
    some = jnp.maximum(y, 1.0)
    # The logs of (y + size) / (mean + size) and of that over y / mean, each from a small difference where there is one.
    wider, narrower = (y - mean) / (size + mean), size * (some - mean) / (mean * (some + size))
    near, close = wider > -0.5, narrower > -0.5
    whole = jnp.where(near, jnp.log1p(jnp.where(near, wider, 0.0)), jnp.log(y + size) - jnp.log(mean + size))
    part = jnp.where(close, jnp.log1p(jnp.where(close, narrower, 0.0)), jnp.log(some) - log_mean - whole)
    off = size * whole - jnp.where(y > 0, some * part, 0.0)
    shape = -0.5 * jnp.log1p(y / size) + stirling_rest(y + size) - stirling_rest(size)
    own = jnp.where(y > 0, 0.5 * jnp.log(2 * jnp.pi * some) + stirling_rest(some), 0.0)
    return off + shape - own


def log_poisson_mass(y: Array, log_mean: Array) -> Array:
    """Return the log probability of counts `y`, at least 0, under Poisson distributions with the means exp(`log_mean`).

    As in `log_mass`, no large terms are left to cancel.
    """
    mean, some = jnp.exp(log_mean), jnp.maximum(y, 1.0)
    away = (some - mean) / mean
    near = jnp.abs(away) < 0.5
    ratio = jnp.where(near, jnp.log1p(jnp.where(near, away, 0.0)), jnp.log(some) - log_mean)
    several = (some - mean) - some * ratio - 0.5 * jnp.log(2 * jnp.pi * some) - stirling_rest(some)
    return jnp.where(y > 0, several, -mean)


def stirling_rest(z: Array) -> Array:
    """Return log Gamma(z) - (z - 1/2) log z + z - log(2 pi) / 2."""
    few, many = jnp.minimum(z, _MANY), jnp.maximum(z, _MANY)
    exact = special.gammaln(few) - (few - 0.5) * jnp.log(few) + few - 0.5 * math.log(2 * math.pi)
    return jnp.where(z < _MANY, exact, 1 / (12 * many) - 1 / (360 * many**3) + 1 / (1260 * many**5))
