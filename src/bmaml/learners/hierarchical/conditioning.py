"""Gaussian processes conditioned on rows, and drawn, in single precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Key

# Jitter of the covariance of function draws, as a share of the mean variance before the support.
_JITTER = 1e-5
# Rounding errors of the covariance of n rows are below this many times n, in units of the least step of numbers.
_ROUNDING = 2.0


def conditioned(
    covariance: Float[Array, "n n"], noise: Float[Array, " n"], away: Float[Array, " n"], mask: Float[Array, " n"]
) -> tuple[Float[Array, "n n"], Float[Array, " n"], Float[Array, ""]]:
    """Return the lower root of the covariance with noise, the standardised residuals, and their log density in nats.

    - `covariance`: that of the functions, 0 where a row is masked.
    - `noise`: its variance in each row.
    - `away`: distances from the mean, 0 where a row is masked.
    - `mask`: 1 for real rows, 0 for others. The density is the sum over real rows.
    """
    # Less noise than the rounding errors of the covariance would leave no root.
    least = _ROUNDING * len(mask) * float(jnp.finfo(covariance.dtype).eps) * jnp.diagonal(covariance).max()
    root = jnp.linalg.cholesky(covariance + jnp.diag(jnp.where(mask > 0, jnp.maximum(noise, least), 1.0)))
    rest = solve_triangular(root, away, lower=True)
    log_det = 2 * jnp.log(jnp.diagonal(root)).sum() + mask.sum() * jnp.log(2 * jnp.pi)
    return root, rest, -0.5 * (rest @ rest + log_det)


def drawn(before: Float[Array, "n n"], half: Float[Array, "support n"], keys: Key[Array, " count"]) -> Float[Array, "count n"]:
    """Return draws from a Gaussian process around its mean, given a support.

    - `before`: covariance before the support.
    - `half`: standardised covariance of the support with the rows.
    - `keys`: a random key for each draw.
    """
    size = len(before)
    # Lines alone have a covariance of low rank, whose rounding errors grow with its size. What the support leaves open can
    # be far less than what was open before, and rounding is relative to the latter.
    share = max(_JITTER, 4.0 * size * float(jnp.finfo(before.dtype).eps))
    jitter = share * jnp.trace(before) / size + 1e-8
    root = jnp.linalg.cholesky(before - half.T @ half + jitter * jnp.eye(size, dtype=before.dtype))
    return jax.vmap(lambda key: root @ jax.random.normal(key, (size,), before.dtype))(keys)
