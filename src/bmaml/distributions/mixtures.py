"""Mixtures of distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.distributions.base import AbstractContinuous, AbstractDistribution, AbstractMixed, AbstractNumeric, check_draw
from bmaml.distributions.bernoulli import Bernoulli, coin_entropy
from bmaml.distributions.categorical import Categorical
from bmaml.distributions.discrete import AbstractDiscrete
from bmaml.distributions.indicators import Indicators
from bmaml.distributions.ordered import Ordered, share_entropy
from bmaml.errors import PairError

_ENTROPY_SAMPLES = 512


def _weighted(log_weights: Array, values: Array) -> Array:
    """Mean over the leading particle axis under softmax weights."""
    return jnp.tensordot(jax.nn.softmax(log_weights), values, 1)


def mixed_log_prob(log_weights: Array, each: Array) -> Array:
    """Return the log density of a mixture from that of `each` component (leading axis); `log_weights` need no normalising."""
    return special.logsumexp(each + jax.nn.log_softmax(log_weights)[:, None], axis=0)


def _mixed_sample(key: PRNGKeyArray, log_weights: Array, part: AbstractDistribution, shape: tuple[int, ...]) -> Array:
    """Pick a component for every draw of every point, then draw once from the picked parameters."""
    check_draw(key, shape)
    pick, draw = jax.random.split(key)
    like = part.mean
    # Inverse CDF, because a categorical draw would make one Gumbel variable for each component, point and draw.
    weights = jax.nn.softmax(log_weights)
    which = jax.random.choice(pick, len(weights), (*shape, like.shape[1]), p=weights)
    rows = jnp.arange(like.shape[1])
    # The cuts of levels have more columns than there are outputs.
    wide = lambda leaf: (*like.shape[:-1], max(like.shape[-1], leaf.shape[-1]))  # noqa: E731
    picked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, wide(leaf))[which, rows], part)
    return picked.sample(draw)


def sampled_entropy(predictive: AbstractDistribution) -> Array:
    """Return the entropy of `predictive` by Monte Carlo with a fixed key (512 draws): that of a mixture has no closed form."""
    draws = predictive.sample(jax.random.key(0), (_ENTROPY_SAMPLES,))
    return -jax.vmap(predictive.log_prob)(draws).mean(0)


class AbstractNumericMixture(AbstractNumeric, AbstractMixed):
    """A mixture of numeric `components`: what continuous and discrete ones have in common."""

    if TYPE_CHECKING:

        @property
        def components(self) -> AbstractNumeric:
            """The distributions that are mixed."""
            ...

    def log_prob(self, y):
        return mixed_log_prob(self.log_weights, self.components.log_prob(y))

    @property
    def mean(self):
        return _weighted(self.log_weights, self.components.mean)

    @property
    def variance(self):
        between = (self.components.mean - self.mean[None]) ** 2
        return _weighted(self.log_weights, self.components.variance + between)

    def sample(self, key, shape=()):
        return _mixed_sample(key, self.log_weights, self.components, shape)


class Mixture(AbstractNumericMixture, AbstractContinuous):
    """A mixture of continuous `components`, stacked on a leading axis.

    `log_weights` has shape `(particles,)` and need not be normalised.
    """

    log_weights: Float[Array, " particles"]
    components: AbstractContinuous

    def beyond(self, y, upper):
        return _weighted(self.log_weights, self.components.beyond(y, upper))

    def bracket(self, tail, upper):
        low, high = self.components.bracket(tail, upper)
        return low.min(0), high.max(0)

    def entropy(self):
        return sampled_entropy(self)


class DiscreteMixture(AbstractNumericMixture, AbstractDiscrete):
    """A mixture of `components` over whole numbers, stacked on a leading axis.

    `log_weights` has shape `(particles,)` and need not be normalised.
    """

    log_weights: Float[Array, " particles"]
    components: AbstractDiscrete

    def cdf(self, y):
        return _weighted(self.log_weights, self.components.cdf(y))

    def survival(self, y):
        return _weighted(self.log_weights, self.components.survival(y))

    def entropy(self):
        # A mixture of coins is a coin.
        if isinstance(self.components, Bernoulli):
            return coin_entropy(self.mean).sum(-1)
        if isinstance(self.components, Ordered):
            return share_entropy(_weighted(self.log_weights, self.components.probabilities))
        if isinstance(self.components, Indicators):
            return share_entropy(self.mean)
        return sampled_entropy(self)


def level_shares(predictive: AbstractDistribution) -> Float[Array, "n levels"]:
    """Return the probability of each level under a mixture of `Ordered` components.

    Raises: PairError for a `predictive` of another kind.
    """
    if isinstance(predictive, DiscreteMixture) and isinstance(predictive.components, Ordered):
        return _weighted(predictive.log_weights, predictive.components.probabilities)
    raise PairError(f"{type(predictive).__name__} has no levels: give a mixture of Ordered.")


class CategoricalMixture(AbstractMixed):
    """A mixture of Categorical `components`, stacked on a leading axis.

    `log_weights` has shape `(particles,)` and need not be normalised.
    """

    log_weights: Float[Array, " particles"]
    components: Categorical

    def log_prob(self, y):
        return mixed_log_prob(self.log_weights, self.components.log_prob(y))

    @property
    def mean(self):
        return _weighted(self.log_weights, self.components.mean)

    @property
    def variance(self):
        p = self.mean
        return p * (1 - p)

    def sample(self, key, shape=()):
        return _mixed_sample(key, self.log_weights, self.components, shape)

    def entropy(self):
        p = self.mean
        return -special.xlogy(p, p).sum(-1)


def mixture(log_weights: Float[Array, " particles"], components: AbstractDistribution) -> AbstractDistribution:
    """Return the mixture of `components`, which are stacked on a leading axis, in the class that fits them.

    `log_weights` are unnormalised log weights of the components.
    Raises: PairError for components that are neither numbers nor Categorical.
    """
    if isinstance(components, Categorical):
        return CategoricalMixture(log_weights, components)
    if isinstance(components, AbstractContinuous):
        return Mixture(log_weights, components)
    if isinstance(components, AbstractDiscrete):
        return DiscreteMixture(log_weights, components)
    raise PairError(f"cannot mix {type(components).__name__}: give Normal, StudentT or Categorical components.")
