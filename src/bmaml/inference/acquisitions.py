"""What a measurement at each of some points would be worth: the acquisitions of active learning for regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn import softmax
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.distributions import CategoricalMixture, Mixture
from bmaml.errors import InputError, PairError
from bmaml.inference.posteriors import AbstractPosterior

Acquisition = Literal["variance", "information", "reduction", "random"]
_DRAWS = 512
_FUNCTIONS = 256
_AT_ONCE = 32


def variance(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return the predictive variance at each point, summed over outputs (in their squared units, noise included)."""
    del key
    return posterior.predict(x).variance.sum(-1)


def information(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return the mutual information between a point's target and the particle, in nats: how much particles disagree.

    H[mixture] - mean H[particle]: the total predictive entropy less that which each particle expects by itself, so noise
    that all expect does not count, nor what a particle of its own does not know (an exact head's uncertainty about its
    weights). Between 0 and the entropy of the weights. Exact for classes; for continuous targets about 512 draws a point,
    `_continuous`. Houlsby et al. (2011), with particles for the posterior.
    Raises: PairError for a predictive without particles; use `variance`.
    """
    predictive = posterior.predict(x)
    if isinstance(predictive, CategoricalMixture):
        each = jnp.tensordot(softmax(predictive.log_weights), predictive.components.entropy(), 1)
        return jnp.maximum(predictive.entropy() - each, 0.0)
    if isinstance(predictive, Mixture):
        return jnp.maximum(_continuous(predictive, key), 0.0)
    raise PairError(f"information needs particles and {type(predictive).__name__} has none: use variance.")


def _continuous(predictive: Mixture, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return sum_m w_m KL(component m, mixture) by draws from each component, which is the mutual information.

    The difference of two log densities at the same draw: 0 where components are the same, and much less noisy than the
    difference of two entropies.
    """
    parts = predictive.components
    count = max(1, _DRAWS // len(predictive.log_weights))
    draws = parts.sample(key, (count,))
    own = jax.vmap(parts.log_prob)(draws)
    # A few draws at a time: all components at all draws at once would be gigabytes where components are many.
    mixed = jax.lax.map(predictive.log_prob, draws.reshape(-1, *draws.shape[2:]), batch_size=_AT_ONCE).reshape(own.shape)
    return jnp.tensordot(softmax(predictive.log_weights), (own - mixed).mean(0), 1)


def reduction(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return how much a measurement at each point lowers the variance of the function, in the mean over all the points.

    Cov(f(x), f(x'))^2 / Var(y(x)), averaged over x' and summed over outputs (in their squared units): what conditioning
    takes off for Gaussians, and the best linear prediction's share for others. The covariance is that of 256 draws of the
    function, so any posterior will do; the points stand for where the function is wanted. Cohn (1994); MacKay (1992).
    """
    functions = posterior.sample_functions(x, key=key, count=_FUNCTIONS)
    centred = functions - functions.mean(0)
    covariance = jnp.einsum("sxo,szo->oxz", centred, centred) / (_FUNCTIONS - 1)
    return ((covariance**2).mean(2).T / posterior.predict(x).variance).sum(-1)


def entropy(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return the entropy of the target predicted at each point, in nats: noise and ignorance alike."""
    del key
    return posterior.predict(x).entropy()


def random(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return a uniform number for each point, whatever is believed: what active learning has to beat."""
    del posterior
    return jax.random.uniform(key, (len(x),))


ACQUISITIONS: dict[str, Callable[..., Float[Array, " n"]]] = {
    "variance": variance,
    "information": information,
    "reduction": reduction,
    "random": random,
}


# For classes, whose variance and covariance say less.
CLASS_ACQUISITIONS: dict[str, Callable[..., Float[Array, " n"]]] = {
    "entropy": entropy,
    "information": information,
    "random": random,
}


def acquisition(by: str) -> Callable[..., Float[Array, " n"]]:
    """Return an acquisition `(posterior, x, *, key) -> worth of each point` by its name.

    Raises: InputError for an unknown name.
    """
    if by not in ACQUISITIONS:
        raise InputError(f"unknown acquisition {by!r}: use {', '.join(ACQUISITIONS)}.")
    return ACQUISITIONS[by]


__all__ = [
    "ACQUISITIONS",
    "CLASS_ACQUISITIONS",
    "Acquisition",
    "acquisition",
    "entropy",
    "information",
    "random",
    "reduction",
    "variance",
]
