"""The contract of a distribution, and the search for quantiles that all continuous ones share."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from bmaml.data import length_class, same_rank
from bmaml.errors import InputError, said

_MOST_STEPS = 100
# A tail is at least this many times the smallest number, so that a CDF still has all its digits there.
_LEAST_TAIL = 8.0


class AbstractDistribution(eqx.Module):
    """A distribution over the targets of a batch of points."""

    # Whether the points lie on the last axis but one of each array that has one, so that `take_rows` can pick some of them.
    BY_ROWS: ClassVar[bool] = False

    @abstractmethod
    def log_prob(self, y: Array | np.ndarray) -> Float[Array, "*batch n"]:
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


class AbstractMixed(AbstractDistribution):
    """A mixture of `components`, which are stacked on a leading axis; `log_weights` need not be normalised."""

    log_weights: eqx.AbstractVar[Float[Array, " particles"]]

    if TYPE_CHECKING:  # An abstract field could not be narrowed by a subclass.

        @property
        def components(self) -> AbstractDistribution:
            """The distributions that are mixed."""
            ...


class AbstractPooled(AbstractDistribution):
    """A mixture of `parts` that may be of different classes."""

    if TYPE_CHECKING:

        @property
        def parts(self) -> tuple[AbstractDistribution, ...]:
            """The distributions that are mixed."""
            ...


class AbstractNumeric(AbstractDistribution):
    """A distribution over numbers, which have an order: it has a CDF in each output."""

    @abstractmethod
    def cdf(self, y: Array | np.ndarray) -> Array:
        """Probability that an output is at most `y`, for each output separately; exact to a few digits in the lower tail."""

    @abstractmethod
    def survival(self, y: Array | np.ndarray) -> Array:
        """Probability that an output is above `y`, for each output separately; exact to a few digits in the upper tail."""

    @abstractmethod
    def tail_quantile(self, tail: Float[Array, "*levels"], upper: Bool[Array, "*levels"]) -> Array:
        """Value of each output below which the probability is `tail`, or where `upper`, above which it is.

        `tail` is at most 1/2. So a level near 1 keeps its digits: the level 1 - 1e-12 is the upper tail 1e-12.
        """

    def quantile(self, q: float | Array) -> Array:
        """Quantile of level `q` (a probability) of each output.

        Raises: InputError if `q` is not one number strictly between 0 and 1, or leaves a tail too small for the numbers'
        precision. A level inside a compiled program is not checked.
        """
        if isinstance(q, Tracer):  # An array; it may have an axis of outputs.
            q = q.astype(jnp.zeros(()).dtype)
            return self.tail_quantile(jnp.minimum(q, 1 - q), q > 0.5)
        return self.tail_quantile(*split_level(q))

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """Central interval `(low, high)` that holds a share `level` of the probability of each output.

        Raises: InputError if `level` is not strictly between 0 and 1.
        """
        tail = interval_tail(level)
        return self.tail_quantile(tail, jnp.asarray(False)), self.tail_quantile(tail, jnp.asarray(True))


class AbstractContinuous(AbstractNumeric):
    """A distribution with a continuous CDF in each output."""

    @abstractmethod
    def beyond(self, y: Array | np.ndarray, upper: Bool[Array, "*levels"]) -> Array:
        """Probability above `y` where `upper`, and elsewhere at most `y`, for each output; exact to a few digits in that tail.

        So one program serves both tails.
        """

    def cdf(self, y):
        return self.beyond(y, jnp.asarray(False))

    def survival(self, y):
        return self.beyond(y, jnp.asarray(True))

    @abstractmethod
    def bracket(self, tail: Array, upper: Array) -> tuple[Array, Array]:
        """Bounds `(low, high)` that enclose the result of `tail_quantile` for `tail` and `upper`, for each output."""

    def tail_quantile(self, tail: Float[Array, "*levels"], upper: Bool[Array, "*levels"]) -> Array:
        leaves = jax.tree.leaves((self, tail, upper))
        if tail.ndim > 1 or any(isinstance(leaf, Tracer) for leaf in leaves) or not by_rows(self):
            return _inverse(self, tail, upper)
        # A program for each of a few numbers of rows: the search is compiled in a second and runs in milliseconds.
        rows = max((leaf.shape[-2] for leaf in leaves if leaf.ndim > 1), default=1)
        filled = take_rows(self, np.arange(length_class(rows)) % rows)
        return jnp.asarray(np.asarray(_inverse(filled, tail, upper))[..., :rows, :])


def check_draw(key: object, shape: object) -> None:
    """Check the arguments of `sample`: a JAX `key`, and a `shape`, the leading axes of the draws.

    Raises: InputError that says what to write.
    """
    if not (isinstance(key, jax.Array) and (jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32)):
        raise InputError(f"sample's key is {said(key)}: give a key of JAX, such as jax.random.key(0).")
    if not isinstance(shape, tuple | list) or not all(isinstance(axis, Integral) and int(axis) >= 0 for axis in shape):
        raise InputError(f"sample's shape is {said(shape)}: give the leading axes of the draws, such as (100,).")


def check_targets(predicted: tuple[int, ...], y: Array | np.ndarray, *, classes: int | None = None) -> None:
    """Check that the targets `y` are of the kind that a predictive has, so that no axis of theirs is broadcast.

    - `predicted`: shape of the predictive's rows: (rows, outputs), or (rows,) for classes.
    - `classes`: number of classes, None for numbers.

    Raises: InputError that says what the targets are and what the model predicts.
    """
    shape = jnp.shape(y)
    if classes is not None:
        if not jnp.issubdtype(jnp.result_type(y), jnp.integer) or shape[-1:] != predicted[-1:]:
            raise InputError(
                f"targets of shape {shape} are no classes, and the model predicts one of {classes} for each of "
                f"{predicted[-1]} rows: give as many whole numbers from 0 to {classes - 1}."
            )
    elif jnp.issubdtype(jnp.result_type(y), jnp.integer) and len(shape) == 1:
        raise InputError(
            "targets are whole numbers without an axis of outputs, which stand for classes, and the model predicts numbers: "
            "give floats, or a column of numbers."
        )
    elif len(shape) > 1 and shape[-1] != predicted[-1]:
        raise InputError(
            f"a target row has {shape[-1]} numbers and the model predicts {predicted[-1]}: give as many numbers as the model "
            "has outputs, or a model with as many outputs."
        )
    elif shape[-2:] != predicted[-2:]:
        raise InputError(
            f"targets have the shape {shape} and the model predicts {predicted[-2:]} (rows, outputs): give one target row for "
            "each input row, with as many numbers as the model has outputs."
        )


def _probability(value: object, what: str, such: str) -> float:
    """Return the probability `value`, whatever kind of one number it is.

    Raises: InputError if it is no number strictly between 0 and 1.
    """
    shown = said(value) if np.ndim(value) == 0 or isinstance(value, str) else f"an array of shape {np.shape(value)}"  # pyright: ignore
    number = isinstance(value, Real) or (isinstance(value, np.ndarray | jax.Array) and value.ndim == 0)
    if isinstance(value, bool) or not number or not 0.0 < float(value) < 1.0:  # pyright: ignore
        raise InputError(f"{what} is {shown}: give one probability strictly between 0 and 1, such as {such}.")
    return float(value)  # pyright: ignore


def split_level(q: object) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Return the level `q` of a quantile as the probability of a tail, and whether that is the upper tail.

    Raises: InputError if `q` is no number strictly between 0 and 1, or a tail is too small for the precision of the numbers.
    """
    level = _probability(q, "the quantile's level", "0.5")
    return _tail(min(level, 1 - level), f"the quantile's level is {level}"), jnp.asarray(level > 0.5)


