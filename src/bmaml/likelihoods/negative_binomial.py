"""Counts that vary more than Poisson counts."""

from __future__ import annotations

import jax.numpy as jnp

from bmaml.distributions.counts import log_mass
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractDiscreteLikelihood
from bmaml.likelihoods.counting import central_rate, predicted_counts


@register("likelihood/negative-binomial")
class NegativeBinomialLikelihood(AbstractDiscreteLikelihood):
    """A count with mean m and variance m + (c m)^2. The latent number is the log of the rate, and `side` the log exposure.

    The scale `scatter` is log c: how much the rate itself varies from row to row, as a coefficient of variation. If it is
    small, the counts are Poisson counts.
    """

    @property
    def priors(self):
        return {"scatter": (-1.0, 1.2)}

    def log_prob(self, latent, y, side, scales):
        return log_mass(y, latent + side, -2 * scales["scatter"])

    def slopes(self, latent, y, side, scales):
        mean, excess = jnp.exp(latent + side), jnp.exp(2 * scales["scatter"])
        below = 1 + excess * mean
        return (y - mean) / below, mean * (1 + excess * y) / below**2

    def centre(self, y, side):
        return central_rate(y, side)

    def expected(self, latent, side, scales):
        del scales
        return jnp.exp(latent + side)

    def predictive(self, mean, variance, side, scales, log_weights):
        return predicted_counts(mean, variance, side, jnp.exp(2 * scales["scatter"]), log_weights)
