"""Stein variational gradient descent (Liu and Wang, 2016)."""

from __future__ import annotations

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.directions.base import AbstractDirection

Median = Literal["squared", "distance"]


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
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ValueError(f"kernel bandwidth is {self.bandwidth}: give a number above 0, or None for the median.")

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
    ordered = jnp.sort(values)
    n = len(values)
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])


def square_distances(points: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """Return all squared distances, by one product of centred points (centring keeps float32 from cancelling)."""
    centred = points - jax.lax.stop_gradient(points.mean(0))
    gram = centred @ centred.T
    norms = jnp.diagonal(gram)
    return jnp.maximum(norms[:, None] + norms[None, :] - 2 * gram, 0.0) * (1 - jnp.eye(len(points), dtype=gram.dtype))


def flatten(tree) -> Float[Array, "n d"]:
    """Return the particles of a pytree as the rows of one matrix."""
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)], 1)


def unflatten(matrix: Float[Array, "n d"], like):
    """Return the rows of a matrix as a pytree of particles shaped like `like`."""
    leaves, tree = jax.tree.flatten(like)
    sizes = [math.prod(leaf.shape[1:]) for leaf in leaves]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = [matrix[:, end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return jax.tree.unflatten(tree, [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)])


class Stein(AbstractDirection):
    """phi(a) = mean over b of k(a, b) score(b) + repulsion * grad_b k(a, b); equation 8 of Liu and Wang (2016).

    One joint kernel over all coordinates of a particle. `repulsion=1` is the kernel's true gradient, 2 (a - b) k / h;
    `repulsion=0.5` is what the TensorFlow code of Kim et al. (2018) computes.
    """

    kernel: RBF = RBF()
    repulsion: float = eqx.field(static=True, default=1.0)

    def __call__(self, particles, scores, *, key=None):
        x, s = flatten(particles), flatten(scores)
        squares = square_distances(x)
        h = self.kernel.width(squares)
        k = jnp.exp(-squares / h)
        pull = 2 * self.repulsion / h
        phi = k @ (s - pull * x) + pull * k.sum(1, keepdims=True) * x
        return unflatten(phi / len(x), scores)
