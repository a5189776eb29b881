"""What families of counts share: a rate times an exposure, and counts whose log rate is a mixture of normals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.distributions import DiscreteMixture, NegativeBinomial
from bmaml.likelihoods.base import nodes, over_nodes

# This share of a normal becomes part of the counts' own spread. Points of quadrature lie too far apart for counts that are
# known more sharply than the normal is wide.
_BLUR = 0.15
# The least squared coefficient of variation of a rate, so that its inverse is finite.
_LEAST = 1e-8


def central_rate(y: np.ndarray, side: np.ndarray) -> float:
    """Return the log of the mean rate of counts `y` with log exposures `side`."""
    return float(np.log((np.sum(y) + 0.5) / (np.exp(side).sum() + 0.5)))


def predicted_counts(
    mean: Float[Array, "draws n"],
    variance: Float[Array, "draws n"],
    side: Float[Array, " n"],
    scatter: Float[Array, " draws"],
    log_weights: Float[Array, " draws"],
) -> DiscreteMixture:
    """Return the distribution of counts whose log rate is a mixture of normals.

    Each normal is a sum of two: points of quadrature stand for the wider, and the narrower makes the rate at a point vary, as a
    gamma distribution of the same mean and variance.

    - `mean`, `variance`: those of each normal at each row.
    - `side`: the log exposure.
    - `scatter`: squared coefficient of variation of the rate itself in each draw, 0 for Poisson counts.
    - `log_weights`: log weights of the normals.
    """
    variance = jnp.maximum(variance, 0.0)
    narrow = over_nodes(_BLUR * variance)
    latent, weights = nodes(mean + side[None], (1 - _BLUR) * variance, log_weights)
    own = over_nodes(jnp.broadcast_to(scatter[:, None], mean.shape))
    # (1 + own) exp(narrow) - 1, without the loss of digits near 0.
    spread = jnp.expm1(narrow) + own * jnp.exp(narrow)
    return DiscreteMixture(weights, NegativeBinomial(latent + 0.5 * narrow, -jnp.log(jnp.maximum(spread, _LEAST))))
