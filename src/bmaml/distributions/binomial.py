"""Outcomes that are how many of some trials succeeded."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import check_draw, check_targets
from bmaml.distributions.counts import bend, stirling_rest
from bmaml.distributions.discrete import AbstractDiscrete
from bmaml.distributions.mixtures import sampled_entropy

# Log odds farther from 0 are as good as these, and single precision holds both probabilities.
_FAR = 30.0
# From so many expected successes and failures on, the normal approximation is exact to 3e-5. With fewer, so many terms of a sum
# are exact. The incomplete beta function takes many times as long, and loses digits for many trials.
_MANY, _SUMMED = 10.0, 50


class Binomial(AbstractDiscrete):
    """Independent numbers of successes among `trials`, each of which succeeds with the probability 1 / (1 + exp(-`logits`))."""

    BY_ROWS: ClassVar[bool] = True

    logits: Float[Array, "*batch n outputs"]
    trials: Float[Array, "*#batch n outputs"]

    def log_prob(self, y):
        check_targets(self.logits.shape, y)
        y, logits, trials = same_rank(jnp.asarray(y, self.logits.dtype), self.logits, self.trials)
        known = (y >= 0) & (y == jnp.floor(y)) & (y <= trials)
        some = jnp.where(known, y, 0.0)
        return jnp.where(known, log_share(some, logits, trials) + log_ways(some, trials), -jnp.inf).sum(-1)

    @property
    def mean(self):
        return self.trials * jax.nn.sigmoid(self.logits)

    @property
    def variance(self):
        return self.mean * jax.nn.sigmoid(-self.logits)

    def cdf(self, y):
        return self._tail(y, False)

    def survival(self, y):
        return self._tail(y, True)

    def _tail(self, y: Array | np.ndarray, upper: bool) -> Array:
        y, logits, trials = same_rank(jnp.floor(jnp.asarray(y, self.logits.dtype)), self.logits, self.trials)
        y, logits, trials = jnp.broadcast_arrays(y, jnp.clip(logits, -_FAR, _FAR), trials)
        least, most = y < 0, y >= trials
        some = jnp.where(least | most, 0.0, y)
        # What is rarer is counted: at most y successes are at least n - y failures.
        turned = logits > 0
        at_most, more = _few(jnp.where(turned, trials - some - 1, some), trials, -jnp.abs(logits))
        yes, no = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
        many, z = trials * jnp.minimum(yes, no) >= _MANY, _as_normal(some, trials, yes, no)
        if upper:
            inside = jnp.where(many, special.ndtr(-z), jnp.where(turned, at_most, more))
            return jnp.where(least, 1.0, jnp.where(most, 0.0, inside))
        inside = jnp.where(many, special.ndtr(z), jnp.where(turned, more, at_most))
        return jnp.where(least, 0.0, jnp.where(most, 1.0, inside))

    def sample(self, key, shape=()):
        check_draw(key, shape)
        p, trials = (jnp.broadcast_to(part, (*shape, *self.mean.shape)) for part in (self.mean / self.trials, self.trials))
        return jax.random.binomial(key, trials, p, dtype=self.logits.dtype)

    def entropy(self):
        return sampled_entropy(self)


def _few(y: Array, trials: Array, logits: Array) -> tuple[Array, Array]:
    """Return the probabilities of at most `y` and of more than `y` successes, of which few are expected: `logits` are below 0.

    The sum goes from `y` away from the mean.
    """
    own, odds = jnp.exp(log_share(y, logits, trials) + log_ways(y, trials)), jnp.exp(logits)
    up = y >= trials * jax.nn.sigmoid(logits)

    def add(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, term, total = carry
        term = term * jnp.where(up, (trials - place) * odds / (place + 1), place / ((trials - place + 1) * odds))
        return jnp.where(up, place + 1, place - 1), term, total + term

    total = jax.lax.fori_loop(0, _SUMMED, add, (y, own, jnp.zeros_like(own)))[2]
    total = jnp.clip(jnp.where(up, total, own + total), 0.0, 1.0)
    return jnp.where(up, 1 - total, total), jnp.where(up, total, 1 - total)


def _as_normal(y: Array, trials: Array, yes: Array, no: Array) -> Array:
    """Return the value that a standard normal exceeds as often as more than `y` of `trials` succeed with the probability `yes`.

    Peizer and Pratt (1968), https://doi.org/10.1080/01621459.1968.11009335.
    """
    above, below = y + 0.5, trials - y - 0.5
    away = y + 2 / 3 - (trials + 1 / 3) * yes + 0.02 * (no / (y + 1) - yes / (trials - y) + (no - 0.5) / (trials + 1))
    bent = 1 + no * bend(above / (trials * yes)) + yes * bend(below / (trials * no))
    return away * jnp.sqrt(jnp.maximum(bent, 0.0) / ((trials + 1 / 6) * yes * no))


def log_share(y: Array, logits: Array, trials: Array) -> Array:
    """Return the log probability of `y` successes with log odds `logits`, less that of the share y / `trials`, but for
    `log_ways`.

    Both are near each other where the share fits, so that the difference of the large terms keeps its digits.
    """
    none, every = y <= 0, y >= trials
    share = jnp.where(none | every, 0.5, y / trials)
    yes = jnp.where(none, 0.0, y * (jax.nn.log_sigmoid(logits) - jnp.where(every, 0.0, jnp.log(share))))
    no = jnp.where(every, 0.0, (trials - y) * (jax.nn.log_sigmoid(-logits) - jnp.where(none, 0.0, jnp.log1p(-share))))
    return yes + no


def log_ways(y: Array, trials: Array) -> Array:
    """Return the log of the number of ways in which `y` of `trials` succeed, times the probability of one of them if the
    probability of success is y / `trials`.
    """
    edge = (y <= 0) | (y >= trials)
    yes, no = jnp.where(edge, 1.0, y), jnp.where(edge, 1.0, trials - y)
    rest = stirling_rest(yes + no) - stirling_rest(yes) - stirling_rest(no)
    return jnp.where(edge, 0.0, 0.5 * jnp.log((yes + no) / (2 * jnp.pi * yes * no)) + rest)
