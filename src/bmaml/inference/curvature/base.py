"""The contract of a curvature, and of the positive definite matrix that it returns."""

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
    """A curvature is not positive definite or not finite, so it defines no Gaussian."""


class AbstractPrecision(eqx.Module):
    """A positive definite matrix H over a model's weights: the precision of a Gaussian N(0, H^-1) about them.

    Vectors are pytrees in the shape of the weights. All methods are differentiable once in H, even if eigenvalues coincide.
    """

    @abstractmethod
    def logdet(self) -> Float[Array, ""]:
        """Return log det H, in nats. It is NaN if H is not positive definite."""

    @abstractmethod
    def solve(self, vector: Weights) -> Weights:
        """Return H^-1 times `vector`."""

    @abstractmethod
    def inverse_sqrt(self, noise: Weights) -> Weights:
        """Return H^(-1/2) times the vector `noise`. This symmetric root does not depend on the data's order and padding."""

    @abstractmethod
    def variance(self, like: Weights, rows: Float[Array, "*batch weights"]) -> Float[Array, "*batch"]:
        """Return r^T H^-1 r for rows r over flattened weights: the variance of outputs that have these rows as Jacobian.

        `like` is a pytree in the shape of the weights, and `rows` holds the rows.
        """

    def sample(self, like: Weights, *, key: PRNGKeyArray) -> Weights:
        """Return a draw from N(0, H^-1) in the shape of the weights `like`."""
        flat, unravel = ravel_pytree(like)
        return self.inverse_sqrt(unravel(jax.random.normal(key, flat.shape, flat.dtype)))


def solved_variance(
    precision: AbstractPrecision, like: Weights, rows: Float[Array, "*batch weights"]
) -> Float[Array, "*batch"]:
    """Return `AbstractPrecision.variance` as the product of each row and H^-1 times the row.

    The arguments are `precision` (H), `like` and `rows`, as there.
    """
    unravel = ravel_pytree(like)[1]

    def row_variance(row: Float[Array, " weights"]) -> Float[Array, ""]:
        return jnp.vdot(row, ravel_pytree(precision.solve(unravel(row)))[0])

    return jax.vmap(row_variance)(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:-1])


class AbstractCurvature(eqx.Module):
    """Says how the second derivative of a task's log-likelihood is computed."""

    @abstractmethod
    def check(self, model: AbstractModel) -> None:
        """Raise PairError ("X needs Y because Z; use W") if `model` does not fit."""

    @abstractmethod
    def __call__(self, model: AbstractModel, params: PyTree[Any], data: Data, prior: float) -> AbstractPrecision:
        """Return H = curvature of minus the log-likelihood (SUM over unmasked rows, nats) + `prior` times the identity.

        It is about the network's weights, at `params`; the noise precision enters as it is there. Row weights in the mask
        must not be negative.
        """


def require_definite(precision: AbstractPrecision) -> None:
    """Refuse a `precision` (one, or several on a leading axis) that is not positive definite.

    This needs concrete numbers. In a compiled function the numbers are unknown, so a NaN log det passes on into the loss, and
    the training loop's guard skips, counts and names the step.
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
