"""The probability integral transform of a target, by which it is seen whether predictives are right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.distributions.base import AbstractDistribution, AbstractNumeric
from bmaml.distributions.discrete import AbstractDiscrete
from bmaml.distributions.limited import Limited
from bmaml.distributions.mixtures import Mixture
from bmaml.distributions.pool import Pool


def pit(predictive: AbstractNumeric, y: Array | np.ndarray, key: PRNGKeyArray) -> Array:
    """Return the probability integral transform of targets `y`, for each output: uniform if the predictive is right.

    It is the CDF of a continuous `predictive`. Over whole numbers, and where a target is only known up to a limit, it is a
    number between the probabilities of being below `y` and of being at most `y`, drawn with `key`: Czado et al. (2009),
    https://doi.org/10.1111/j.1541-0420.2009.01191.x.
    """
    below, above = around(predictive, y)
    if below is above:
        return above
    return below + (above - below) * jax.random.uniform(key, above.shape, above.dtype)


def around(predictive: AbstractNumeric, y: Array | np.ndarray) -> tuple[Array, Array]:
    """Return the probabilities that an output of `predictive` is below `y`, and that it is not above `y`, for each output.

    They are the same array if `y` is one value of a continuous output. Otherwise the probability of `y` lies between them.
    """
    if _limited(predictive):
        return _of_limits(predictive, jnp.asarray(y))
    above = predictive.cdf(y)
    if not isinstance(predictive, AbstractDiscrete):
        return above, above
    if above.shape[-1] == 1:  # A probability costs much less than a CDF.
        return jnp.maximum(above - jnp.exp(predictive.log_prob(y))[..., None], 0.0), above
    return predictive.cdf(jnp.asarray(y) - 1), above


def _limited(predictive: AbstractDistribution) -> bool:
    if isinstance(predictive, Pool):
        return any(_limited(part) for part in predictive.parts)
    return isinstance(predictive, Limited) or (isinstance(predictive, Mixture) and _limited(predictive.components))


def _of_limits(predictive: AbstractDistribution, y: Array) -> tuple[Array, Array]:
    """Return `around` of a mixture of distributions whose targets may only be known up to a limit."""
    if isinstance(predictive, Pool):
        each = [_of_limits(part, y) for part in predictive.parts]
        below, above = (jnp.stack(list(ends)) for ends in zip(*each, strict=True))
    elif isinstance(predictive, Mixture):
        below, above = _of_limits(predictive.components, y)
    else:
        assert isinstance(predictive, Limited)
        low, high = predictive.ends(y)
        return predictive.inner.cdf(low), predictive.inner.cdf(high)
    weights = jax.nn.softmax(predictive.log_weights)
    return jnp.tensordot(weights, below, 1), jnp.tensordot(weights, above, 1)
