"""Diagonal Gaussians over pytrees: what latent learners believe about a task's parameters."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree


class DiagonalGaussian(eqx.Module):
    """Independent normals over the leaves of a pytree: `mean` and `log_variance` of the same structure and shapes."""

    mean: PyTree[Any]
    log_variance: PyTree[Any]

    def sample(self, key: PRNGKeyArray) -> PyTree[Any]:
        """Return one draw, differentiable in mean and log-variance (reparametrised)."""
        leaves, structure = jax.tree.flatten(self.mean)
        keys = jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))

        def draw(mean: Array, log_variance: Array, key: PRNGKeyArray) -> Array:
            return mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape, mean.dtype)

        return jax.tree.map(draw, self.mean, self.log_variance, keys)

    def kl(self, other: DiagonalGaussian) -> Float[Array, ""]:
        """Return KL(self || `other`), in nats, summed over all entries of all leaves."""

        def leaf_divergence(m: Array, v: Array, n: Array, w: Array) -> Array:
            return 0.5 * jnp.sum(jnp.exp(v - w) + (m - n) ** 2 * jnp.exp(-w) - 1 + w - v)

        parts = jax.tree.map(leaf_divergence, self.mean, self.log_variance, other.mean, other.log_variance)
        return sum(jax.tree.leaves(parts), start=jnp.zeros(()))

    def log_prob(self, value: PyTree[Any]) -> Float[Array, ""]:
        """Return the log density of the pytree `value`, in nats, summed over all entries of all leaves."""

        def leaf_density(x: Array, m: Array, v: Array) -> Array:
            return -0.5 * jnp.sum((x - m) ** 2 * jnp.exp(-v) + v + jnp.log(2 * jnp.pi))

        return sum(jax.tree.leaves(jax.tree.map(leaf_density, value, self.mean, self.log_variance)), start=jnp.zeros(()))


def filled(tree: PyTree[Any], value: float) -> PyTree[Any]:
    """Return a pytree in the shapes of `tree` with every entry `value`."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), tree)
