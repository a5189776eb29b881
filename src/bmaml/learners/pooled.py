"""Several learners as one: their predictions are mixed with weights that depend on how many points are given."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import (
    AbstractContinuous,
    AbstractNumeric,
    AbstractNumericMixture,
    DiscreteMixture,
    Mixture,
    Shape,
    pooled,
    shaped,
    widened,
)
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractMembersPosterior, AbstractNoisePosterior, AbstractPosterior, noise_entropy
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, Meta


class PooledMeta(eqx.Module):
    """Meta-parameters: those of each part, and the weights.

    - `parts`: meta-parameters of each part's copies, stacked on a leading axis.
    - `shots`: numbers of given points, increasing.
    - `weights`: weight of each copy, part after part, after each of these numbers. Between two numbers the weights are
      interpolated linearly, and beyond the last one they stay as they are.
    - `log_stretch`: log of the factor on all scales after each of these numbers.
    - `shape`: the shape of the errors, or None if it is that of the parts.
    """

    parts: tuple[Meta, ...]
    shots: Float[Array, " counts"]
    weights: Float[Array, "counts copies"]
    log_stretch: Float[Array, " counts"]
    shape: Shape | None = None

    def after(self, points: Float[Array, ""]) -> tuple[Float[Array, " copies"], Float[Array, ""]]:
        """Return the weights and the stretch after `points` points."""
        weights = jax.vmap(lambda column: jnp.interp(points, self.shots, column), 1)(self.weights)
        return weights, jnp.exp(jnp.interp(points, self.shots, self.log_stretch))


class PooledPosterior(AbstractMembersPosterior, AbstractNoisePosterior):
    """The posteriors of several learners, mixed by `weights` and stretched by the factor `stretch`.

    `parts` holds the posteriors of each part's copies, stacked on a leading axis, and `weights` the weights of the copies of
    each part. `shape` is the shape of the errors, or None if it is that of the parts. Single members do not have it.
    """

    parts: tuple[AbstractPosterior, ...]
    weights: tuple[Float[Array, " copies"], ...]
    stretch: Float[Array, ""]
    shape: Shape | None = None

    def predict(self, x):
        mixed = [_mixed(part, weights, x, self.stretch) for part, weights in zip(self.parts, self.weights, strict=True)]
        whole = pooled(jnp.log(jnp.stack([weights.sum() for weights in self.weights])), mixed)
        return whole if self.shape is None else shaped(whole, self.shape)

    def each(self, score, x):
        def scores(part: AbstractPosterior) -> Array:
            return jax.vmap(lambda copy: score(widened(copy.predict(x), self.stretch)))(part)

        return jnp.concatenate([scores(part) for part in self.parts])

    def noise_entropy(self, x):
        each = jnp.concatenate([jax.vmap(lambda copy: noise_entropy(copy, x))(part) for part in self.parts])
        within = jnp.tensordot(jnp.concatenate(self.weights), each, 1)
        # Each deviation is multiplied by the stretch, and the shape stands for a standard normal.
        more = 0.0 if self.shape is None else self.shape.entropy() - 0.5 * jnp.log(2 * jnp.pi * jnp.e)
        return within + self.predict(x).mean.shape[-1] * (jnp.log(self.stretch) + more)

    def sample_functions(self, x, *, key, count=1):
        pick, draw = jax.random.split(key)
        keys = jax.random.split(draw, len(self.parts))
        drawn = [
            jax.vmap(lambda copy, key=key: copy.sample_functions(x, key=key, count=count))(part)
            for part, key in zip(self.parts, keys, strict=True)
        ]
        which = jax.random.categorical(pick, jnp.log(jnp.concatenate(self.weights)), shape=(count,))
        return jnp.concatenate(drawn)[which, jnp.arange(count)]


def _mixed(part: AbstractPosterior, weights: Array, x: Array, stretch: Array) -> AbstractNumeric:
    """Return the predictive of a part: the mixture of its copies."""
    stacked = jax.vmap(lambda copy: widened(copy.predict(x), stretch))(part)
    log_weights = jnp.log(weights)
    if not isinstance(stacked, AbstractNumericMixture):
        assert isinstance(stacked, AbstractContinuous)
        return Mixture(log_weights, stacked)
    # A mixture of mixtures is one mixture.
    within = jax.nn.log_softmax(stacked.log_weights, axis=1) + log_weights[:, None]
    components = jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), stacked.components)
    if isinstance(stacked, DiscreteMixture):
        return DiscreteMixture(within.ravel(), components)
    assert isinstance(components, AbstractContinuous)
    return Mixture(within.ravel(), components)


@register("learner/pooled")
class PooledLearner(AbstractLearner):
    """A linear pool of learners: each part adapts by itself, and the predictive is their mixture.

    The weights are those that predict other tasks best, by the number of given points. So a rigid learner can lead where few
    points or tasks are known, and a flexible one where there are many. This is stacking of predictive distributions (Yao et
    al., 2018, https://doi.org/10.1214/17-BA1091), with weights that depend on the data (Hierarchical stacking, Yao et al.,
    2022, https://doi.org/10.1214/21-BA1287). Fresh weights are equal. All scales are stretched by a factor, and errors can have
    a shape that is not that of the parts.

    - `parts`: the learners.
    - `copies`: how many sets of meta-parameters each part has, such as snapshots of one training.
    - `counts`: how many numbers of given points have weights of their own.
    - `kinds`: of how many normals the shape of the errors is made; 0 if errors have the shape that the parts give them.

    Raises: InputError without a part, a copy of each part, or a count.
    """

    parts: tuple[AbstractLearner, ...]
    copies: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    counts: int = eqx.field(static=True, default=1)
    kinds: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        if not self.parts or len(self.copies) != len(self.parts) or min(*self.copies, self.counts) < 1:
            raise InputError(
                f"PooledLearner has {len(self.parts)} parts, copies {self.copies} and {self.counts} counts: give a part, and "
                "at least 1 copy of each part and 1 count."
            )

    def init(self, key: PRNGKeyArray) -> PooledMeta:
        keys = jax.random.split(key, len(self.parts))
        parts = [
            jax.vmap(part.init)(jax.random.split(key, copies))
            for part, copies, key in zip(self.parts, self.copies, keys, strict=True)
        ]
        equal = jnp.full((self.counts, sum(self.copies)), 1 / sum(self.copies))
        shape = Shape(jnp.zeros(self.kinds), jnp.zeros(self.kinds), jnp.ones(self.kinds)) if self.kinds else None
        return PooledMeta(tuple(parts), jnp.arange(self.counts, dtype=float), equal, jnp.zeros(self.counts), shape)

    def adapt(self, meta: PooledMeta, support: Data, *, key: PRNGKeyArray) -> PooledPosterior:
        parts = [
            jax.vmap(lambda copy, part=part, i=i: part.adapt(copy, support, key=jax.random.fold_in(key, i)))(inner)
            for i, (part, inner) in enumerate(zip(self.parts, meta.parts, strict=True))
        ]
        weights, stretch = meta.after(support.mask.sum())
        cuts = [sum(self.copies[:i]) for i in range(1, len(self.copies))]
        return PooledPosterior(tuple(parts), tuple(jnp.split(weights, cuts)), stretch, meta.shape)
