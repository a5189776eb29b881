"""Pools: mixtures of distributions that may be of different classes."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.distributions.base import AbstractContinuous, AbstractDistribution, AbstractNumeric, AbstractPooled
from bmaml.distributions.discrete import AbstractDiscrete
from bmaml.distributions.limited import Limited
from bmaml.distributions.log_normal import ShiftedLogNormal
from bmaml.distributions.mixtures import DiscreteMixture, Mixture, mixed_log_prob, sampled_entropy
from bmaml.distributions.noisy import NoisyGamma, NoisyStudentT
from bmaml.distributions.normal import Normal
from bmaml.distributions.student import StudentT
from bmaml.errors import PairError


class Pool(AbstractContinuous, AbstractPooled):
    """A mixture of `parts` that may be of different classes. `log_weights` need not be normalised."""

    log_weights: Float[Array, " parts"]
    parts: tuple[AbstractContinuous, ...]

    def _weighted(self, values: Sequence[Array]) -> Array:
        # A part without weight may have no mean, and 0 times infinity is not a number.
        weights = jax.nn.softmax(self.log_weights)
        stacked = jnp.stack(list(values))
        weights = weights.reshape(-1, *[1] * (stacked.ndim - 1))
        return jnp.where(weights > 0, weights * stacked, 0.0).sum(0)

    def log_prob(self, y):
        return mixed_log_prob(self.log_weights, jnp.stack([part.log_prob(y) for part in self.parts]))

    @property
    def mean(self):
        return self._weighted([part.mean for part in self.parts])

    @property
    def variance(self):
        mean = self.mean
        return self._weighted([part.variance + (part.mean - mean) ** 2 for part in self.parts])

    def beyond(self, y, upper):
        return self._weighted([part.beyond(y, upper) for part in self.parts])

    def bracket(self, tail, upper):
        ends = [part.bracket(tail, upper) for part in self.parts]
        low, high = (jnp.stack(side) for side in zip(*ends, strict=True))
        return low.min(0), high.max(0)

    def sample(self, key, shape=()):
        pick, draw = jax.random.split(key)
        keys = jax.random.split(draw, len(self.parts))
        drawn = jnp.stack([part.sample(key, shape) for part, key in zip(self.parts, keys, strict=True)])
        # One choice for each point of each draw: outputs of a point come from the same part.
        which = jax.random.categorical(pick, self.log_weights, shape=drawn.shape[1:-1])
        return jnp.take_along_axis(drawn, which[None, ..., None], 0)[0]

    def entropy(self):
        return sampled_entropy(self)


def pooled(log_weights: Float[Array, " parts"], parts: Sequence[AbstractNumeric]) -> AbstractContinuous | AbstractDiscrete:
    """Return the mixture of `parts`: all continuous, or all mixtures of the same kind over whole numbers.

    `log_weights` need not be normalised.
    Raises: PairError for other parts.
    """
    continuous = [part for part in parts if isinstance(part, AbstractContinuous)]
    if len(continuous) == len(parts):
        return Pool(log_weights, tuple(continuous))
    whole = [part for part in parts if isinstance(part, DiscreteMixture)]
    if len(whole) == len(parts) and len({type(part.components) for part in whole}) == 1:
        # A mixture of mixtures is one mixture.
        each = [jax.nn.log_softmax(part.log_weights) + weight for part, weight in zip(whole, log_weights, strict=True)]
        components = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(part.components for part in whole))
        return DiscreteMixture(jnp.concatenate(each), components)
    kinds = ", ".join(sorted({type(part).__name__ for part in parts}))
    raise PairError(f"cannot pool {kinds}: give parts that are all continuous, or all mixtures of one kind over whole numbers.")


def widened(predictive: AbstractDistribution, factor: Float[Array, ""]) -> AbstractContinuous | AbstractDiscrete:
    """Return a predictive whose scales are multiplied by `factor`. Each component keeps its own centre.

    Whole numbers have no scale, so a `predictive` of them stays as it is.
    Raises: PairError for other predictives that are not made of normals, Student-ts, log-normals and gammas.
    """
    return predictive if isinstance(predictive, AbstractDiscrete) else _widened(predictive, factor)


def _widened(predictive: AbstractDistribution, factor: Array) -> AbstractContinuous:
    if isinstance(predictive, Pool):
        return Pool(predictive.log_weights, tuple(_widened(part, factor) for part in predictive.parts))
    if isinstance(predictive, Mixture):
        return Mixture(predictive.log_weights, _widened(predictive.components, factor))
    if isinstance(predictive, Limited):
        return Limited(_widened(predictive.inner, factor), predictive.reach)
    if isinstance(predictive, NoisyStudentT | NoisyGamma | Normal):
        return predictive.widened(factor)
    if isinstance(predictive, StudentT):
        return StudentT(predictive.df, predictive.loc, factor * predictive.scale)
    if isinstance(predictive, ShiftedLogNormal):
        return ShiftedLogNormal(predictive.loc, factor * predictive.scale, predictive.shift)
    raise PairError(
        f"cannot widen {type(predictive).__name__}: give normals, Student-ts, log-normals, gammas or mixtures of them."
    )
