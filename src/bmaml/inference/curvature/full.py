"""The full Gauss-Newton matrix, held in the smaller of two spaces: that of the weights or that of the points."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from bmaml.inference.curvature.base import AbstractCurvature, AbstractPrecision, solved_variance
from bmaml.inference.curvature.outputs import output_function, whitened_jacobian
from bmaml.io.registry import register


class DensePrecision(AbstractPrecision):
    """H by `cholesky`, its lower Cholesky factor over the flattened weights."""

    cholesky: Float[Array, "weights weights"]

    def logdet(self):
        return 2 * jnp.log(jnp.diagonal(self.cholesky)).sum()

    def solve(self, vector):
        flat, unravel = ravel_pytree(vector)
        return unravel(cho_solve((self.cholesky, True), flat))

    def variance(self, like, rows):
        return solved_variance(self, like, rows)

    def inverse_sqrt(self, noise):
        """Return H^(-1/2) noise by the symmetric root, so that the low-rank form of the same H gives the same draw."""
        flat, unravel = ravel_pytree(noise)
        return unravel(cho_solve((self.cholesky, True), symmetric_root(self.cholesky @ self.cholesky.T) @ flat))


class LowRankPrecision(AbstractPrecision):
    """H = prior I + R^T R, where R has fewer rows than there are weights.

    - `root`: R.
    - `cholesky`: lower Cholesky factor of prior I + R R^T.
    - `basis`, `rest`: the two parts of orthonormal columns Q with Q U = [R^T; sqrt(prior) I], where U is the transposed factor.
    - `prior`: precision of the prior.
    """

    root: Float[Array, "rows weights"]
    cholesky: Float[Array, "rows rows"]
    basis: Float[Array, "weights rows"]
    rest: Float[Array, "rows rows"]
    prior: Float[Array, ""]

    def logdet(self):
        rows, weights = self.root.shape
        return (weights - rows) * jnp.log(self.prior) + 2 * jnp.log(jnp.diagonal(self.cholesky)).sum()

    def solve(self, vector):
        flat, unravel = ravel_pytree(vector)
        return unravel((flat - self.basis @ (self.basis.T @ flat)) / self.prior)

    def variance(self, like, rows):
        # A sum of squares, because the difference of r^T r and the data's part cancels if the prior is weak.
        inside = rows @ self.basis
        outside = ((rows - inside @ self.basis.T) ** 2).sum(-1)
        return (outside + ((inside @ self.rest.T) ** 2).sum(-1)) / self.prior

    def inverse_sqrt(self, noise):
        """Return H^(-1/2) noise = noise / sqrt(t) - R^T (sqrt(t) S (sqrt(t) + S))^-1 R noise, with S = (t I + R R^T)^(1/2)."""
        flat, unravel = ravel_pytree(noise)
        inner, scale = self.cholesky @ self.cholesky.T, jnp.sqrt(self.prior)
        middle = jnp.linalg.cholesky(scale * (scale * symmetric_root(inner) + inner), symmetrize_input=False)
        return unravel(flat / scale - self.root.T @ cho_solve((middle, True), self.root @ flat))


@jax.custom_jvp
def symmetric_root(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the symmetric square root of a positive definite `matrix`.

    The derivative is that of the root, not that of eigenvectors, so equal eigenvalues (from masked rows) do no harm.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]) @ vectors.T


@symmetric_root.defjvp
def _symmetric_root_jvp(primals, tangents):
    (matrix,), (change,) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    roots = jnp.sqrt(jnp.maximum(values, jnp.finfo(values.dtype).tiny))
    inside = (vectors.T @ change @ vectors) / (roots[:, None] + roots[None, :])
    return (vectors * roots[None]) @ vectors.T, vectors @ inside @ vectors.T


def from_root(root: Float[Array, "rows weights"], prior: float | Array) -> DensePrecision | LowRankPrecision:
    """Return `prior` I + R^T R with R = `root`, factorised on its smaller side.

    The factor comes from orthonormal columns, not from a Gram matrix. A Gram matrix squares the condition number, and single
    precision then loses a weak prior.
    """
    prior = jnp.asarray(prior, root.dtype)
    few = len(root) < root.shape[1]
    tall = root.T if few else root
    columns, factor = jnp.linalg.qr(jnp.concatenate([tall, jnp.sqrt(prior) * jnp.eye(tall.shape[1], dtype=root.dtype)]))
    sign = jnp.where(jnp.diagonal(factor) < 0, -1.0, 1.0).astype(root.dtype)
    columns, cholesky = columns * sign[None], (factor * sign[:, None]).T
    if not few:
        return DensePrecision(cholesky)
    return LowRankPrecision(root, cholesky, columns[: len(tall)], columns[len(tall) :], prior)


@register("curvature/gauss-newton")
class GaussNewton(AbstractCurvature):
    """The full Gauss-Newton matrix J^T L J + prior I, exact, where L is the likelihood's curvature in the outputs.

    It equals the Hessian if the outputs are linear in the weights. With fewer outputs (rows times outputs of a row) than
    weights it costs one factorisation in the space of the outputs. For Normal and Categorical outputs it is the Fisher matrix.
    From Schraudolph (2002), https://doi.org/10.1162/08997660260028683.
    """

    def check(self, model):
        pass

    def __call__(self, model, params: Any, data, prior):
        predictive, weights = model.predictive(params, data.x), model.weights(params)
        return from_root(whitened_jacobian(output_function(model, params), weights, predictive, data), prior)
