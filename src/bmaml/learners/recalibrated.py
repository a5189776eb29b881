"""A learner whose predictions are widened or narrowed by what its errors on further tasks were."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.distributions import AbstractDistribution, stretched
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, AbstractWrappedPosterior, noise_entropy
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractWrapper, Meta


class Recalibration(eqx.Module):
    """What is changed after so many points (`shots`, increasing; between them linearly, beyond them as at the end).

    Scales are multiplied by exp(`log_stretch`), and `tails` is added to 1 over the degrees of freedom. `held` remembers what
    share of the targets lay within 90% intervals before.
    """

    shots: Float[Array, " counts"]
    held: Float[Array, " counts"]
    log_stretch: Float[Array, " counts"]
    tails: Float[Array, " counts"]

    def after(self, points: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the stretch and the tails after so many points."""
        stretch, tails = (jnp.interp(points, self.shots, values) for values in (self.log_stretch, self.tails))
        return jnp.exp(stretch), tails


class RecalibratedMeta(eqx.Module):
    """Meta-parameters: those of the learner, and what is changed of its predictions."""

    inner: Meta
    change: Recalibration


class RecalibratedPosterior(AbstractWrappedPosterior, AbstractNoisePosterior):
    """A posterior whose predictive is stretched; means and functions are what they were."""

    inner: AbstractPosterior
    stretch: Float[Array, ""]
    tails: Float[Array, ""]

    def predict(self, x) -> AbstractDistribution:
        return stretched(self.inner.predict(x), self.stretch, self.tails)

    def sample_functions(self, x, *, key, count=1):
        return self.inner.sample_functions(x, key=key, count=count)

    def noise_entropy(self, x):
        # Each output of each member is stretched alike.
        return noise_entropy(self.inner, x) + self.predict(x).mean.shape[-1] * jnp.log(self.stretch)


@register("learner/recalibrated")
class RecalibratedLearner(AbstractWrapper):
    """Adapts as `inner` does and changes its predictive by what was found at `counts` numbers of points.

    `bmaml.evaluation.recalibrate.recalibrate` finds it; fresh meta-parameters change nothing to speak of. Every objective is
    handed `inner`.
    """

    inner: AbstractLearner
    counts: int = eqx.field(static=True)

    def init(self, key: PRNGKeyArray) -> RecalibratedMeta:
        change = Recalibration(jnp.arange(self.counts, dtype=float), *jnp.zeros((3, self.counts)))
        return RecalibratedMeta(self.inner.init(key), change)

    def adapt(self, meta: RecalibratedMeta, support: Data, *, key: PRNGKeyArray) -> RecalibratedPosterior:
        return RecalibratedPosterior(self.inner.adapt(meta.inner, support, key=key), *meta.change.after(support.mask.sum()))

    def within(self, meta: RecalibratedMeta, task: Task) -> tuple[Meta, Task]:
        return meta.inner, task
