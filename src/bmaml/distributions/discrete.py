"""The contract of a distribution over whole numbers, and the search for quantiles that all of them share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractNumeric

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

        def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = jnp.floor(0.5 * (low + high))
            there = enough(middle)
            return jnp.where(there, low, middle), jnp.where(there, middle, high)

        # Small numbers, which most are, need a few halvings.
        return jax.lax.while_loop(lambda ends: (ends[1] - ends[0] > 1).any(), halve, (jnp.full_like(high, -1.0), high))[1]
