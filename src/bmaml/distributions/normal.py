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
        """Return the normals with their standard deviation times `factor`."""
        return Normal(self.loc, factor * self.scale)


class MeasuredNormal(Normal):
    """Normals whose standard deviation `scale` holds that of a `known` error. What stretches them leaves the known part alone.

    >>> wide = MeasuredNormal(jnp.zeros((1, 1)), jnp.full((1, 1), 5.0), jnp.full((1, 1), 4.0)).widened(2.0)
    >>> print(f"{wide.scale[0, 0] ** 2:.1f}")  # 4 (25 - 16) + 16
    52.0
    """

    known: Float[Array, "*#batch #n #outputs"]

    def widened(self, factor):
        own = jnp.maximum(self.scale**2 - self.known**2, 0.0)
        return MeasuredNormal(self.loc, jnp.sqrt(factor**2 * own + self.known**2), self.known)
