"""Predictive distributions: Normal, Student-t, Categorical and their mixtures.

Rows are points, and the last axis of a continuous target holds its outputs. `log_prob` is joint over the outputs of a
point, in nats. `cdf`, `quantile` and `interval` treat each output separately. All distributions are pytrees, so `vmap` adds
leading axes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy import special, stats
from jaxtyping import Array, Float, Int, PRNGKeyArray

from bmaml.data import length_class, same_rank
from bmaml.errors import InputError, PairError

_MOST_STEPS = 100
_ENTROPY_SAMPLES = 512
# Half of the degrees of freedom above which a series of five terms is exact to 1e-13.
_MANY = 10.0


class AbstractDistribution(eqx.Module):
    """A distribution over the targets of a batch of points."""

    @abstractmethod
    def log_prob(self, y: Array) -> Float[Array, "*batch n"]:
        """Log-density (or log-mass) of each point's target `y`, in nats."""

    @property
    @abstractmethod
    def mean(self) -> Array:
        """Mean of each output; class probabilities for a Categorical."""

    @property
    @abstractmethod
    def variance(self) -> Array:
        """Variance of each output."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Array:
        """Draws of the targets, with `shape` as leading axes."""

    @abstractmethod
    def entropy(self) -> Float[Array, "*batch n"]:
        """Entropy of each point's target, in nats."""

    @property
    def std(self) -> Array:
        """Standard deviation of each output."""
        return jnp.sqrt(self.variance)


