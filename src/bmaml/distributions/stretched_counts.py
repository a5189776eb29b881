"""Distributions over whole numbers that are made less sure, or surer, by a factor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractDistribution
from bmaml.distributions.bernoulli import Bernoulli
from bmaml.distributions.binomial import Binomial
from bmaml.distributions.counts import NegativeBinomial
from bmaml.distributions.indicators import Indicators
from bmaml.distributions.mixtures import DiscreteMixture
from bmaml.distributions.ordered import Ordered, of_shares
from bmaml.errors import PairError

# Newton steps that bring a mean back.
_STEPS = 6
# The least variance of a rate, as a share of its square.
_LEAST = 1e-9


def less_sure(predictive: AbstractDistribution, factor: Float[Array, ""] | float) -> DiscreteMixture:
    """Return a mixture over whole numbers that is less sure for a `factor` above 1, and surer below.

    Logits of yes are divided by the factor, and so are the logs of probabilities of levels and classes. Counts keep their
    mean: the logs of their rates lie apart by so much more, and each rate's own counts have a deviation that is so much larger.
    No count is surer than a Poisson count. Successes keep their mean, and the log odds of a success lie apart by so much more.

    Raises: PairError for a `predictive` of another kind.
    """
    parts = predictive.components if isinstance(predictive, DiscreteMixture) else None
    if isinstance(predictive, DiscreteMixture) and isinstance(parts, Bernoulli):
        return DiscreteMixture(predictive.log_weights, Bernoulli(parts.logits / factor))
    if isinstance(predictive, DiscreteMixture) and isinstance(parts, Indicators):
        return DiscreteMixture(predictive.log_weights, Indicators(parts.logits / factor))
    if isinstance(predictive, DiscreteMixture) and isinstance(parts, NegativeBinomial):
        log_weights = jax.nn.log_softmax(predictive.log_weights)[:, None, None]
        middle = logsumexp(log_weights + parts.log_mean, axis=0, keepdims=True)
        moved = middle + factor * (parts.log_mean - middle)
        log_mean = moved + middle - logsumexp(log_weights + moved, axis=0, keepdims=True)
        few, log_size = same_rank(jnp.exp(-parts.log_mean), parts.log_size)
        excess = factor**2 * (few + jnp.exp(-log_size)) - few
        return DiscreteMixture(predictive.log_weights, NegativeBinomial(log_mean, -jnp.log(jnp.maximum(excess, _LEAST))))
    if isinstance(predictive, DiscreteMixture) and isinstance(parts, Binomial):
        return DiscreteMixture(
            predictive.log_weights, Binomial(_apart(predictive.log_weights, parts.logits, factor), parts.trials)
        )
    if isinstance(predictive, DiscreteMixture) and isinstance(parts, Ordered):
        return DiscreteMixture(predictive.log_weights, of_shares(parts.probabilities ** (1 / factor)))
    raise PairError(
        f"cannot stretch {type(predictive).__name__}: give a mixture of yes or no, of levels, of classes, or of counts."
    )


def _apart(log_weights: Array, logits: Array, factor: Array | float) -> Array:
    """Return `logits` (components on the leading axis) that lie apart by a `factor` more, with the same mean probability."""
    weights = jax.nn.softmax(log_weights)
    middle = jnp.tensordot(weights, logits, 1)
    mean, moved = jnp.tensordot(weights, jax.nn.sigmoid(logits), 1), middle[None] + factor * (logits - middle[None])

    def nearer(_: Array, shift: Array) -> Array:
        p = jax.nn.sigmoid(moved + shift[None])
        slope = jnp.tensordot(weights, p * (1 - p), 1)
        return shift + jnp.clip((mean - jnp.tensordot(weights, p, 1)) / jnp.maximum(slope, _LEAST), -1.0, 1.0)

    return moved + jax.lax.fori_loop(0, _STEPS, nearer, jnp.zeros_like(middle))[None]
