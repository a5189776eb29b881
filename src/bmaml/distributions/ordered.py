"""Outcomes that are one of several levels with an order."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import check_draw, check_targets
from bmaml.distributions.discrete import AbstractDiscrete

# A logit below the first level and above the last one.
_FAR = 1e4
_LEAST = 1e-30


class Ordered(AbstractDiscrete):
    """One output that is a level from 0 on. The probability of at most level j is 1 / (1 + exp(-`cuts`[j])).

    The last axis of `cuts`, which increase, runs over all levels but the last one.
    """

    BY_ROWS: ClassVar[bool] = True

    cuts: Float[Array, "*batch n cuts"]

    def log_prob(self, y):
        check_targets((*self.cuts.shape[:-1], 1), y)
        y = jnp.asarray(y, self.cuts.dtype)
        known = (y >= 0) & (y == jnp.floor(y)) & (y <= self.cuts.shape[-1])
        level, cuts = same_rank(jnp.where(known, y, 0.0), self.cuts)
        low, high = between(level[..., 0], cuts)
        return jnp.where(known[..., 0], log_difference(low, high), -jnp.inf)

    @property
    def probabilities(self) -> Float[Array, "*batch n levels"]:
        """The probability of each level."""
        low, high = (jnp.pad(self.cuts, [(0, 0)] * (self.cuts.ndim - 1) + [side], constant_values=end) for side, end in _ENDS)
        return jnp.exp(log_difference(low, high))

    @property
    def mean(self):
        return jax.nn.sigmoid(-self.cuts).sum(-1, keepdims=True)

    @property
    def variance(self):
        levels = jnp.arange(self.cuts.shape[-1] + 1, dtype=self.cuts.dtype)
        away, share = same_rank(levels, self.probabilities)
        return (share * (away - self.mean) ** 2).sum(-1, keepdims=True)

    def cdf(self, y):
        y, cuts = same_rank(jnp.floor(jnp.asarray(y, self.cuts.dtype)), self.cuts)
        return jax.nn.sigmoid(between(jnp.clip(y[..., 0], -1, cuts.shape[-1]), cuts)[1])[..., None]

    def survival(self, y):
        y, cuts = same_rank(jnp.floor(jnp.asarray(y, self.cuts.dtype)), self.cuts)
        return jax.nn.sigmoid(-between(jnp.clip(y[..., 0], -1, cuts.shape[-1]), cuts)[1])[..., None]

    def sample(self, key, shape=()):
        check_draw(key, shape)
        uniform = jax.random.uniform(key, (*shape, *self.cuts.shape[:-1], 1), self.cuts.dtype)
        uniform, below = same_rank(uniform, jax.nn.sigmoid(self.cuts))
        return (uniform > below).sum(-1, keepdims=True).astype(self.cuts.dtype)

    def entropy(self):
        return share_entropy(self.probabilities)


_ENDS = (((1, 0), -_FAR), ((0, 1), _FAR))


def share_entropy(share: Float[Array, "*batch levels"]) -> Float[Array, "*batch"]:
    """Return the entropy of levels with the probabilities `share`, in nats."""
    return -special.xlogy(share, share).sum(-1)


def of_shares(share: Float[Array, "*batch n levels"]) -> Ordered:
    """Return the distribution of levels with the probabilities `share`, which need not add up to 1."""
    total = jnp.maximum(jnp.cumsum(share, -1), _LEAST)
    above = jnp.maximum(jnp.flip(jnp.cumsum(jnp.flip(share, -1), -1), -1), _LEAST)
    return Ordered(jnp.log(total[..., :-1]) - jnp.log(above[..., 1:]))


def between(level: Float[Array, "*#batch"], cuts: Float[Array, "*#batch cuts"]) -> tuple[Array, Array]:
    """Return the cuts below and above each `level`, which is a whole number. `cuts` are those between the levels."""
    which = jax.nn.one_hot(level.astype(int), cuts.shape[-1] + 1, dtype=cuts.dtype)
    low, high = (jnp.pad(cuts, [(0, 0)] * (cuts.ndim - 1) + [side], constant_values=end) for side, end in _ENDS)
    # No level is below all of them: its cut is far down.
    none = jnp.where(level < 0, -_FAR, 0.0)
    return (which * low).sum(-1) + none, (which * high).sum(-1) + none


def log_difference(low: Float[Array, "*batch"], high: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return the log probability that a logistic number lies between `low` and `high`."""
    gap = jnp.maximum(high - low, 1e-6)
    return jax.nn.log_sigmoid(high) + jax.nn.log_sigmoid(-low) + jnp.log(-jnp.expm1(-gap))