class AbstractContinuous(AbstractDistribution):
    """A distribution with a continuous CDF in each output."""

    @abstractmethod
    def cdf(self, y: Array) -> Array:
        """Probability that an output is at most `y`, for each output separately."""

    @abstractmethod
    def bracket(self, q: Array) -> tuple[Array, Array]:
        """Bounds `(low, high)` that enclose the quantile of level `q` (a probability), for each output."""

    def quantile(self, q: float | Array) -> Array:
        """Quantile of level `q` (a probability) of each output.

        Raises: InputError if `q` is a number that is not strictly between 0 and 1.
        """
        if isinstance(q, float | int) and not 0 < q < 1:
            raise InputError(f"the quantile's level is {q}: give a probability strictly between 0 and 1, such as 0.5.")
        q = jnp.asarray(q, jnp.zeros(()).dtype)
        leaves = jax.tree.leaves((self, q))
        if q.ndim > 1 or any(isinstance(leaf, Tracer) for leaf in leaves) or not by_rows(self):
            return _inverse(self, q)
        # A program for each of a few numbers of rows: the search is compiled in a second and runs in milliseconds.
        rows = max((leaf.shape[-2] for leaf in leaves if leaf.ndim > 1), default=1)
        filled = take_rows(self, np.arange(length_class(rows)) % rows)
        return jnp.asarray(np.asarray(_inverse(filled, q))[..., :rows, :])

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """Central interval `(low, high)` that holds a share `level` of the probability of each output.

        Raises: InputError if `level` is not strictly between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise InputError(f"interval level is {level}: give a probability strictly between 0 and 1, such as 0.9.")
        return self.quantile(0.5 - level / 2), self.quantile(0.5 + level / 2)


@eqx.filter_jit
def _inverse(predictive: AbstractContinuous, q: Array) -> Array:
    """Return the quantile of level `q`: the root of cdf - q by the Illinois method, every third step half of the bracket.

    Some fifteen CDFs in place of bisection's thirty to sixty. It stops where the bracket is as narrow as numbers are.
    """
    q = same_rank(q.astype(predictive.mean.dtype), predictive.mean)[0]
    precision = jnp.finfo(q.dtype).eps
    ends = predictive.bracket(q)

    def open_still(low: Array, high: Array) -> Array:
        return high - low > precision * (jnp.abs(low) + jnp.abs(high))

    def narrow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        count, low, high, below, above = carry
        secant = low + (high - low) * jnp.clip(below / jnp.minimum(below - above, -jnp.finfo(q.dtype).tiny), 0.0, 1.0)
        place = jnp.where(count % 3 == 2, 0.5 * (low + high), secant)
        gap = predictive.cdf(place) - q
        # The end that stays weighs half as much, so that it does not stay for ever; at a root both ends are the root.
        left, right = (gap <= 0) & open_still(low, high), (gap >= 0) & open_still(low, high)
        return (
            count + 1,
            jnp.where(left, place, low),
            jnp.where(right, place, high),
            jnp.where(left, gap, 0.5 * below),
            jnp.where(right, gap, 0.5 * above),
        )

    start = (jnp.zeros((), int), *ends, *(predictive.cdf(end) - q for end in ends))
    going = lambda carry: (carry[0] < _MOST_STEPS) & open_still(carry[1], carry[2]).any()  # noqa: E731
    _, low, high, *_ = jax.lax.while_loop(going, narrow, start)
    return 0.5 * (low + high)


class Normal(AbstractContinuous):
    """Independent normals with mean `loc` and standard deviation `scale`, both of shape `(n, outputs)`.

    >>> two_points = Normal(jnp.array([[0.0], [1.0]]), jnp.ones((2, 1)))
    >>> low, high = two_points.interval(0.9)
    >>> print(f"{low[0, 0]:.2f} {high[0, 0]:.2f}")
    -1.64 1.64
    >>> two_points.log_prob(jnp.zeros((2, 1))).shape
    (2,)
    """

    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]

    def log_prob(self, y):
        return stats.norm.logpdf(*same_rank(y, self.loc, self.scale)).sum(-1)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        return jnp.broadcast_to(self.scale**2, self.loc.shape)

    def cdf(self, y):
        return stats.norm.cdf(*same_rank(y, self.loc, self.scale))

    def bracket(self, q):
        loc, scale, unit = same_rank(self.loc, self.scale, special.ndtri(q))
        return loc + scale * unit, loc + scale * unit

    def sample(self, key, shape=()):
        drawn = jax.random.normal(key, (*shape, *self.loc.shape), self.loc.dtype)
        loc, scale, unit = same_rank(self.loc, self.scale, drawn)
        return loc + scale * unit

    def entropy(self):
        each = 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.scale**2)
        return jnp.broadcast_to(each, self.loc.shape).sum(-1)


def _student_constant(df: Array) -> Array:
    """Return log Gamma((df + 1) / 2) - log Gamma(df / 2) - log(pi df) / 2, the log density at the centre for a scale of 1.

    For many degrees of freedom the function uses a series of the difference. The direct difference would lose three digits in
    single precision.
    """
    few, many = jnp.minimum(0.5 * df, _MANY), jnp.maximum(0.5 * df, _MANY)
    exact = special.gammaln(few + 0.5) - special.gammaln(few) - 0.5 * jnp.log(2 * jnp.pi * few)
    inverse, terms = 1 / many, (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432)
    series = inverse * jnp.polyval(jnp.asarray(terms[::-1], inverse.dtype), inverse**2) - 0.5 * math.log(2 * math.pi)
    return jnp.where(0.5 * df < _MANY, exact, series)


class StudentT(AbstractContinuous):
    """Independent Student-t outputs with `df` degrees of freedom (at least 1), location `loc` and `scale`."""

    df: Float[Array, "*#batch #n #outputs"]
    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]

    def log_prob(self, y):
        y, df, loc, scale = same_rank(y, self.df, self.loc, self.scale)
        constant = _student_constant(df) - jnp.log(scale)
        return (constant - 0.5 * (df + 1) * jnp.log1p(((y - loc) / scale) ** 2 / df)).sum(-1)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        ratio = jnp.where(self.df > 2, self.df / jnp.maximum(self.df - 2, 1e-6), jnp.inf)
        return jnp.broadcast_to(ratio * self.scale**2, self.loc.shape)

    def cdf(self, y):
        y, loc, scale = same_rank(y, self.loc, self.scale)
        t = (y - loc) / scale
        df = jnp.broadcast_to(self.df, t.shape)
        # The usual tail form loses digits near 0. The central form I(t^2 / (df + t^2); 1/2, df/2) loses none.
        inner = jnp.clip(t**2 / (df + t**2), 0.0, 1.0)
        half = 0.5 * special.betainc(0.5 * jnp.ones_like(df), 0.5 * df, inner)
        return jnp.where(t > 0, 0.5 + half, 0.5 - half)

    def bracket(self, q):
        # With df >= 1 the tails are at most as heavy as those of the Cauchy distribution, which has a closed quantile.
        loc, scale, q = same_rank(self.loc, self.scale, q)
        reach = scale * jnp.abs(jnp.tan(jnp.pi * (q - 0.5))) * 1.001
        return loc - reach, loc + reach

    def sample(self, key, shape=()):
        shape = (*shape, *self.loc.shape)
        drawn = jax.random.t(key, jnp.broadcast_to(self.df, shape), shape, self.loc.dtype)
        loc, scale, unit = same_rank(self.loc, self.scale, drawn)
        return loc + scale * unit

    def entropy(self):
        a = 0.5 * (self.df + 1)
        bulk = a * (special.digamma(a) - special.digamma(0.5 * self.df))
        each = bulk + 0.5 * jnp.log(self.df) + special.betaln(0.5 * self.df, 0.5) + jnp.log(self.scale)
        return jnp.broadcast_to(each, self.loc.shape).sum(-1)


class Categorical(AbstractDistribution):
    """One class for each point, from unnormalised `logits` of shape `(n, classes)`. `mean` is the class probabilities."""

    logits: Float[Array, "*batch n classes"]

    def log_prob(self, y: Int[Array, "*batch n"]):
        # Not a gather, because the transpose of a gather is a scatter-add, which is slow on some GPUs.
        chosen = jax.nn.one_hot(y, self.logits.shape[-1], dtype=self.logits.dtype)
        return jnp.multiply(*same_rank(jax.nn.log_softmax(self.logits), chosen)).sum(-1)

    @property
    def mean(self):
        return jax.nn.softmax(self.logits)

    @property
    def variance(self):
        p = self.mean
        return p * (1 - p)

    def sample(self, key, shape=()):
        return jax.random.categorical(key, self.logits, shape=(*shape, *self.logits.shape[:-1]))

    def entropy(self):
        logp = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(logp) * logp).sum(-1)


def _weighted(log_weights: Array, values: Array) -> Array:
    """Mean over the leading particle axis under softmax weights."""
    return jnp.tensordot(jax.nn.softmax(log_weights), values, 1)


def _mixed_log_prob(log_weights: Array, each: Array) -> Array:
    return special.logsumexp(each + jax.nn.log_softmax(log_weights)[:, None], axis=0)


def _mixed_sample(key: PRNGKeyArray, log_weights: Array, part: AbstractDistribution, shape: tuple[int, ...]) -> Array:
    """Pick a component for every draw of every point, then draw once from the picked parameters."""
    pick, draw = jax.random.split(key)
    like = part.mean
    # Inverse CDF, because a categorical draw would make one Gumbel variable for each component, point and draw.
    weights = jax.nn.softmax(log_weights)
    which = jax.random.choice(pick, len(weights), (*shape, like.shape[1]), p=weights)
    rows = jnp.arange(like.shape[1])
    picked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, like.shape)[which, rows], part)
    return picked.sample(draw)


class Mixture(AbstractContinuous):
    """A mixture of continuous `components`, stacked on a leading axis.

    `log_weights` has shape `(particles,)` and need not be normalised.
    """

    log_weights: Float[Array, " particles"]
    components: AbstractContinuous

    def log_prob(self, y):
        return _mixed_log_prob(self.log_weights, self.components.log_prob(y))

    @property
    def mean(self):
        return _weighted(self.log_weights, self.components.mean)

    @property
    def variance(self):
        between = (self.components.mean - self.mean[None]) ** 2
        return _weighted(self.log_weights, self.components.variance + between)

    def cdf(self, y):
        return _weighted(self.log_weights, self.components.cdf(y))

    def bracket(self, q):
        low, high = self.components.bracket(q)
        return low.min(0), high.max(0)

    def sample(self, key, shape=()):
        return _mixed_sample(key, self.log_weights, self.components, shape)

    def entropy(self):
        """Entropy by Monte Carlo with a fixed key (512 draws), because the entropy of a mixture has no closed form."""
        draws = self.sample(jax.random.key(0), (_ENTROPY_SAMPLES,))
        return -jax.vmap(self.log_prob)(draws).mean(0)


class CategoricalMixture(AbstractDistribution):
    """A mixture of Categorical `components`, stacked on a leading axis.

    `log_weights` has shape `(particles,)` and need not be normalised.
    """

    log_weights: Float[Array, " particles"]
    components: Categorical

    def log_prob(self, y):
        return _mixed_log_prob(self.log_weights, self.components.log_prob(y))

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
    Raises: PairError for components that are neither continuous nor Categorical.
    """
    if isinstance(components, Categorical):
        return CategoricalMixture(log_weights, components)
    if isinstance(components, AbstractContinuous):
        return Mixture(log_weights, components)
    raise PairError(f"cannot mix {type(components).__name__}: give Normal, StudentT or Categorical components.")


