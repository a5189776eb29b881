"""Several learners as one: their predictions are mixed with weights that depend on how many points are given."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.inference.pools import Pool, widened
from bmaml.inference.posteriors import AbstractMembersPosterior, AbstractPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, Meta


class PooledMeta(eqx.Module):
    """Meta-parameters: those of each part, and the weights.

    - `parts`: meta-parameters of each part.
    - `shots`: numbers of given points, increasing.
    - `weights`: weight of each part after each of these numbers. Between two numbers the weights are interpolated linearly, and
      beyond the last one they stay as they are.
    - `log_stretch`: log of the factor on all scales after each of these numbers.
    """

    parts: tuple[Meta, ...]
    shots: Float[Array, " counts"]
    weights: Float[Array, "counts parts"]
    log_stretch: Float[Array, " counts"]

    def after(self, points: Float[Array, ""]) -> tuple[Float[Array, " parts"], Float[Array, ""]]:
        """Return the weights and the stretch after `points` points."""
        weights = jax.vmap(lambda column: jnp.interp(points, self.shots, column), 1)(self.weights)
        return weights, jnp.exp(jnp.interp(points, self.shots, self.log_stretch))


class PooledPosterior(AbstractMembersPosterior):
    """The posteriors of several learners (`parts`), mixed by `weights` and stretched by the factor `stretch`."""

    parts: tuple[AbstractPosterior, ...]
    weights: Float[Array, " parts"]
    stretch: Float[Array, ""]

    def predict(self, x):
        return Pool(jnp.log(self.weights), tuple(widened(part.predict(x), self.stretch) for part in self.parts))

    def each(self, score, x):
        return jnp.stack([score(widened(part.predict(x), self.stretch)) for part in self.parts])

    def sample_functions(self, x, *, key, count=1):
        pick, draw = jax.random.split(key)
        keys = jax.random.split(draw, len(self.parts))
        drawn = jnp.stack([part.sample_functions(x, key=key, count=count) for part, key in zip(self.parts, keys, strict=True)])
        which = jax.random.categorical(pick, jnp.log(self.weights), shape=(count,))
        return drawn[which, jnp.arange(count)]


@register("learner/pooled")
class PooledLearner(AbstractLearner):
    """A linear pool of learners: each `part` adapts by itself, and the predictive is their mixture.

    The weights are those that predict other tasks best, by the number of given points (`counts` numbers). So a rigid learner
    can lead where few points or tasks are known, and a flexible one where there are many. This is stacking of predictive
    distributions (Yao et al., 2018, https://doi.org/10.1214/17-BA1091). Fresh weights are equal.

    Raises: InputError without a part or a count.
    """

    parts: tuple[AbstractLearner, ...]
    counts: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if not self.parts or self.counts < 1:
            raise InputError(f"PooledLearner has {len(self.parts)} parts and {self.counts} counts: give at least 1 of each.")

    def init(self, key: PRNGKeyArray) -> PooledMeta:
        keys = jax.random.split(key, len(self.parts))
        parts = tuple(part.init(key) for part, key in zip(self.parts, keys, strict=True))
        equal = jnp.full((self.counts, len(self.parts)), 1 / len(self.parts))
        return PooledMeta(parts, jnp.arange(self.counts, dtype=float), equal, jnp.zeros(self.counts))

    def adapt(self, meta: PooledMeta, support: Data, *, key: PRNGKeyArray) -> PooledPosterior:
        parts = tuple(
            part.adapt(inner, support, key=jax.random.fold_in(key, i))
            for i, (part, inner) in enumerate(zip(self.parts, meta.parts, strict=True))
        )
        return PooledPosterior(parts, *meta.after(support.mask.sum()))
