"""Measurements that are only known up to a limit: below what can be measured, above the end of a scale, or between two."""

from __future__ import annotations

from abc import abstractmethod

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array

from bmaml.distributions import AbstractContinuous, Limited, Mixture, Normal, ShiftedLogNormal
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractLikelihood

NOWHERE = 1e8
"""How far, in deviations, the truth lies at most from a limit on one side: a reach that stands for no limit."""
_LEAST = 1e-30
# An interval of fewer deviations counts as its middle: differences of CDFs have too few digits.
_NARROW = 1e-3
_LEAST_WEIGHT = 1e-4


class AbstractCensoredLikelihood(AbstractLikelihood):
    """A measurement with normal noise around the latent number, which may be known only to lie in an interval (Tobin, 1958,
    https://doi.org/10.2307/1907382).

    The scale `noise` is the log of the noise's deviation. `side` is how far the true value may lie from the given one: 0 if it
    is known, above 0 upwards and below 0 downwards. Beyond `NOWHERE` / 2 there is no limit.
    """

    @abstractmethod
    def measured(self, y: Array) -> Array:
        """Return the number with normal noise of which outcomes `y` are a function."""

    @abstractmethod
    def log_slope(self, y: Array) -> Array:
        """Return the log of the slope of `measured` at outcomes `y`."""

    @abstractmethod
    def known(self, mean: Array, deviation: Array) -> AbstractContinuous:
        """Return the distribution of true outcomes whose measured numbers are normals with this `mean` and `deviation`."""

    @property
    def priors(self):
        return {"noise": (-1.0, 1.5)}

    def log_prob(self, latent, y, side, scales):
        noise = jnp.exp(scales["noise"])
        z, low, high = self._standardised(latent, y, side, noise)
        density = -0.5 * (z**2 + np.log(2 * np.pi)) - scales["noise"] + self.log_slope(y)
        return jnp.where(side == 0, density, log_between(low, high))

    def slopes(self, latent, y, side, scales):
        noise = jnp.exp(scales["noise"])
        z, low, high = self._standardised(latent, y, side, noise)
        slope, weight = _slopes(low, high)
        return jnp.where(side == 0, z, slope) / noise, jnp.where(side == 0, jnp.ones_like(z), weight) / noise**2

    def _standardised(self, latent: Array, y: Array, side: Array, noise: Array) -> tuple[Array, Array, Array]:
        """Return the outcome and the ends of its interval in deviations from the latent number."""
        z = (self.measured(y) - latent) / noise
        end = (self.measured(y + jnp.where(jnp.abs(side) < NOWHERE / 2, side, 0.0)) - latent) / noise
        low = jnp.where(side <= -NOWHERE / 2, -NOWHERE, jnp.minimum(z, end))
        high = jnp.where(side >= NOWHERE / 2, NOWHERE, jnp.maximum(z, end))
        # What is known is told apart later. Here it gets an interval with a finite slope.
        return z, jnp.where(side == 0, -1.0, low), jnp.where(side == 0, 1.0, high)

    def centre(self, y, side):
        del side
        return float(np.mean(np.asarray(self.measured(jnp.asarray(y)), np.float64)))

    def predictive(self, mean, variance, side, scales, log_weights):
        wide = jnp.sqrt(jnp.maximum(variance, 0.0) + jnp.exp(2 * scales["noise"])[:, None])
        known = self.known(mean[..., None], wide[..., None])
        return Mixture(log_weights, Limited(known, jnp.broadcast_to(side[None, :, None], (*mean.shape, 1))))

    def noise_entropy(self, mean, variance, side, scales, log_weights):
        del variance, side
        noise = jnp.broadcast_to(jnp.exp(scales["noise"])[:, None, None], (*mean.shape, 1))
        return jax.nn.softmax(log_weights) @ self.known(mean[..., None], noise).entropy()


@register("likelihood/censored")
class CensoredLikelihood(AbstractCensoredLikelihood):
    """A number with normal noise, which may be known only up to a limit."""

    def measured(self, y):
        return y

    def log_slope(self, y):
        return jnp.zeros_like(y)

    def known(self, mean, deviation):
        return Normal(mean, deviation)

    def expected(self, latent, side, scales):
        del side, scales
        return latent


@register("likelihood/censored-log")
class CensoredLogLikelihood(AbstractCensoredLikelihood):
    """An amount above 0 whose logarithm has normal noise, and which may be known only up to a limit."""

    def measured(self, y):
        return jnp.log(jnp.maximum(y, _LEAST))

    def log_slope(self, y):
        return -self.measured(y)

    def known(self, mean, deviation):
        return ShiftedLogNormal(mean, deviation, jnp.zeros_like(mean))

    def expected(self, latent, side, scales):
        del side
        return jnp.exp(latent + 0.5 * jnp.exp(2 * scales["noise"]))


def log_between(low: Array, high: Array) -> Array:
    """Return the log probability that a standard normal lies between `low` and `high`, with its digits in both tails."""
    narrow = high - low < _NARROW
    wide = jnp.where(narrow, low + 1.0, high)
    turned = low + wide > 0
    near, far = jnp.where(turned, -low, wide), jnp.where(turned, -wide, low)
    gap = log_ndtr(far) - log_ndtr(near)
    middle = 0.5 * (low + high)
    thin = -0.5 * (middle**2 + np.log(2 * np.pi)) + jnp.log(jnp.maximum(high - low, _LEAST))
    return jnp.where(narrow, thin, log_ndtr(near) + jnp.log1p(-jnp.exp(gap)))


def _slopes(low: Array, high: Array) -> tuple[Array, Array]:
    """Return the first derivative of `log_between` in the centre of the normal, and the second with its sign turned."""
    narrow, middle = high - low < _NARROW, 0.5 * (low + high)
    total = log_between(low, high)
    below, above = (jnp.exp(-0.5 * (end**2 + np.log(2 * np.pi)) - total) for end in (low, high))
    slope = below - above
    # One less the variance of the normal between the ends.
    weight = jnp.clip(slope**2 + high * above - low * below, _LEAST_WEIGHT, 1.0)
    return jnp.where(narrow, middle, slope), jnp.where(narrow, 1.0, weight)
