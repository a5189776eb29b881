"""Acquisitions of active learning: what a measurement at each of some points is worth.

Each acquisition takes a posterior, inputs `x` of shape `(n, inputs)` and a key, and returns one number for each point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn import softmax
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.distributions import CategoricalMixture, Mixture
from bmaml.errors import InputError, PairError
from bmaml.inference.posteriors import AbstractPosterior, knows_noise, noise_entropy

Acquisition = Literal["variance", "information", "reduction", "random"]
_DRAWS = 512
_FUNCTIONS = 256
_AT_ONCE = 32


def variance(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return the predictive variance of `posterior` at each point of `x`, summed over outputs (in their squared units,
    noise included). For classes it is that of their indicators: p (1 - p), summed over classes.
    """
    del key
    return posterior.predict(x).variance.sum(-1)


def information(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return the mutual information between a point's target and the task (its function and noise), in nats.

    This is H[target] - E H[target | task]: the whole predictive entropy minus the entropy of the noise, which would remain if
    the task were known. So the disagreement of particles counts, and so does uncertainty within a particle, such as an exact
    head's uncertainty about its weights. Noise does not count. For numbers the `posterior` must know its noise
    (`AbstractNoisePosterior`), and the entropy of a mixture is an estimate from about 512 draws for each point of `x`. For
    classes the value is exact if the posterior knows its noise. Otherwise it is an estimate from 256 draws of the function.
    Houlsby et al. (2011), https://arxiv.org/abs/1112.5745.
    Raises: PairError for a posterior that does not know its noise; use `variance`, or `entropy` for classes.
    """
    predictive = posterior.predict(x)
    if isinstance(predictive, CategoricalMixture):
        return jnp.maximum(_of_classes(posterior, predictive, x, key), 0.0)
    if not knows_noise(posterior):
        kind = type(predictive).__name__
        raise PairError(f"information needs particles or a known noise, and this posterior gives a {kind} alone: use variance.")
    if not isinstance(predictive, Mixture):
        return jnp.maximum(predictive.entropy() - noise_entropy(posterior, x), 0.0)
    within = jnp.tensordot(softmax(predictive.log_weights), predictive.components.entropy(), 1)
    return jnp.maximum(_between(predictive, key) + within - noise_entropy(posterior, x), 0.0)


def _of_classes(
    posterior: AbstractPosterior, predictive: CategoricalMixture, x: Float[Array, "n inputs"], key: PRNGKeyArray
) -> Float[Array, " n"]:
    if knows_noise(posterior):
        return predictive.entropy() - noise_entropy(posterior, x)
    # The same draws in both entropies, so that their noise cancels.
    p = posterior.sample_functions(x, key=key, count=_FUNCTIONS)
    mean = p.mean(0)
    return (xlogy(p, p).sum(-1).mean(0)) - xlogy(mean, mean).sum(-1)


def _between(predictive: Mixture, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return sum_m w_m KL(component m, mixture) by draws from each component: what the components disagree about.

    The estimate is the difference of two log densities at the same draw. The difference is 0 if the components are equal, and
    it is much less noisy than the difference of two entropies.
    """
    parts = predictive.components
    count = max(1, _DRAWS // len(predictive.log_weights))
    draws = parts.sample(key, (count,))
    density = jax.vmap(parts.log_prob)(draws)
    # A few draws at a time, because all components at all draws would take gigabytes for many components.
    mixed = jax.lax.map(predictive.log_prob, draws.reshape(-1, *draws.shape[2:]), batch_size=_AT_ONCE).reshape(density.shape)
    return jnp.tensordot(softmax(predictive.log_weights), (density - mixed).mean(0), 1)


def reduction(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return how much a measurement at each point lowers the variance of the function, as the mean over all points of `x`.

    The value is Cov(f(x), f(x'))^2 / Var(y(x)), averaged over x' and summed over outputs (in their squared units). For
    Gaussians this is what conditioning removes from the variance. For other posteriors it is what the best linear prediction
    removes. The covariance is that of 256 draws of the function, so any `posterior` will do. The points should cover the inputs
    where the function matters. From Cohn (1994), https://doi.org/10.1016/0893-6080(95)00137-9, and MacKay (1992),
    https://doi.org/10.1162/neco.1992.4.4.590.
    """
    functions = posterior.sample_functions(x, key=key, count=_FUNCTIONS)
    centred = functions - functions.mean(0)[None]
    covariance = jnp.einsum("sxo,szo->oxz", centred, centred) / (_FUNCTIONS - 1)
    # A class that is as good as certain has nothing to lower.
    return ((covariance**2).mean(2).T / jnp.maximum(posterior.predict(x).variance, 1e-12)).sum(-1)


def entropy(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return the entropy of the target that `posterior` predicts at each point of `x`, in nats. It includes noise and
    uncertainty.
    """
    del key
    return posterior.predict(x).entropy()


def random(posterior: AbstractPosterior, x: Float[Array, "n inputs"], *, key: PRNGKeyArray) -> Float[Array, " n"]:
    """Return a uniform random number for each point of `x`, whatever the `posterior`: the baseline of active learning."""
    del posterior
    return jax.random.uniform(key, (len(x),))


ACQUISITIONS: dict[str, Callable[..., Float[Array, " n"]]] = {
    "variance": variance,
    "information": information,
    "reduction": reduction,
    "random": random,
}


# For classes. Each name means the same as for numbers.
CLASS_ACQUISITIONS: dict[str, Callable[..., Float[Array, " n"]]] = {"entropy": entropy} | ACQUISITIONS


def acquisition(by: str) -> Callable[..., Float[Array, " n"]]:
    """Return the acquisition with the name `by`: a function `(posterior, x, *, key) -> worth of each point`.

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
