"""Outcomes that are yes or no."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.distributions import Bernoulli, DiscreteMixture
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractDiscreteLikelihood, nodes


@register("likelihood/bernoulli")
class BernoulliLikelihood(AbstractDiscreteLikelihood):
    """An outcome of 1 (yes) or 0 (no). The latent number is the log odds of yes."""

    @property
    def priors(self):
        return {}

    def log_prob(self, latent, y, side, scales):
        del side, scales
        return y * latent - jax.nn.softplus(latent)

    def slopes(self, latent, y, side, scales):
        del side, scales
        p = jax.nn.sigmoid(latent)
        return y - p, p * jax.nn.sigmoid(-latent)

    def centre(self, y, side):
        del side
        share = (np.sum(y) + 0.5) / (len(y) + 1)
        return float(np.log(share) - np.log1p(-share))

    def expected(self, latent, side, scales):
        del side, scales
        return jax.nn.sigmoid(latent)

    def predictive(self, mean, variance, side, scales, log_weights):
        del side, scales
        latent, weights = nodes(mean, jnp.maximum(variance, 0.0), log_weights)
        return DiscreteMixture(weights, Bernoulli(latent))
