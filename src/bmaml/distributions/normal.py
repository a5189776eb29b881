"""Independent normals."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import special, stats
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractContinuous, check_draw, check_targets


class Normal(AbstractContinuous):
    """Independent normals with mean `loc` and standard deviation `scale`, both of shape `(n, outputs)`.

    `known` is the deviation of an error that is known and part of `scale` (None: there is none). What stretches the normals
    leaves this part alone.

    >>> two_points = Normal(jnp.array([[0.0], [1.0]]), jnp.ones((2, 1)))
    >>> low, high = two_points.interval(0.9)
    >>> print(f"{low[0, 0]:.2f} {high[0, 0]:.2f}")
    -1.64 1.64
    >>> two_points.log_prob(jnp.zeros((2, 1))).shape
    (2,)
    """

    BY_ROWS: ClassVar[bool] = True

    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]
    known: Float[Array, "*#batch #n #outputs"] | None = None

    def log_prob(self, y):
        check_targets(self.loc.shape, y)
        return stats.norm.logpdf(*same_rank(y, self.loc, self.scale)).sum(-1)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        return jnp.broadcast_to(self.scale**2, self.loc.shape)

    def beyond(self, y, upper):
        y, loc, scale, upper = same_rank(y, self.loc, self.scale, upper)
        z = (y - loc) / scale
        return special.ndtr(jnp.where(upper, -z, z))

    def bracket(self, tail, upper):
        unit = special.ndtri(tail)
        loc, scale, unit = same_rank(self.loc, self.scale, jnp.where(upper, -unit, unit))
        return loc + scale * unit, loc + scale * unit

    def sample(self, key, shape=()):
        check_draw(key, shape)
        drawn = jax.random.normal(key, (*shape, *self.loc.shape), self.loc.dtype)
        loc, scale, unit = same_rank(self.loc, self.scale, drawn)
        return loc + scale * unit

    def entropy(self):
        each = 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.scale**2)
        return jnp.broadcast_to(each, self.loc.shape).sum(-1)

    def widened(self, factor: Float[Array, ""] | float) -> Normal:
        """Return the normals with what is not known of them times `factor`."""
        if self.known is None:
            return Normal(self.loc, factor * self.scale)
        own = jnp.maximum(self.scale**2 - self.known**2, 0.0)
        return Normal(self.loc, jnp.sqrt(factor**2 * own + self.known**2), self.known)
