"""The contract of a distribution over whole numbers, and the search for quantiles that all of them share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractNumeric

# Halvings of the bracket of a quantile. A count has less than so many binary digits.
_STEPS = 40
# Whole numbers above have neighbours that single precision cannot tell apart.
_LARGEST = 2.0**24


class AbstractDiscrete(AbstractNumeric):
    """A distribution over the whole numbers from 0 on, in each output. `log_prob` is the log of a probability.

    A quantile of level q is the least number that is not exceeded with a probability of at least q. So a central interval holds
    its share or more.
    """

    def tail_quantile(self, tail: Float[Array, "*levels"], upper: Bool[Array, "*levels"]) -> Array:
        mean, deviation = self.mean, self.std
        tail, upper, mean, deviation = same_rank(tail.astype(mean.dtype), upper, mean, deviation)
        # Cantelli's inequality bounds how far a tail reaches.
        reach = mean + deviation * jnp.sqrt(1 / tail - 1)
        high = jnp.minimum(jnp.ceil(jnp.where(upper, reach, mean + deviation)) + 1, _LARGEST)

        def enough(place: Array) -> Array:
            return jnp.where(upper, self.survival(place) <= tail, self.cdf(place) >= tail)

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = jnp.floor(0.5 * (low + high))
            there = enough(middle)
            return jnp.where(there, low, middle), jnp.where(there, middle, high)

        return jax.lax.fori_loop(0, _STEPS, halve, (jnp.full_like(high, -1.0), high))[1]


def pit(predictive: AbstractNumeric, y: Array | np.ndarray, key: PRNGKeyArray) -> Array:
    """Return the probability integral transform of targets `y`, for each output: uniform if the predictive is right.

    It is the CDF of a continuous `predictive`. Over whole numbers it is a number between the probabilities of being below `y`
    and of being at most `y`, drawn with `key`: Czado et al. (2009), https://doi.org/10.1111/j.1541-0420.2009.01191.x.
    """
    above = predictive.cdf(y)
    if not isinstance(predictive, AbstractDiscrete):
        return above
    if above.shape[-1] == 1:  # A probability costs much less than a CDF.
        below = jnp.maximum(above - jnp.exp(predictive.log_prob(y))[..., None], 0.0)
    else:
        below = predictive.cdf(jnp.asarray(y) - 1)
    return below + (above - below) * jax.random.uniform(key, above.shape, above.dtype)
