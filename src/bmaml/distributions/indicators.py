"""Outcomes that are one of several classes without an order, as one indicator for each class."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import check_draw, check_targets
from bmaml.distributions.bernoulli import Bernoulli
from bmaml.distributions.discrete import AbstractDiscrete
from bmaml.distributions.ordered import share_entropy

_LEAST = 1e-30


class Indicators(AbstractDiscrete):
    """Outputs of which one is 1, that of the class, and the others are 0. `mean` holds the probabilities of the classes.

    The probabilities are the softmax of the `logits`. `log_prob` is joint over the outputs, so it is the log probability of
    the class. `cdf`, `quantile` and `interval` treat each output as a yes or no.

    >>> shares = Indicators(jnp.log(jnp.array([[0.2, 0.3, 0.5]]))).mean
    >>> [f"{share:.1f}" for share in shares[0]]
    ['0.2', '0.3', '0.5']
    """

    BY_ROWS: ClassVar[bool] = True

    logits: Float[Array, "*batch n classes"]

    def log_prob(self, y):
        check_targets(self.logits.shape, y)
        y, log_share = same_rank(jnp.asarray(y, self.logits.dtype), jax.nn.log_softmax(self.logits))
        one = ((y == 0) | (y == 1)).all(-1) & (y.sum(-1) == 1)
        return jnp.where(one, (y * log_share).sum(-1), -jnp.inf)

    @property
    def mean(self):
        return jax.nn.softmax(self.logits)

    @property
    def variance(self):
        share = self.mean
        return share * (1 - share)

    @property
    def _alone(self) -> Bernoulli:
        """Each output by itself."""
        # The log odds of a class against the log of the sum of all others keep their digits near 0 and 1.
        others = jnp.where(jnp.eye(self.logits.shape[-1], dtype=bool), -jnp.inf, self.logits[..., None, :])
        return Bernoulli(self.logits - jax.nn.logsumexp(others, axis=-1))

    def cdf(self, y):
        return self._alone.cdf(y)

    def survival(self, y):
        return self._alone.survival(y)

    def sample(self, key, shape=()):
        check_draw(key, shape)
        drawn = jax.random.categorical(key, self.logits, shape=(*shape, *self.logits.shape[:-1]))
        return jax.nn.one_hot(drawn, self.logits.shape[-1], dtype=self.logits.dtype)

    def entropy(self):
        return share_entropy(self.mean)


def indicators_of(share: Float[Array, "*batch n classes"]) -> Indicators:
    """Return the distribution of classes whose probabilities are proportional to `share`."""
    return Indicators(jnp.log(jnp.maximum(share, _LEAST)))
