"""The contract of an exact head: a prior of linear heads on given features, with a posterior that needs no iteration."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.distributions import StudentT

# Relative to the kernel's mean diagonal. Without this jitter the float32 Cholesky fails once the learned noise is small.
# In double precision the jitter shrinks with the precision.
_JITTER = 3e-5


def _jitter(dtype: jnp.dtype) -> float:
    return _JITTER * float(jnp.finfo(dtype).eps / jnp.finfo(jnp.float32).eps)


class AbstractExactHeadPosterior(eqx.Module):
    """What is believed about one head after its support, held in the space of the support."""

    @property
    @abstractmethod
    def log_evidence(self) -> Float[Array, "*batch"]:
        """Log evidence of the support, in nats, summed over its points and outputs."""

    @property
    @abstractmethod
    def log_shares(self) -> Float[Array, "*batch components"]:
        """Log posterior weights of the components that `predict` returns; the weights add up to 1."""

    @abstractmethod
    def predict(self, features: Float[Array, "n features"], log_noise: Float[Array, " n"]) -> StudentT:
        """Return Student-t predictives at query `features`, with components on a leading axis.

        `log_noise` is the log of each point's relative noise variance.
        """

    @abstractmethod
    def noise_entropy(self, log_noise: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the entropy of each target given the head's weights and sigma, in nats, averaged over the posterior of sigma.

        `log_noise` is the log of each point's relative noise variance.
        """

    @abstractmethod
    def sample_weights(self, key: PRNGKeyArray) -> Float[Array, "features outputs"]:
        """Draw the head's weights."""


def normal_entropy(variance: Float[Array, " n"], log_square: Float[Array, " outputs"]) -> Float[Array, " n"]:
    """Return the entropy of normals of variance sigma^2 `variance`, summed over outputs.

    `log_square` is E[log sigma^2] of each output.
    """
    each = 0.5 * (jnp.log(2 * jnp.pi * jnp.e) + jnp.log(variance))
    return log_square.size * each + 0.5 * log_square.sum()


class AbstractExactHead(eqx.Module):
    """The prior of a linear head: y ~ N(f w, sigma^2 n) with unknown w and sigma^2."""

    @abstractmethod
    def init(self, key: PRNGKeyArray, features: int, outputs: int, noise: float) -> PyTree[Any]:
        """Return the prior's parameters for `features` features and `outputs` outputs.

        `noise` is the start of the relative noise variance n.
        """

    @abstractmethod
    def condition(
        self,
        prior: PyTree[Any],
        features: Float[Array, "n features"],
        log_noise: Float[Array, " n"],
        y: Float[Array, "n outputs"],
        mask: Float[Array, " n"],
    ) -> AbstractExactHeadPosterior:
        """Return the posterior of a head given features and targets. Masked rows have no effect.

        - `prior`: the prior's parameters.
        - `features`: f of each row.
        - `log_noise`: log of each row's relative noise variance n.
        - `y`: targets.
        - `mask`: 1 for real rows, 0 for others.
        """


class Kernel(eqx.Module):
    """What all heads need of a support: its kernel F S F^T + n, factorised, in units of sigma^2.

    - `features`, `scale`: F, and the diagonal of S.
    - `cholesky`: lower factor of the kernel.
    - `noise`: n of each row.
    - `jitter`: number that was added to the diagonal.
    - `log_det`: log determinant of 2 pi times the kernel.
    """

    features: Float[Array, "*batch support features"]
    scale: Float[Array, "*batch features"]
    cholesky: Float[Array, "*batch support support"]
    noise: Float[Array, "*batch support"]
    jitter: Float[Array, "*batch"]
    log_det: Float[Array, "*batch"]

    @staticmethod
    def of(
        features: Float[Array, "n features"],
        scale: Float[Array, " features"],
        noise: Float[Array, "*n"],
        mask: Float[Array, " n"],
    ) -> Kernel:
        """Return the kernel of the unmasked rows.

        `features`, `scale` and `noise` are F, the diagonal of S, and n. A masked row becomes a row of the identity: it adds
        nothing to log det, to the residual or to a prediction.
        """
        features = features * mask[:, None]
        gram = (features * scale[None]) @ features.T
        jitter = _jitter(gram.dtype) * jnp.trace(gram) / jnp.maximum(mask.sum(), 1.0)
        noise = noise + jitter
        cholesky = jnp.linalg.cholesky(gram + jnp.diag(jnp.where(mask > 0, noise, 1.0)), symmetrize_input=False)
        log_det = 2 * jnp.log(jnp.diagonal(cholesky)).sum() + mask.sum() * jnp.log(2 * jnp.pi)
        return Kernel(features, scale, cholesky, noise * mask, jitter, log_det)

    def whiten(self, values: Float[Array, "n columns"]) -> Float[Array, "n columns"]:
        """Return L^-1 `values`, for the Cholesky factor L."""
        return solve_triangular(self.cholesky, values, lower=True)

    def at(self, features: Float[Array, "q features"]) -> tuple[Float[Array, "n q"], Float[Array, " q"]]:
        """Return the whitened covariance with query points at `features`, and the remaining variance of the function at
        each.
        """
        half = self.whiten((self.features * self.scale[None]) @ features.T)
        return half, jnp.maximum((features**2) @ self.scale - (half**2).sum(0), 0.0)

    def noisy_at(
        self, features: Float[Array, "q features"], noise: Float[Array, " q"]
    ) -> tuple[Float[Array, "n q"], Float[Array, " q"]]:
        """Return the same as `at` for query points at `features`, with their `noise` in the variance."""
        half, variance = self.at(features)
        return half, variance + noise + self.jitter

    def sample_weights(
        self,
        mean: Float[Array, "features outputs"],
        sigma: Float[Array, " outputs"],
        white: Float[Array, "n outputs"],
        key: PRNGKeyArray,
    ) -> Float[Array, "features outputs"]:
        """Draw weights given sigma, by Matheron's rule: a draw from the prior, moved to agree with the support.

        - `mean`: prior mean of the weights.
        - `sigma`: noise deviation of each output.
        - `white`: whitened targets.
        """
        weight_key, noise_key = jax.random.split(key)
        root = jnp.sqrt(self.scale)[:, None]
        drawn = mean + sigma[None] * root * jax.random.normal(weight_key, mean.shape)
        missed = sigma[None] * jnp.sqrt(self.noise)[:, None] * jax.random.normal(noise_key, white.shape)
        gap = white - self.whiten(self.features @ drawn + missed)
        pull = solve_triangular(self.cholesky, gap, lower=True, trans=1)
        return drawn + root**2 * (self.features.T @ pull)
