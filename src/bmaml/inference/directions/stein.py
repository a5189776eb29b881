"""Stein variational gradient descent: Liu and Wang (2016), https://arxiv.org/abs/1608.04471."""

from __future__ import annotations

import math
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.errors import InputError
from bmaml.inference.directions.base import AbstractDirection
from bmaml.io.registry import register

Median = Literal["squared", "distance"]
Divisor = Literal["log(n + 1)", "log(n)"]
# XLA on a CPU takes twenty times as long to sort this many numbers as it takes to count them bit by bit. It sorts fewer
# numbers as fast.
_MANY = 1000


@register("kernel/rbf")
class RBF(eqx.Module):
    """The kernel k(a, b) = exp(-|a - b|^2 / h), with a fixed h or the median heuristic.

    - `bandwidth`: h, in squared units of the particles. None uses h = median / divisor.
    - `median`: `"squared"` takes the median of all n x n squared distances, including the n zeros on the diagonal, as Liu and
      Wang's code does. `"distance"` squares the median of the distances.
    - `divisor`: `"log(n + 1)"` as in Liu and Wang's code, or `"log(n)"` as in their paper and in the code of Kim et al. (2018),
      https://arxiv.org/abs/1806.03836.

    No gradient passes through h. If the median is 0 (more than half of the particles coincide, or there is one particle), h is
    1. So a lone particle has k = 1.
    Raises: InputError for a bandwidth that is not above 0, or an unknown median or divisor.
    """

    bandwidth: float | None = eqx.field(static=True, default=None)
    median: Median = eqx.field(static=True, default="squared")
    divisor: Divisor = eqx.field(static=True, default="log(n + 1)")

    def __check_init__(self):
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise InputError(f"kernel bandwidth is {self.bandwidth}: give a number above 0, or None for the median.")
        if self.median not in ("squared", "distance"):
            raise InputError(f"unknown median {self.median!r}: use 'squared' or 'distance'.")
        if self.divisor not in get_args(Divisor):
            raise InputError(f"unknown divisor {self.divisor!r}: use 'log(n + 1)' or 'log(n)'.")

    def width(self, squares: Float[Array, "n n"]) -> Float[Array, ""]:
        """Return h for a matrix `squares` of squared distances."""
        if self.bandwidth is not None:
            return jnp.asarray(self.bandwidth, squares.dtype)
        squares = jax.lax.stop_gradient(squares)
        middle = _median(squares.reshape(-1))
        if self.median == "distance":
            middle = _median(jnp.sqrt(squares).reshape(-1)) ** 2
        count = len(squares) + (self.divisor == "log(n + 1)")
        # The median of a lone particle's distances is 0, so that its divisor does not matter.
        return jnp.where(middle > 0, middle / math.log(max(count, 2)), 1.0)


def _median(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Return the median of values of at least 0: the mean of the two middle values if their number is even."""
    if len(values) < _MANY:
        return _median_by_order(values)
    return jax.lax.platform_dependent(values, cpu=_median_by_bits, default=_median_by_order)


def _median_by_order(values: Float[Array, " n"]) -> Float[Array, ""]:
    ordered = jnp.sort(values)
    n = len(values)
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])


def _median_by_bits(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Find the middle value bit by bit. If floats of at least 0 are read as integers, they keep their order."""
    n, size = len(values), jnp.finfo(values.dtype).bits
    keys = jax.lax.bitcast_convert_type(values, jnp.dtype(f"int{size}"))

    def narrow(i: Array, low: Array) -> Array:
        middle = low | jnp.left_shift(jnp.ones((), keys.dtype), (size - 2 - i).astype(keys.dtype))
        return jnp.where((keys < middle).sum() <= (n - 1) // 2, middle, low)

    found = jax.lax.fori_loop(0, size - 1, narrow, jnp.zeros((), keys.dtype))
    lower = jax.lax.bitcast_convert_type(found, values.dtype)
    above = jnp.where(keys > found, values, jnp.inf).min()
    return 0.5 * (lower + jnp.where((keys <= found).sum() > n // 2, lower, above))


def square_distances(particles) -> Float[Array, "n n"]:
    """Return all squared distances of `particles`, by products of centred points (centring avoids cancellation in float32)."""
    gram = jnp.asarray(sum(_gram(leaf) for leaf in jax.tree.leaves(particles)))
    norms = jnp.diagonal(gram)
    return jnp.maximum(norms[:, None] + norms[None, :] - 2 * gram, 0.0) * (1 - jnp.eye(len(gram), dtype=gram.dtype))


def _gram(leaf: Float[Array, "n ..."]) -> Float[Array, "n n"]:
    centred = _centred(leaf).reshape(len(leaf), -1)
    return centred @ centred.T


def _centred(leaf: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    return leaf - jax.lax.stop_gradient(leaf.mean(0))[None]


def _mix(weights: Float[Array, "n n"], leaf: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Return sums of the particles of a leaf, one sum for each row of weights."""
    # If tasks share the weights but not the leaf, the product has the tasks in the middle, and the leaf is copied and
    # transposed twice. Adding zero times a number of the leaf gives each task its own weights.
    weights = weights + 0 * jax.lax.stop_gradient(leaf.reshape(-1)[0])
    return (weights @ leaf.reshape(len(leaf), -1)).reshape(leaf.shape)


@register("direction/stein")
class Stein(AbstractDirection):
    """phi(a) = mean over b of k(a, b) score(b) + repulsion * grad_b k(a, b): equation 8 of Liu and Wang (2016).

    - `kernel`: one joint kernel over all coordinates of a particle.
    - `repulsion`: 1 is the kernel's true gradient, 2 (a - b) k / h. The TensorFlow code of Kim et al. (2018) computes 0.5.
    """

    kernel: RBF = RBF()
    repulsion: float = eqx.field(static=True, default=1.0)

    def __call__(self, particles, scores, *, key=None):
        # Leaf by leaf, because joining the leaves to one matrix and splitting it again costs as much as the products.
        squares = square_distances(particles)
        h = self.kernel.width(squares)
        k = jnp.exp(-squares / h) / len(squares)
        repulsion = 2 * self.repulsion / h * (jnp.diag(k.sum(1)) - k)
        # Rows of the repulsion add up to 0. Centring keeps particles far from the origin from cancelling.
        return jax.tree.map(lambda x, s: _mix(k, s) + _mix(repulsion, _centred(x)), particles, scores)
