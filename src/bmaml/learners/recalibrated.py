"""A learner whose predictions are widened or narrowed according to its errors on further tasks."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.distributions import (
    AbstractContinuous,
    AbstractDiscrete,
    AbstractDistribution,
    AbstractNumeric,
    Bernoulli,
    Categorical,
    CategoricalMixture,
    DiscreteMixture,
    Indicators,
    Limited,
    Mixture,
    NoisyGamma,
    NoisyStudentT,
    Normal,
    Pool,
    ShiftedLogNormal,
    StudentT,
    less_sure,
)
from bmaml.errors import PairError
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, AbstractWrappedPosterior, noise_entropy
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractWrapper, Meta

# Upper limit of 1 / degrees of freedom. At 1/2 a Student-t has no variance.
MOST_TAILS = 0.48
# Lower limit of 1 / degrees of freedom, at which a Student-t is almost a normal.
_LEAST_TAILS = 1e-4
# Least probability of a class, so that its logarithm is finite.
_LEAST = 1e-30
# The distance from 1 of the largest number below it.
_EVEN = 1e-7

Scalar = Float[Array, ""] | float


def stretched(predictive: AbstractDistribution, factor: Scalar, tails: Scalar) -> AbstractDistribution:
    """Return a predictive distribution with stretched scales and heavier tails, or with less sure classes or whole numbers.

    - `predictive`: normals, Student-ts, log-normals, gammas, a mixture of them, classes, or a mixture over whole numbers. Each
      component of a mixture of numbers is stretched about its own mean, so weights, modes and the mean of the mixture stay.
    - `factor`: multiplies all scales, and divides the logits of classes (a temperature). Of whole numbers see `less_sure`.
    - `tails`: is added to 1 over the degrees of freedom (which is 0 for a normal). The degrees of freedom stay above 2, and a
      normal gets at most 10,000.

    Raises: PairError for another predictive.
    """
    if isinstance(predictive, Categorical):
        return Categorical(predictive.logits / factor)
    if isinstance(predictive, CategoricalMixture):
        return CategoricalMixture(predictive.log_weights, Categorical(predictive.components.logits / factor))
    if isinstance(predictive, AbstractDiscrete):
        return less_sure(predictive, factor)
    return _wider(predictive, factor, tails)


def _wider(predictive: AbstractDistribution, factor: Scalar, tails: Scalar) -> AbstractContinuous:
    if isinstance(predictive, Pool):
        return Pool(predictive.log_weights, tuple(_wider(part, factor, tails) for part in predictive.parts))
    if isinstance(predictive, ShiftedLogNormal):
        # With heavier tails it would have no mean.
        return ShiftedLogNormal(predictive.loc, factor * predictive.scale, predictive.shift)
    if isinstance(predictive, Limited):
        return Limited(_wider(predictive.inner, factor, tails), predictive.reach)
    if isinstance(predictive, Mixture):
        return Mixture(predictive.log_weights, _wider(predictive.components, factor, tails))
    if isinstance(predictive, Normal):
        df = jnp.broadcast_to(1 / jnp.clip(tails, _LEAST_TAILS, MOST_TAILS), (1,) * predictive.loc.ndim)
        return StudentT(df, predictive.loc, predictive.widened(factor).scale)
    if isinstance(predictive, NoisyGamma):
        return predictive.widened(factor)
    if isinstance(predictive, NoisyStudentT):
        wide = predictive.widened(factor)
        return NoisyStudentT(wide.loc, wide.scale, _heavier(wide.df, tails), wide.noise)
    if isinstance(predictive, StudentT):
        return StudentT(_heavier(predictive.df, tails), predictive.loc, factor * predictive.scale)
    raise PairError(f"cannot stretch {type(predictive).__name__}: give normals, Student-ts, mixtures of them, or classes.")


def _heavier(df: Array, tails: Scalar) -> Array:
    """Return degrees of freedom with `tails` added to 1 over them, above 2 unless they were fewer before."""
    return 1 / jnp.minimum(1 / df + tails, jnp.maximum(1 / df, MOST_TAILS))


def _shots(support: Data) -> Float[Array, ""]:
    """Return the number of points, and of labelled ones the number of each class that is there."""
    points = support.mask.sum()
    if not jnp.issubdtype(support.y.dtype, jnp.integer):
        return points
    labels = jnp.sort(jnp.where(support.mask > 0, support.y.ravel(), -1))
    classes = (jnp.diff(labels, prepend=-1) > 0).sum()
    return points / jnp.maximum(classes, 1).astype(points.dtype)


class Recalibration(eqx.Module):
    """The change after each number of points.

    Between two numbers the change is interpolated linearly, and beyond the last one it stays constant.

    - `shots`: numbers of points, increasing. Of classes they are points of each class.
    - `held`: share of the targets in 90% intervals before the change (of whole numbers in the middle 90% of what was
      predicted); of classes the accuracy.
    - `log_stretch`: log of the factor on scales, or of the temperature of classes.
    - `tails`: is added to 1 over the degrees of freedom.
    - `deviation`: standard deviation of `log_stretch`, which is that of the tasks it was found on.
    """

    shots: Float[Array, " counts"]
    held: Float[Array, " counts"]
    log_stretch: Float[Array, " counts"]
    tails: Float[Array, " counts"]
    deviation: Float[Array, " counts"]

    def after(self, points: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the stretch and the tails after `points` points."""
        stretch, tails = (jnp.interp(points, self.shots, values) for values in (self.log_stretch, self.tails))
        return jnp.exp(stretch), tails


