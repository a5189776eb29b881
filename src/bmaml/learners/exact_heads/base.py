"""The contract of an exact head: a prior of linear heads on given features, with a posterior that needs no iteration."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.distributions import StudentT


class AbstractExactHeadPosterior(eqx.Module):
    """What is believed about one head after its support."""

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
    def masses(self, prior: PyTree[Any]) -> tuple[Array, ...]:
        """Return the leaves of `prior` that are unnormalised log masses, along their last axes, of what it mixes."""

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
