"""A learner of the logarithm of the targets, for outcomes whose deviation grows with their size."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, same_rank
from bmaml.distributions import AbstractDistribution, exponentiated
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, noise_entropy
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner

# A target that is not above the least possible one counts as this close to it, in units of the shift.
_LEAST = 1e-3


class Logarithm(eqx.Module):
    """z = (log(y + shift) - centre) / spread, with one number of each for each output.

    Targets y must be above -`shift`.
    """

    shift: Float[Array, " outputs"]
    centre: Float[Array, " outputs"]
    spread: Float[Array, " outputs"]

    def of(self, y: Float[Array, "n outputs"]) -> Float[Array, "n outputs"]:
        """Return z of targets `y`."""
        above = jnp.maximum(y + self.shift[None], _LEAST * jnp.abs(self.shift)[None])
        return (jnp.log(above) - self.centre[None]) / self.spread[None]


class LogarithmicMeta(eqx.Module):
    """Meta-parameters: those of the learner of z (`inner`), and the `logarithm`."""

    inner: Any
    logarithm: Logarithm


class LogarithmicPosterior(AbstractNoisePosterior):
    """The posterior of z (`inner`) as one of the targets, by the `logarithm` that made z.

    Functions are medians: draws of exp(z) without noise.
    """

    inner: AbstractPosterior
    logarithm: Logarithm

    def predict(self, x) -> AbstractDistribution:
        place = self.logarithm
        return exponentiated(self.inner.predict(x), place.centre, place.spread, place.shift)

    def sample_functions(self, x, *, key, count=1):
        place = self.logarithm
        drawn = self.inner.sample_functions(x, key=key, count=count)
        centre, spread, shift, drawn = same_rank(place.centre, place.spread, place.shift, drawn)
        return jnp.exp(centre + spread * drawn) - shift

    def noise_entropy(self, x):
        place = self.logarithm
        # The entropy of a log-normal is that of the normal plus its mean, which is linear in the function.
        mean = place.centre[None] + place.spread[None] * self.inner.predict(x).mean
        return noise_entropy(self.inner, x) + (jnp.log(place.spread)[None] + mean).sum(-1)


@register("learner/logarithmic")
class LogarithmicLearner(AbstractLearner):
    """Learns the logarithm of the targets as `inner` does, and predicts the targets themselves.

    The density includes the change of variables, so it can be compared with the density of a learner of the targets.
    `outputs` is the width of a target row.

    Raises: InputError for fewer than one output.
    """

    inner: AbstractLearner
    outputs: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.outputs < 1:
            raise InputError(f"LogarithmicLearner has {self.outputs} outputs: give at least 1.")

    def init(self, key: PRNGKeyArray) -> LogarithmicMeta:
        ones = jnp.ones(self.outputs)
        return LogarithmicMeta(self.inner.init(key), Logarithm(3 * ones, ones, ones))

    def adapt(self, meta: LogarithmicMeta, support: Data, *, key: PRNGKeyArray) -> LogarithmicPosterior:
        moved = Data(support.x, meta.logarithm.of(support.y), support.mask)
        return LogarithmicPosterior(self.inner.adapt(meta.inner, moved, key=key), meta.logarithm)
