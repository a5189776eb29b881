"""Amounts above 0 whose deviation grows with their mean: costs, durations, rainfall."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float

from bmaml.distributions import Mixture, NoisyGamma
from bmaml.distributions.counts import stirling_rest
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractLikelihood, Scales

_LEAST = 1e-30


@register("likelihood/gamma")
class GammaLikelihood(AbstractLikelihood):
    """An amount above 0 with a gamma distribution. The latent number is the log of its mean.

    The scale `scatter` is the log of the coefficient of variation: the deviation as a share of the mean.
    """

    @property
    def priors(self):
        return {"scatter": (-0.7, 1.0)}

    def log_prob(self, latent, y, side, scales):
        del side
        shape, log_y = _shape(scales), jnp.log(jnp.maximum(y, _LEAST))
        away = log_y - latent
        # The large terms of log Gamma cancel, so that single precision keeps its digits.
        constant = 0.5 * (jnp.log(shape) - np.log(2 * np.pi)) - stirling_rest(shape)
        return shape * (away - jnp.expm1(away)) + constant - log_y

    def slopes(self, latent, y, side, scales):
        del side
        shape = _shape(scales)
        ratio = jnp.maximum(y, _LEAST) * jnp.exp(-latent)
        return shape * (ratio - 1), shape * ratio

    def centre(self, y, side):
        del side
        return float(np.log(np.mean(y)))

    def expected(self, latent, side, scales):
        del side, scales
        return jnp.exp(latent)

    def predictive(self, mean, variance, side, scales, log_weights):
        del side
        wide = jnp.sqrt(jnp.maximum(variance, 0.0))[..., None]
        return Mixture(log_weights, NoisyGamma(mean[..., None], wide, jnp.exp(scales["scatter"])[:, None, None]))

    def noise_entropy(self, mean, variance, side, scales, log_weights):
        del variance, side
        shape = _shape(scales)
        own = shape - jnp.log(shape) + gammaln(shape) + (1 - shape) * digamma(shape)
        return jax.nn.softmax(log_weights) @ (own[:, None] + mean)


def _shape(scales: Scales) -> Float[Array, "*draws"]:
    return jnp.exp(-2 * scales["scatter"])
