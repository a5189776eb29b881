"""How much a measurement at a point would tell about a task."""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn import softmax
from jaxtyping import Array, Float

from bmaml.distributions import CategoricalMixture, Mixture
from bmaml.posteriors import AbstractPosterior


def variance(posterior: AbstractPosterior, x: Float[Array, "n inputs"]) -> Float[Array, " n"]:
    """Return the predictive variance at each point, summed over outputs (in their squared units, noise included)."""
    return posterior.predict(x).variance.sum(-1)


def disagreement(posterior: AbstractPosterior, x: Float[Array, "n inputs"]) -> Float[Array, " n"]:
    """Return the mutual information between a point's target and the particle, in nats: H[mixture] - mean H[particle].

    It leaves out noise that all particles expect, and also what a particle of its own does not know (an exact head's
    uncertainty about its weights). Exact for classes; for continuous targets the mixture's entropy is Monte Carlo (512
    draws, fixed key, error about 0.03 nats), cut at 0. Houlsby et al. (2011), with particles for the posterior.
    Raises: TypeError for a predictive without particles; use `variance`.
    """
    predictive = posterior.predict(x)
    if not isinstance(predictive, Mixture | CategoricalMixture):
        raise TypeError(f"disagreement needs particles and {type(predictive).__name__} has none: use variance.")
    weights = softmax(predictive.log_weights)
    each = predictive.components.entropy()
    return jnp.maximum(predictive.entropy() - jnp.tensordot(weights, each, 1), 0.0)