class RecalibratedMeta(eqx.Module):
    """Meta-parameters: those of the learner (`inner`), and the `change` of its predictions."""

    inner: Meta
    change: Recalibration


class RecalibratedPosterior(AbstractWrappedPosterior, AbstractNoisePosterior):
    """A posterior (`inner`) with a stretched predictive. Means and functions of numbers stay the same, and so do those of
    counts.

    `stretch` multiplies scales, and `tails` is added to 1 over the degrees of freedom.
    """

    inner: AbstractPosterior
    stretch: Float[Array, ""]
    tails: Float[Array, ""]

    def predict(self, x) -> AbstractDistribution:
        return stretched(self.inner.predict(x), self.stretch, self.tails)

    def sample_functions(self, x, *, key, count=1):
        drawn = self.inner.sample_functions(x, key=key, count=count)
        kind = eqx.filter_eval_shape(self.inner.predict, x)
        if isinstance(kind, DiscreteMixture) and isinstance(kind.components, Bernoulli):
            # Functions are probabilities of yes.
            return jax.nn.sigmoid(jax.scipy.special.logit(jnp.clip(drawn, _LEAST, 1 - _EVEN)) / self.stretch)
        of_classes = isinstance(kind, DiscreteMixture) and isinstance(kind.components, Indicators)
        if isinstance(kind, AbstractNumeric) and not of_classes:
            return drawn
        # Functions of classes are their probabilities.
        return jax.nn.softmax(jnp.log(jnp.maximum(drawn, _LEAST)) / self.stretch)

    def noise_entropy(self, x):
        predictive, noise = self.predict(x), noise_entropy(self.inner, x)
        if isinstance(predictive, Categorical):
            return predictive.entropy()
        if isinstance(predictive, CategoricalMixture):
            return jnp.tensordot(jax.nn.softmax(predictive.log_weights), predictive.components.entropy(), 1)
        if isinstance(predictive, DiscreteMixture):
            each = jax.lax.map(lambda part: part.entropy(), predictive.components)
            return jnp.tensordot(jax.nn.softmax(predictive.log_weights), each, 1)
        # Each output of each member is stretched by the same factor.
        return noise + predictive.mean.shape[-1] * jnp.log(self.stretch)


@register("learner/recalibrated")
class RecalibratedLearner(AbstractWrapper):
    """Adapts as `inner` does, and changes its predictive by values for `counts` numbers of points.

    `bmaml.evaluation.recalibrate.recalibrate` finds these values. Fresh meta-parameters change almost nothing. Every objective
    gets `inner`.
    """

    inner: AbstractLearner
    counts: int = eqx.field(static=True)

    def init(self, key: PRNGKeyArray) -> RecalibratedMeta:
        change = Recalibration(jnp.arange(self.counts, dtype=float), *jnp.zeros((4, self.counts)))
        return RecalibratedMeta(self.inner.init(key), change)

    def adapt(self, meta: RecalibratedMeta, support: Data, *, key: PRNGKeyArray) -> RecalibratedPosterior:
        return RecalibratedPosterior(self.inner.adapt(meta.inner, support, key=key), *meta.change.after(_shots(support)))

    def within(self, meta: RecalibratedMeta, task: Task) -> tuple[Meta, Task]:
        return meta.inner, task
