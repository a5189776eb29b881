"""Outcomes that are yes (1) or no (0)."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import check_draw, check_targets
from bmaml.distributions.discrete import AbstractDiscrete


class Bernoulli(AbstractDiscrete):
    """Independent outputs that are 1 with the probability 1 / (1 + exp(-`logits`)), and else 0.

    >>> Bernoulli(jnp.array([[0.0], [2.0]])).mean[:, 0].round(2)
    Array([0.5 , 0.88], dtype=float32)
    """

    BY_ROWS: ClassVar[bool] = True

    logits: Float[Array, "*batch n outputs"]

    def log_prob(self, y):
        check_targets(self.logits.shape, y)
        y, logits = same_rank(y, self.logits)
        known = jnp.where((y == 0) | (y == 1), 0.0, -jnp.inf)
        return (y * logits - jax.nn.softplus(logits) + known).sum(-1)

    @property
    def mean(self):
        return jax.nn.sigmoid(self.logits)

    @property
    def variance(self):
        return jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits)

    def cdf(self, y):
        y, logits = same_rank(y, self.logits)
        return jnp.where(y < 0, 0.0, jnp.where(y < 1, jax.nn.sigmoid(-logits), 1.0))

    def survival(self, y):
        y, logits = same_rank(y, self.logits)
        return jnp.where(y < 0, 1.0, jnp.where(y < 1, jax.nn.sigmoid(logits), 0.0))

    def sample(self, key, shape=()):
        check_draw(key, shape)
        uniform = jax.random.uniform(key, (*shape, *self.logits.shape), self.logits.dtype)
        return (uniform < same_rank(self.mean, uniform)[0]).astype(self.logits.dtype)

    def entropy(self):
        return coin_entropy(self.mean).sum(-1)


def coin_entropy(p: Array) -> Array:
    """Return the entropy of a yes with probability `p`, in nats."""
    return -special.xlogy(p, p) - special.xlog1py(1 - p, -p)
