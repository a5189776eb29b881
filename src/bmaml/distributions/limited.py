"""A number that may only be known up to a limit, such as a concentration below what an instrument can measure."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractContinuous, check_targets

# An interval of fewer deviations has the probability of its width times the density: a difference of CDFs has too few digits.
_NARROW = 1e-3
_LEAST = 1e-37


class Limited(AbstractContinuous):
    """The distribution `inner` of one output, of which some targets are only known to lie in an interval.

    The log probability of such a target is that of its interval. All else is that of `inner`.

    - `reach`: how far the true target may lie from the one that is given: 0 if it is known, above 0 if it lies between y and
      y + `reach`, and below 0 if it lies between y + `reach` and y.
    """

    BY_ROWS: ClassVar[bool] = True

    inner: AbstractContinuous
    reach: Float[Array, "*batch n outputs"]

    def log_prob(self, y):
        check_targets(self.mean.shape, y)
        density = self.inner.log_prob(y)
        low, high = self.ends(y)
        # In the upper half the differences of upper tails keep their digits.
        upper = self.inner.beyond(low, jnp.asarray(False)) > 0.5
        far, near = (self.inner.beyond(end, upper) for end in (low, high))
        mass = jnp.log(jnp.maximum(jnp.abs(far - near), _LEAST))
        reach, std, mass = same_rank(jnp.abs(self.reach), self.inner.std, mass)
        narrow = reach < _NARROW * std
        thin = same_rank(density[..., None], reach)[0] + jnp.log(jnp.maximum(reach, _LEAST))
        return jnp.where(reach[..., 0] == 0, density, jnp.where(narrow, thin, mass)[..., 0])

    def ends(self, y: Array | np.ndarray) -> tuple[Array, Array]:
        """Return the ends of the interval in which each target lies, if `y` is given for it."""
        y, reach = same_rank(jnp.asarray(y, self.reach.dtype), self.reach)
        return y + jnp.minimum(reach, 0.0), y + jnp.maximum(reach, 0.0)

    @property
    def mean(self):
        return self.inner.mean

    @property
    def variance(self):
        return self.inner.variance

    def beyond(self, y, upper):
        return self.inner.beyond(y, upper)

    def bracket(self, tail, upper):
        return self.inner.bracket(tail, upper)

    def sample(self, key, shape=()):
        return self.inner.sample(key, shape)

    def entropy(self):
        return self.inner.entropy()
