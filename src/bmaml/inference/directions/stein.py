"""Stein variational gradient descent (Liu and Wang, 2016)."""

from __future__ import annotations

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.errors import InputError
from bmaml.inference.directions.base import AbstractDirection
from bmaml.io.registry import register

Median = Literal["squared", "distance"]
# So many numbers XLA sorts on a CPU in twenty times what counting them bit by bit takes; few it sorts as fast.
_MANY = 1000


@register("kernel/rbf")
class RBF(eqx.Module):
    """The kernel k(a, b) = exp(-|a - b|^2 / h), with h fixed or from the median heuristic.

    `bandwidth=None` takes h = median / log(n + 1) with `median="squared"`: the median of all n x n squared distances,
    the n zeros on the diagonal included (Liu and Wang's code; Kim et al.'s divides by log n, which fails for n = 1).
    `median="distance"` squares the median of the distances instead. No gradient passes through h. A median of 0 (more
    than half the particles coincide, or one particle) gives h = 1, so a lone particle has k = 1.
    """

    bandwidth: float | None = eqx.field(static=True, default=None)
    median: Median = eqx.field(static=True, default="squared")

    def __check_init__(self):
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise InputError(f"kernel bandwidth is {self.bandwidth}: give a number above 0, or None for the median.")
        if self.median not in ("squared", "distance"):
            raise InputError(f"unknown median {self.median!r}: use 'squared' or 'distance'.")

    def width(self, squares: Float[Array, "n n"]) -> Float[Array, ""]:
        """Return h for a matrix of squared distances."""
        if self.bandwidth is not None:
            return jnp.asarray(self.bandwidth, squares.dtype)
        squares = jax.lax.stop_gradient(squares)
        middle = _median(squares.reshape(-1))
        if self.median == "distance":
            middle = _median(jnp.sqrt(squares).reshape(-1)) ** 2
        return jnp.where(middle > 0, middle / math.log(len(squares) + 1), 1.0)


def _median(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Return the median of values of at least 0, the mean of the two in the middle where they are even in number."""
    if len(values) < _MANY:
        return _median_by_order(values)
    return jax.lax.platform_dependent(values, cpu=_median_by_bits, default=_median_by_order)


def _median_by_order(values: Float[Array, " n"]) -> Float[Array, ""]:
    ordered = jnp.sort(values)
    n = len(values)
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])


def _median_by_bits(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Find the value in the middle bit by bit: read as integers, floats of at least 0 keep their order."""
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
    """Return all squared distances, by products of centred points (centring keeps float32 from cancelling)."""
    gram = jnp.asarray(sum(_gram(leaf) for leaf in jax.tree.leaves(particles)))
    norms = jnp.diagonal(gram)
    return jnp.maximum(norms[:, None] + norms[None, :] - 2 * gram, 0.0) * (1 - jnp.eye(len(gram), dtype=gram.dtype))


def _gram(leaf: Float[Array, "n ..."]) -> Float[Array, "n n"]:
    centred = _centred(leaf).reshape(len(leaf), -1)
    return centred @ centred.T


def _centred(leaf: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    return leaf - jax.lax.stop_gradient(leaf.mean(0))


def _mix(weights: Float[Array, "n n"], leaf: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Return sums of the particles of a leaf, one with each row of weights."""
    # Weights that tasks share and leaves that they do not would make a product with the tasks in the middle, and two
    # transposed copies of the leaf: adding nothing of the leaf's makes the weights a task's own as well.
    weights = weights + 0 * jax.lax.stop_gradient(leaf.reshape(-1)[0])
    return (weights @ leaf.reshape(len(leaf), -1)).reshape(leaf.shape)


@register("direction/stein")
class Stein(AbstractDirection):
    """phi(a) = mean over b of k(a, b) score(b) + repulsion * grad_b k(a, b); equation 8 of Liu and Wang (2016).

    One joint kernel over all coordinates of a particle. `repulsion=1` is the kernel's true gradient, 2 (a - b) k / h;
    `repulsion=0.5` is what the TensorFlow code of Kim et al. (2018) computes.
    """

    kernel: RBF = RBF()
    repulsion: float = eqx.field(static=True, default=1.0)

    def __call__(self, particles, scores, *, key=None):
        # Leaf by leaf: to join the leaves to one matrix and part them again costs as much as the products do.
        squares = square_distances(particles)
        h = self.kernel.width(squares)
        k = jnp.exp(-squares / h) / len(squares)
        repulsion = 2 * self.repulsion / h * (jnp.diag(k.sum(1)) - k)
        # Rows of the repulsion add up to 0: centred, particles far from the origin do not cancel in it.
        return jax.tree.map(lambda x, s: _mix(k, s) + _mix(repulsion, _centred(x)), particles, scores)
