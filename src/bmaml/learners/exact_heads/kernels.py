"""The kernel of a support, factorised in one of two forms. Both are exact.

With features F, prior variances S and noise n the kernel is K = F S F^T + n. The form of points holds the Cholesky factor of K,
a matrix with a row for each point. The form of features needs K no more: with G = n^(-1/2) F S^(1/2) it holds the triangular
factor of 1 + G^T G, a matrix with a row for each feature, so that its cost is linear in points. The shapes decide which one is
made. An orthogonal factorisation of G above the identity gives that factor with the condition number of G. The product G^T G
would have the square of it, which is too much for single precision.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

# Relative to the kernel's mean diagonal. Without this jitter the float32 Cholesky fails once the learned noise is small.
# In double precision the jitter shrinks with the precision.
_JITTER = 3e-5
# From this many points a feature on, the form of features is the faster one.
_POINTS_A_FEATURE = 2


class Whitened(NamedTuple):
    """Columns of values at the support, in the forms in which they are used.

    - `white`: columns whose inner products are those of the values under K^-1.
    - `pull`: what `half` of query points (`AbstractKernel.at`) is multiplied with, for the covariance of query points and
      support times K^-1 times the values.
    """

    white: Float[Array, "rows columns"]
    pull: Float[Array, "held columns"]


class AbstractKernel(eqx.Module):
    """What all heads need of a support: its kernel F S F^T + n, factorised, in units of sigma^2.

    - `features`, `scale`: F, and the diagonal of S.
    - `noise`: n of each row.
    - `jitter`: number that was added to the diagonal.
    - `log_det`: log determinant of 2 pi times the kernel.
    """

    features: eqx.AbstractVar[Float[Array, "*batch support features"]]
    scale: eqx.AbstractVar[Float[Array, "*batch features"]]
    noise: eqx.AbstractVar[Float[Array, "*batch support"]]
    jitter: eqx.AbstractVar[Float[Array, "*batch"]]
    log_det: eqx.AbstractVar[Float[Array, "*batch"]]

    @abstractmethod
    def whiten(self, values: Float[Array, "n columns"]) -> Whitened:
        """Return the columns of `values` at the support, whitened."""

    @abstractmethod
    def at(self, features: Float[Array, "q features"]) -> tuple[Float[Array, "held q"], Float[Array, " q"]]:
        """Return what `Whitened.pull` is multiplied with for query points at `features`, and the remaining variance of the
        function at each.
        """

    @abstractmethod
    def weights(self, pull: Float[Array, "held columns"]) -> Float[Array, "features columns"]:
        """Return the weights whose function is the mean at any query point: S F^T K^-1 times the values that gave `pull`."""

    def noisy_at(
        self, features: Float[Array, "q features"], noise: Float[Array, " q"]
    ) -> tuple[Float[Array, "held q"], Float[Array, " q"]]:
        """Return the same as `at` for query points at `features`, with their `noise` in the variance."""
        half, variance = self.at(features)
        return half, variance + noise + self.jitter

    def sample_weights(
        self,
        mean: Float[Array, "features outputs"],
        sigma: Float[Array, " outputs"],
        pull: Float[Array, "held outputs"],
        key: PRNGKeyArray,
    ) -> Float[Array, "features outputs"]:
        """Draw weights given sigma, by Matheron's rule: a draw from the prior, moved to agree with the support.

        - `mean`: prior mean of the weights.
        - `sigma`: noise deviation of each output.
        - `pull`: the targets' (`Whitened.pull`).
        """
        weight_key, noise_key = jax.random.split(key)
        drawn = mean + sigma[None] * jnp.sqrt(self.scale)[:, None] * jax.random.normal(weight_key, mean.shape, mean.dtype)
        noise = jax.random.normal(noise_key, (len(self.noise), len(sigma)), mean.dtype)
        missed = sigma[None] * jnp.sqrt(self.noise)[:, None] * noise
        return drawn + self.weights(pull - self.whiten(self.features @ drawn + missed).pull)


class PointsKernel(AbstractKernel):
    """The kernel in the space of the support's points.

    - `features`, `scale`, `noise`, `jitter`, `log_det`: as in `AbstractKernel`.
    - `cholesky`: lower factor of the kernel.
    """

    features: Float[Array, "*batch support features"]
    scale: Float[Array, "*batch features"]
    noise: Float[Array, "*batch support"]
    jitter: Float[Array, "*batch"]
    log_det: Float[Array, "*batch"]
    cholesky: Float[Array, "*batch support support"]

    @staticmethod
    def of(
        features: Float[Array, "n features"],
        scale: Float[Array, " features"],
        noise: Float[Array, "*n"],
        mask: Float[Array, " n"],
    ) -> PointsKernel:
        """Return the kernel of the unmasked rows; `features`, `scale`, `noise` and `mask` are those of `kernel_of`."""
        features = features * mask[:, None]
        gram = (features * scale[None]) @ features.T
        jitter = _jitter(jnp.trace(gram), mask)
        noise = noise + jitter
        cholesky = jnp.linalg.cholesky(gram + jnp.diag(jnp.where(mask > 0, noise, 1.0)), symmetrize_input=False)
        log_det = 2 * jnp.log(jnp.diagonal(cholesky)).sum() + mask.sum() * jnp.log(2 * jnp.pi)
        return PointsKernel(features, scale, noise * mask, jitter, log_det, cholesky)

    def whiten(self, values):
        white = solve_triangular(self.cholesky, values, lower=True)
        return Whitened(white, white)

    def at(self, features):
        half = self.whiten((self.features * self.scale[None]) @ features.T).white
        return half, jnp.maximum((features**2) @ self.scale - (half**2).sum(0), 0.0)

    def weights(self, pull):
        pulled = solve_triangular(self.cholesky, pull, lower=True, trans=1)
        return self.scale[:, None] * (self.features.T @ pulled)


class FeaturesKernel(AbstractKernel):
    """The kernel in the space of the features.

    - `features`, `scale`, `noise`, `jitter`, `log_det`: as in `AbstractKernel`.
    - `orthogonal`, `upper`: Q and R of G above the identity.
    - `root`: n^(-1/2) of each row, 0 for a masked one.
    """

    features: Float[Array, "*batch support features"]
    scale: Float[Array, "*batch features"]
    noise: Float[Array, "*batch support"]
    jitter: Float[Array, "*batch"]
    log_det: Float[Array, "*batch"]
    orthogonal: Float[Array, "*batch support+features features"]
    upper: Float[Array, "*batch features features"]
    root: Float[Array, "*batch support"]

    @staticmethod
    def of(
        features: Float[Array, "n features"],
        scale: Float[Array, " features"],
        noise: Float[Array, "*n"],
        mask: Float[Array, " n"],
    ) -> FeaturesKernel:
        """Return the kernel of the unmasked rows; `features`, `scale`, `noise` and `mask` are those of `kernel_of`."""
        features = features * mask[:, None]
        jitter = _jitter(((features**2) @ scale).sum(), mask)
        noise = jnp.broadcast_to(noise + jitter, mask.shape)
        root = jnp.where(mask > 0, 1 / jnp.sqrt(noise), 0.0)
        above = root[:, None] * features * jnp.sqrt(scale)[None]
        orthogonal, upper = jnp.linalg.qr(jnp.concatenate([above, jnp.eye(len(scale), dtype=above.dtype)]))
        log_det = 2 * jnp.log(jnp.abs(jnp.diagonal(upper))).sum() + jnp.where(mask > 0, jnp.log(noise), 0.0).sum()
        log_det = log_det + mask.sum() * jnp.log(2 * jnp.pi)
        return FeaturesKernel(features, scale, noise * mask, jitter, log_det, orthogonal, upper, root)

    def whiten(self, values):
        scaled = self.root[:, None] * values
        along = self.orthogonal[: len(values)].T @ scaled
        # What the features do not explain. As a difference of squares single precision would lose it.
        below = jnp.zeros((len(self.scale), values.shape[1]), scaled.dtype)
        white = jnp.concatenate([scaled, below]) - self.orthogonal @ along
        return Whitened(white, jnp.sqrt(self.scale)[:, None] * solve_triangular(self.upper, along, lower=False))

    def at(self, features):
        half = solve_triangular(self.upper, jnp.sqrt(self.scale)[:, None] * features.T, lower=False, trans=1)
        return features.T, (half**2).sum(0)

    def weights(self, pull):
        return pull


def kernel_of(
    features: Float[Array, "n features"], scale: Float[Array, " features"], noise: Float[Array, "*n"], mask: Float[Array, " n"]
) -> AbstractKernel:
    """Return the kernel of the unmasked rows of a support, in the form that is faster for its shape.

    - `features`, `scale`, `noise`: F, the diagonal of S, and n.
    - `mask`: 1 for real rows. A masked row adds nothing to log det, to a residual or to a prediction.
    """
    points, count = features.shape
    form = FeaturesKernel if points > _POINTS_A_FEATURE * count else PointsKernel
    return form.of(features, scale, noise, mask)


def _jitter(trace: Float[Array, ""], mask: Float[Array, " n"]) -> Float[Array, ""]:
    """Return what is added to the diagonal of a kernel without noise, which has this `trace`."""
    return _relative(trace.dtype) * trace / jnp.maximum(mask.sum(), 1.0)


def _relative(dtype: jnp.dtype) -> float:
    return _JITTER * float(jnp.finfo(dtype).eps / jnp.finfo(jnp.float32).eps)
