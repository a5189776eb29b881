"""One class for each point."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractDistribution, check_draw, check_targets


class Categorical(AbstractDistribution):
    """One class for each point, from unnormalised `logits` of shape `(n, classes)`. `mean` is the class probabilities."""

    BY_ROWS: ClassVar[bool] = True

    logits: Float[Array, "*batch n classes"]

    def log_prob(self, y: Array | np.ndarray):
        check_targets(self.logits.shape[:-1], y, classes=self.logits.shape[-1])
        # Not a gather, because the transpose of a gather is a scatter-add, which is slow on some GPUs.
        chosen = jax.nn.one_hot(y, self.logits.shape[-1], dtype=self.logits.dtype)
        return jnp.multiply(*same_rank(jax.nn.log_softmax(self.logits), chosen)).sum(-1)

    @property
    def mean(self):
        return jax.nn.softmax(self.logits)

    @property
    def variance(self):
        p = self.mean
        return p * (1 - p)

    def sample(self, key, shape=()):
        check_draw(key, shape)
        return jax.random.categorical(key, self.logits, shape=(*shape, *self.logits.shape[:-1]))

    def entropy(self):
        logp = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(logp) * logp).sum(-1)