def by_rows(predictive: AbstractDistribution) -> bool:
    """Return whether `take_rows` knows how the points of a predictive lie in its arrays."""
    if isinstance(predictive, Mixture | CategoricalMixture):
        return by_rows(predictive.components)
    return isinstance(predictive, Normal | StudentT | Categorical)


Predictive = TypeVar("Predictive", bound=AbstractDistribution)


def take_rows(predictive: Predictive, rows: np.ndarray) -> Predictive:
    """Return the predictive of some of its points, `rows` their numbers; picked on the host, so nothing is compiled.

    The predictive is one that `by_rows` says yes to.
    """
    if isinstance(predictive, Mixture | CategoricalMixture):
        return type(predictive)(predictive.log_weights, take_rows(predictive.components, rows))  # pyright: ignore

    def pick(leaf: Array) -> Array:
        # A length of 1 stands for all rows.
        return leaf if leaf.ndim < 2 or leaf.shape[-2] == 1 else jnp.asarray(np.asarray(leaf)[..., rows, :])

    return jax.tree.map(pick, predictive)


def kl_divergence(p: AbstractDistribution, q: AbstractDistribution) -> Float[Array, "*batch n"]:
    """Return KL(`p` || `q`) of each point's target, in nats, for two normals or two Categoricals.

    Raises: PairError for other distributions, whose divergence has no closed form.
    """
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (((p.loc - q.loc) / q.scale) ** 2 + ratio - 1 - jnp.log(ratio)).sum(-1)
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        log_p, log_q = jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
        return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
    raise PairError(f"no closed divergence of {type(p).__name__} and {type(q).__name__}: give two Normal or two Categorical.")
