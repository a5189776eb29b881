"""Measurements with normal noise, whose own error is known or which count as several."""

from __future__ import annotations

from abc import abstractmethod

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.distributions import Mixture, Normal
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractLikelihood, Scales


class AbstractGaussianLikelihood(AbstractLikelihood):
    """A measurement with normal noise around the latent number. The scale `noise` is the log of the noise's deviation."""

    @abstractmethod
    def noise(self, side: Array, scales: Scales) -> Array:
        """Return the variance of each row around its latent number, given `side` and the logs of the `scales`."""

    @abstractmethod
    def known(self, side: Array) -> Array | None:
        """Return the deviation of the error that is known of each row from its `side`, or None."""

    @property
    def priors(self):
        return {"noise": (-1.0, 1.5)}

    def log_prob(self, latent, y, side, scales):
        variance = self.noise(side, scales)
        return -0.5 * ((y - latent) ** 2 / variance + jnp.log(2 * np.pi * variance))

    def slopes(self, latent, y, side, scales):
        weight = 1 / self.noise(side, scales)
        return weight * (y - latent), jnp.broadcast_to(weight, jnp.shape(y - latent))

    def centre(self, y, side):
        del side
        return float(np.mean(y))

    def expected(self, latent, side, scales):
        del side, scales
        return latent

    def predictive(self, mean, variance, side, scales, log_weights):
        wide = jnp.sqrt(jnp.maximum(variance, 0.0) + self._noise_of_draws(side, scales))
        known = self.known(side)
        if known is not None:
            known = jnp.broadcast_to(known[None, :, None], (*mean.shape, 1))
        return Mixture(log_weights, Normal(mean[..., None], wide[..., None], known))

    def noise_entropy(self, mean, variance, side, scales, log_weights):
        del mean, variance
        each = 0.5 * jnp.log(2 * np.pi * np.e * self._noise_of_draws(side, scales))
        return jax.nn.softmax(log_weights) @ each

    def _noise_of_draws(self, side: Array, scales: Scales) -> Array:
        return jax.vmap(self.noise, (None, 0))(side, scales)


@register("likelihood/known-error")
class KnownErrorLikelihood(AbstractGaussianLikelihood):
    """A measurement whose error is known: `side` is its standard deviation, on top of the noise that all rows share."""

    def noise(self, side, scales):
        return jnp.exp(2 * scales["noise"]) + side**2

    def known(self, side):
        return jnp.abs(side)


@register("likelihood/weighted")
class WeightedLikelihood(AbstractGaussianLikelihood):
    """A measurement that is the mean of several: `side` is the log of how many. The noise's variance is divided by it."""

    def noise(self, side, scales):
        return jnp.exp(2 * scales["noise"] - side)

    def known(self, side):
        del side
