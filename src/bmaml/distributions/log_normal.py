"""Outcomes whose logarithm is normal."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractContinuous, AbstractDistribution
from bmaml.distributions.mixtures import Mixture
from bmaml.distributions.normal import Normal
from bmaml.errors import PairError

_TINY = 1e-30


class ShiftedLogNormal(AbstractContinuous):
    """Independent outputs y for which log(y + shift) is normal with mean `loc` and deviation `scale`. So y is above -shift."""

    BY_ROWS: ClassVar[bool] = True

    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]
    shift: Float[Array, "*#batch #n #outputs"]

    def _unit(self, y: Array | np.ndarray) -> tuple[Array, Array]:
        y, loc, scale, shift = same_rank(y, self.loc, self.scale, self.shift)
        above = jnp.maximum(y + shift, _TINY)
        return (jnp.log(above) - loc) / scale, above

    def log_prob(self, y):
        z, above = self._unit(y)
        each = -0.5 * (z**2 + jnp.log(2 * jnp.pi)) - jnp.log(same_rank(self.scale, z)[0] * above)
        return jnp.where(above > _TINY, each, -jnp.inf).sum(-1)

    @property
    def mean(self):
        return jnp.exp(self.loc + 0.5 * self.scale**2) - self.shift

    @property
    def variance(self):
        return jnp.expm1(self.scale**2) * jnp.exp(2 * self.loc + self.scale**2)

    def beyond(self, y, upper):
        z, upper = same_rank(self._unit(y)[0], upper)
        return special.ndtr(jnp.where(upper, -z, z))

    def bracket(self, tail, upper):
        unit = special.ndtri(tail)
        loc, scale, shift, unit = same_rank(self.loc, self.scale, self.shift, jnp.where(upper, -unit, unit))
        value = jnp.exp(loc + scale * unit) - shift
        return value, value

    def sample(self, key, shape=()):
        drawn = jax.random.normal(key, (*shape, *self.loc.shape), self.loc.dtype)
        loc, scale, shift, unit = same_rank(self.loc, self.scale, self.shift, drawn)
        return jnp.exp(loc + scale * unit) - shift

    def entropy(self):
        each = self.loc + 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.scale**2)
        return jnp.broadcast_to(each, self.loc.shape).sum(-1)


def exponentiated(predictive: AbstractDistribution, centre: Array, spread: Array, shift: Array) -> AbstractContinuous:
    """Return the predictive of y where log(y + shift) = centre + spread z and z has the predictive given.

    - `predictive`: normals, or a mixture of them.
    - `centre`, `spread`, `shift`: one number for each output.

    Raises: PairError for another predictive.
    """
    if isinstance(predictive, Mixture):
        return Mixture(predictive.log_weights, exponentiated(predictive.components, centre, spread, shift))
    if isinstance(predictive, Normal):
        loc, centre, spread, shift = same_rank(predictive.loc, centre, spread, shift)
        # The shift has a row for each point, so that rows can be picked.
        return ShiftedLogNormal(centre + spread * loc, spread * predictive.scale, jnp.broadcast_to(shift, loc.shape))
    raise PairError(f"no logarithm of {type(predictive).__name__}: give normals or mixtures of them.")
