"""The contract of a curvature, and of the positive definite matrix that it gives."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.models.base import AbstractModel

Weights = PyTree[Any]


class IndefiniteError(InputError):
    """A curvature is not positive definite (or not finite), so that it stands for no Gaussian."""


class AbstractPrecision(eqx.Module):
    """A positive definite matrix H over a model's weights, the precision of a Gaussian N(0, H^-1) about them.

    Vectors are pytrees shaped like the weights. All methods are differentiable once in H, also where eigenvalues coincide.
    """

    @abstractmethod
    def logdet(self) -> Float[Array, ""]:
        """Return log det H, in nats; not a number where H is not positive definite."""

    @abstractmethod
    def solve(self, vector: Weights) -> Weights:
        """Return H^-1 times a vector."""

    @abstractmethod
    def inverse_sqrt(self, noise: Weights) -> Weights:
        """Return H^(-1/2) times a vector: the symmetric root, which the data's order and padding do not change."""

    @abstractmethod
    def variance(self, like: Weights, rows: Float[Array, "*batch weights"]) -> Float[Array, "*batch"]:
        """Return r^T H^-1 r for rows r over flattened weights shaped like `like`: the variance of outputs of that Jacobian."""

    def sample(self, like: Weights, *, key: PRNGKeyArray) -> Weights:
        """Return a draw from N(0, H^-1) in the shape of the weights `like`."""
        flat, unravel = ravel_pytree(like)
        return self.inverse_sqrt(unravel(jax.random.normal(key, flat.shape, flat.dtype)))


def solved_variance(
    precision: AbstractPrecision, like: Weights, rows: Float[Array, "*batch weights"]
) -> Float[Array, "*batch"]:
    """Return what `AbstractPrecision.variance` is, as the product of a row and H^-1 times it."""
    unravel = ravel_pytree(like)[1]

    def one(row: Float[Array, " weights"]) -> Float[Array, ""]:
        return jnp.vdot(row, ravel_pytree(precision.solve(unravel(row)))[0])

    return jax.vmap(one)(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:-1])


class AbstractCurvature(eqx.Module):
    """Says how the second derivative of a task's log-likelihood is had."""

    @abstractmethod
    def check(self, model: AbstractModel) -> None:
        """Raise PairError ("X needs Y because Z; use W") where the model does not fit."""

    @abstractmethod
    def __call__(self, model: AbstractModel, params: PyTree[Any], data: Data, prior: float) -> AbstractPrecision:
        """Return H = curvature of minus the log-likelihood (SUM over unmasked rows, nats) + `prior` times the identity.

        It is about the network's weights, at `params`; the noise precision enters as it is there. Row weights in the mask
        must not be negative.
        """


def require_definite(precision: AbstractPrecision) -> None:
    """Refuse curvatures (one, or stacked on a leading axis) that are not positive definite, where their numbers are known.

    Inside a compiled function they are not: there a log det that is not a number goes on into the loss, and the training
    loop's guard skips, counts and names the step.
    Raises: IndefiniteError.
    """
    stacked = [leaf for leaf in jax.tree.leaves(precision) if isinstance(leaf, jax.Array)]
    if any(isinstance(leaf, Tracer) for leaf in stacked):
        return
    logdets = jax.vmap(lambda p: p.logdet())(precision)
    bad = [i for i, value in enumerate(logdets) if not jnp.isfinite(value)]
    if bad:
        raise IndefiniteError(
            f"the curvature at adapted particle {bad[0]} is not positive definite or not finite, so it has no Gaussian: use "
            "GaussNewton in place of ExactHessian, a larger prior precision, or more inner steps at a lower rate."
        )
