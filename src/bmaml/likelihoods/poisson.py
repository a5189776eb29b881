"""Counts whose variance is their mean."""

from __future__ import annotations

import jax.numpy as jnp

from bmaml.distributions.counts import log_poisson_mass
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractDiscreteLikelihood
from bmaml.likelihoods.counting import central_rate, predicted_counts


@register("likelihood/poisson")
class PoissonLikelihood(AbstractDiscreteLikelihood):
    """A Poisson count. The latent number is the log of the rate, and `side` the log of the exposure."""

    @property
    def priors(self):
        return {}

    def log_prob(self, latent, y, side, scales):
        del scales
        return log_poisson_mass(y, latent + side)

    def slopes(self, latent, y, side, scales):
        del scales
        mean = jnp.exp(latent + side)
        return y - mean, mean

    def centre(self, y, side):
        return central_rate(y, side)

    def expected(self, latent, side, scales):
        del scales
        return jnp.exp(latent + side)

    def predictive(self, mean, variance, side, scales, log_weights):
        del scales
        return predicted_counts(mean, variance, side, jnp.zeros_like(log_weights), log_weights)
