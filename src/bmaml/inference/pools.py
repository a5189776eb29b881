"""Predictives of several kinds as one: a pool of different distributions, and an outcome whose logarithm is normal."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions import AbstractContinuous, AbstractDistribution, Mixture, Normal, StudentT
from bmaml.errors import PairError

_ENTROPY_SAMPLES = 512
_TINY = 1e-30


class Pool(AbstractContinuous):
    """A mixture of `parts` that may be of different classes. `log_weights` need not be normalised."""

    log_weights: Float[Array, " parts"]
    parts: tuple[AbstractContinuous, ...]

    def _weighted(self, values: list[Array]) -> Array:
        # A part without weight may have no mean, and 0 times infinity is not a number.
        weights = jax.nn.softmax(self.log_weights)
        total = [jnp.where(weight > 0, weight * value, 0.0) for weight, value in zip(weights, values, strict=True)]
        return jnp.stack(total).sum(0)

    def log_prob(self, y):
        each = jnp.stack([part.log_prob(y) for part in self.parts])
        weights = jax.nn.log_softmax(self.log_weights)
        return special.logsumexp(each + weights.reshape(-1, *[1] * (each.ndim - 1)), axis=0)

    @property
    def mean(self):
        return self._weighted([part.mean for part in self.parts])

    @property
    def variance(self):
        mean = self.mean
        return self._weighted([part.variance + (part.mean - mean) ** 2 for part in self.parts])

    def cdf(self, y):
        return self._weighted([part.cdf(y) for part in self.parts])

    def bracket(self, q):
        ends = [part.bracket(q) for part in self.parts]
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
        """Entropy by Monte Carlo with a fixed key (512 draws), because the entropy of a mixture has no closed form."""
        draws = self.sample(jax.random.key(0), (_ENTROPY_SAMPLES,))
        return -jax.vmap(self.log_prob)(draws).mean(0)


class ShiftedLogNormal(AbstractContinuous):
    """Independent outputs y for which log(y + shift) is normal with mean `loc` and deviation `scale`. So y is above -shift."""

    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n outputs"]
    shift: Float[Array, "*#batch #n outputs"]

    def _unit(self, y: Array) -> tuple[Array, Array]:
        y, loc, scale, shift = same_rank(y, self.loc, self.scale, self.shift)
        above = jnp.maximum(y + shift, _TINY)
        return (jnp.log(above) - loc) / scale, above

    def log_prob(self, y):
        z, above = self._unit(y)
        inside = same_rank(y + same_rank(y, self.shift)[1], z)[0] > 0
        each = -0.5 * (z**2 + jnp.log(2 * jnp.pi)) - jnp.log(same_rank(self.scale, z)[0] * above)
        return jnp.where(inside, each, -jnp.inf).sum(-1)

    @property
    def mean(self):
        return jnp.exp(self.loc + 0.5 * self.scale**2) - self.shift

    @property
    def variance(self):
        return jnp.expm1(self.scale**2) * jnp.exp(2 * self.loc + self.scale**2)

    def cdf(self, y):
        return special.ndtr(self._unit(y)[0])

    def bracket(self, q):
        loc, scale, shift, q = same_rank(self.loc, self.scale, self.shift, q)
        value = jnp.exp(loc + scale * special.ndtri(q)) - shift
        return value, value

    def sample(self, key, shape=()):
        drawn = jax.random.normal(key, (*shape, *self.loc.shape), self.loc.dtype)
        loc, scale, shift, unit = same_rank(self.loc, self.scale, self.shift, drawn)
        return jnp.exp(loc + scale * unit) - shift

    def entropy(self):
        each = self.loc + 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.scale**2)
        return jnp.broadcast_to(each, self.loc.shape).sum(-1)


def exponentiated(predictive: AbstractDistribution, centre: Array, spread: Array, shift: Array) -> AbstractContinuous:
    """Return the predictive of y where log(y + shift) = centre + spread z and z has the predictive given.

    - `predictive`: normals, or a mixture of them.
    - `centre`, `spread`, `shift`: one number for each output.

    Raises: PairError for another predictive.
    """
    if isinstance(predictive, Mixture):
        return Mixture(predictive.log_weights, exponentiated(predictive.components, centre, spread, shift))
    if isinstance(predictive, Normal):
        loc, centre, spread = same_rank(predictive.loc, centre, spread)
        full = jnp.broadcast_to(predictive.scale, loc.shape)
        return ShiftedLogNormal(centre + spread * loc, spread * full, jnp.broadcast_to(same_rank(loc, shift)[1], loc.shape))
    raise PairError(f"no logarithm of {type(predictive).__name__}: give normals or mixtures of them.")


def widened(predictive: AbstractDistribution, factor: Float[Array, ""]) -> AbstractContinuous:
    """Return a predictive whose scales are multiplied by `factor`. Each component keeps its own centre.

    Raises: PairError for a `predictive` that is not made of normals, Student-ts and log-normals.
    """
    if isinstance(predictive, Pool):
        return Pool(predictive.log_weights, tuple(widened(part, factor) for part in predictive.parts))
    if isinstance(predictive, Mixture):
        return Mixture(predictive.log_weights, widened(predictive.components, factor))
    if isinstance(predictive, Normal):
        return Normal(predictive.loc, factor * predictive.scale)
    if isinstance(predictive, StudentT):
        return StudentT(predictive.df, predictive.loc, factor * predictive.scale)
    if isinstance(predictive, ShiftedLogNormal):
        return ShiftedLogNormal(predictive.loc, factor * predictive.scale, predictive.shift)
    raise PairError(f"cannot widen {type(predictive).__name__}: give normals, Student-ts, log-normals or mixtures of them.")
