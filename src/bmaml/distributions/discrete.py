"""The contract of a distribution over whole numbers, and the search for quantiles that all of them share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractNumeric


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
        high = jnp.minimum(jnp.ceil(jnp.where(upper, reach, mean + deviation)) + 1, jnp.finfo(mean.dtype).max)

        def enough(place: Array) -> Array:
            return jnp.where(upper, self.survival(place) <= tail, self.cdf(place) >= tail)

        def halfway(ends: tuple[Array, Array]) -> Array:
            return jnp.floor(0.5 * ends[0] + 0.5 * ends[1])

        def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
            middle = halfway(ends)
            there = enough(middle)
            return jnp.where(there, ends[0], middle), jnp.where(there, middle, ends[1])

        def apart(ends: tuple[Array, Array]) -> Array:
            # Of large numbers, neighbours in the precision of the means are more than 1 apart.
            middle = halfway(ends)
            return ((middle > ends[0]) & (middle < ends[1])).any()

        # Small numbers, which most are, need a few halvings.
        return jax.lax.while_loop(apart, halve, (jnp.full_like(high, -1.0), high))[1]