def interval_tail(level: object) -> Float[Array, ""]:
    """Return the probability of each tail outside of a central interval that holds a share `level`.

    Raises: InputError if `level` is no number strictly between 0 and 1, or a tail is too small for the precision of the
    numbers.
    """
    share = _probability(level, "interval level", "0.9")
    return _tail((1 - share) / 2, f"interval level is {share}")


def _tail(tail: float, what: str) -> Float[Array, ""]:
    dtype = jnp.zeros(()).dtype
    least = _LEAST_TAIL * float(jnp.finfo(dtype).tiny)
    if tail < least:
        raise InputError(f"{what}, which leaves less than {least:.1g} in a tail: use a level farther from 0 and 1.")
    return jnp.asarray(tail, dtype)


@eqx.filter_jit
def _inverse(predictive: AbstractContinuous, tail: Array, upper: Array) -> Array:
    """Return `tail_quantile` by the Illinois method on the log of the tail's probability.

    Every third step halves the bracket instead, in turn evenly and in orders of magnitude about the mean. So a heavy tail that
    reaches over many orders of magnitude needs some twenty steps. It stops where the bracket is as narrow as numbers are.
    Steps -2 and -1 look at the two ends, so that the program holds the CDF once: with it three times it compiles for seconds.
    """
    mean = predictive.mean
    tail, upper, mean = same_rank(tail.astype(mean.dtype), upper, mean)
    precision, smallest = jnp.finfo(mean.dtype).eps, jnp.finfo(mean.dtype).tiny
    ends = predictive.bracket(tail, upper)

    def gap(place: Array) -> Array:
        """Return how far the log probability is off, rising with the place."""
        off = jnp.log(jnp.maximum(predictive.beyond(place, upper), smallest)) - jnp.log(tail)
        return jnp.where(upper, -off, off)

    def open_still(low: Array, high: Array) -> Array:
        return high - low > precision * (jnp.abs(low) + jnp.abs(high))

    def between(count: Array, low: Array, high: Array) -> Array:
        below, above = low - mean, high - mean
        least = precision * jnp.maximum(jnp.abs(below), jnp.abs(above))
        size = jnp.sqrt(jnp.maximum(jnp.abs(below), least)) * jnp.sqrt(jnp.maximum(jnp.abs(above), least))
        apart = mean + jnp.where(below * above < 0, 0.0, jnp.sign(below + above) * size)
        return jnp.where(count % 6 == 2, 0.5 * (low + high), jnp.clip(apart, low, high))

    def narrow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        count, low, high, below, above = carry
        secant = low + (high - low) * jnp.clip(below / jnp.minimum(below - above, -smallest), 0.0, 1.0)
        place = jnp.where(count % 3 == 2, between(count, low, high), secant)
        place = jnp.where(count == -2, low, jnp.where(count == -1, high, place))
        off = gap(place)
        # The end that stays weighs half as much, so that it does not stay for ever; at a root both ends are the root.
        left = jnp.where(count < 0, count == -2, (off <= 0) & open_still(low, high))
        right = jnp.where(count < 0, count == -1, (off >= 0) & open_still(low, high))
        weight = jnp.where(count < 0, 1.0, 0.5).astype(off.dtype)
        return (
            count + 1,
            jnp.where(left, place, low),
            jnp.where(right, place, high),
            jnp.where(left, off, weight * below),
            jnp.where(right, off, weight * above),
        )

    none = jnp.zeros_like(ends[0])
    start = (jnp.full((), -2), *ends, none, none)
    going = lambda carry: (carry[0] < 0) | ((carry[0] < _MOST_STEPS) & open_still(carry[1], carry[2]).any())  # noqa: E731
    _, low, high, *_ = jax.lax.while_loop(going, narrow, start)
    return 0.5 * (low + high)


