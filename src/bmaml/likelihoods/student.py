"""Measurements of which a few lie far off."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.distributions import Mixture, NoisyStudentT, StudentT
from bmaml.distributions.student import student_constant
from bmaml.io.registry import register
from bmaml.likelihoods.base import AbstractLikelihood, Scales

# With more degrees of freedom the noise has a variance.
_LEAST_DF = 2.0


@register("likelihood/student")
class StudentLikelihood(AbstractLikelihood):
    """A measurement with Student-t noise around the latent number, so that rows far off move a model little.

    The scale `noise` is the log of the noise's scale, and `tails` the log of 1 / (df - 2) for df degrees of freedom. The
    density is not concave. So its Fisher information stands for its curvature, as in Hartmann and Vanhatalo (2019),
    https://doi.org/10.1007/s11222-018-9836-0.
    """

    CONCAVE: ClassVar[bool] = False
    # With heavy tails there may be several modes, and one of them says little about the mean.
    LEANS: ClassVar[bool] = False

    @property
    def priors(self):
        return {"noise": (-1.0, 1.5), "tails": (-1.2, 1.2)}

    def log_prob(self, latent, y, side, scales):
        del side
        df, scale = _shape(scales)
        return student_constant(df) - jnp.log(scale) - 0.5 * (df + 1) * jnp.log1p(((y - latent) / scale) ** 2 / df)

    def slopes(self, latent, y, side, scales):
        del side
        df, scale = _shape(scales)
        away = y - latent
        weight = (df + 1) / ((df + 3) * scale**2)
        return (df + 1) * away / (df * scale**2 + away**2), jnp.broadcast_to(weight, away.shape)

    def centre(self, y, side):
        del side
        return float(np.median(y))

    def expected(self, latent, side, scales):
        del side, scales
        return latent

    def predictive(self, mean, variance, side, scales, log_weights):
        del side
        wide = jnp.sqrt(jnp.maximum(variance, 0.0))[..., None]
        df, scale = (part[:, None, None] for part in _shape(scales))
        return Mixture(log_weights, NoisyStudentT(mean[..., None], wide, df, scale))

    def noise_entropy(self, mean, variance, side, scales, log_weights):
        del variance, side
        df, scale = _shape(scales)
        each = StudentT(df[:, None], jnp.zeros_like(df[:, None]), scale[:, None]).entropy()
        return jnp.broadcast_to(jax.nn.softmax(log_weights) @ each, mean.shape[1:])


def _shape(scales: Scales) -> tuple[Array, Array]:
    """Return the degrees of freedom and the scale of the noise."""
    return _LEAST_DF + jnp.exp(-scales["tails"]), jnp.exp(scales["noise"])