def by_rows(predictive: AbstractDistribution) -> bool:
    """Return whether `take_rows` knows how the points of a predictive lie in its arrays."""
    if isinstance(predictive, AbstractPooled):
        return all(by_rows(part) for part in predictive.parts)
    return by_rows(predictive.components) if isinstance(predictive, AbstractMixed) else predictive.BY_ROWS


Predictive = TypeVar("Predictive", bound=AbstractDistribution)


def take_rows(predictive: Predictive, rows: np.ndarray) -> Predictive:
    """Return the predictive of some of its points, `rows` their numbers; picked on the host, so nothing is compiled.

    The predictive is one that `by_rows` says yes to.
    """
    if isinstance(predictive, AbstractPooled):
        return eqx.tree_at(lambda pool: pool.parts, predictive, tuple(take_rows(part, rows) for part in predictive.parts))
    if isinstance(predictive, AbstractMixed):
        return eqx.tree_at(lambda mixed: mixed.components, predictive, take_rows(predictive.components, rows))

    def pick(leaf: Array) -> Array:
        # A length of 1 stands for all rows.
        return leaf if leaf.ndim < 2 or leaf.shape[-2] == 1 else jnp.asarray(np.asarray(leaf)[..., rows, :])

    return jax.tree.map(pick, predictive)
