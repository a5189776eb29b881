"""The full Gauss-Newton matrix, held in whichever space is smaller: that of the weights, or that of the points."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from bmaml.curvature.base import AbstractCurvature, AbstractPrecision
from bmaml.curvature.outputs import output_function, whitened_jacobian

# Times the machine's epsilon, relative to each diagonal entry: enough for a Cholesky factorisation of a Gram matrix whose
# rows nearly coincide, and nothing to a masked row, whose entry is 0.
_JITTER = 10


class DensePrecision(AbstractPrecision):
    """H by its lower Cholesky factor over the flattened weights."""

    cholesky: Float[Array, "weights weights"]

    def logdet(self):
        return 2 * jnp.log(jnp.diagonal(self.cholesky)).sum()

    def solve(self, vector):
        flat, unravel = ravel_pytree(vector)
        return unravel(cho_solve((self.cholesky, True), flat))

    def spread(self, noise):
        """Return H^(-1/2) noise: not the Cholesky factor's, so that the low-rank form of the same H gives the same draw."""
        flat, unravel = ravel_pytree(noise)
        return unravel(cho_solve((self.cholesky, True), symmetric_root(self.cholesky @ self.cholesky.T) @ flat))


class LowRankPrecision(AbstractPrecision):
    """H = prior I + R^T R with fewer rows in R than weights, by the Cholesky factor of prior I + R R^T."""

    root: Float[Array, "rows weights"]
    cholesky: Float[Array, "rows rows"]
    prior: Float[Array, ""]

    def logdet(self):
        rows, weights = self.root.shape
        return (weights - rows) * jnp.log(self.prior) + 2 * jnp.log(jnp.diagonal(self.cholesky)).sum()

    def solve(self, vector):
        flat, unravel = ravel_pytree(vector)
        return unravel((flat - self.root.T @ cho_solve((self.cholesky, True), self.root @ flat)) / self.prior)

    def spread(self, noise):
        """Return H^(-1/2) noise = noise / sqrt(t) - R^T (sqrt(t) S (sqrt(t) + S))^-1 R noise, S = (t I + R R^T)^(1/2)."""
        flat, unravel = ravel_pytree(noise)
        inner, scale = self.cholesky @ self.cholesky.T, jnp.sqrt(self.prior)
        middle = jnp.linalg.cholesky(scale * (scale * symmetric_root(inner) + inner), symmetrize_input=False)
        return unravel(flat / scale - self.root.T @ cho_solve((middle, True), self.root @ flat))


@jax.custom_jvp
def symmetric_root(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the symmetric square root of a positive definite matrix.

    Its derivative is that of the root, not of eigenvectors, so that equal eigenvalues (masked rows) do no harm.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0.0))) @ vectors.T


@symmetric_root.defjvp
def _symmetric_root_jvp(primals, tangents):
    (matrix,), (change,) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    roots = jnp.sqrt(jnp.maximum(values, jnp.finfo(values.dtype).tiny))
    inside = (vectors.T @ change @ vectors) / (roots[:, None] + roots[None, :])
    return (vectors * roots) @ vectors.T, vectors @ inside @ vectors.T


def from_root(root: Float[Array, "rows weights"], prior: float | Array) -> DensePrecision | LowRankPrecision:
    """Return prior I + R^T R, factorised on its smaller side."""
    prior = jnp.asarray(prior, root.dtype)
    few = len(root) < root.shape[1]
    gram = root @ root.T if few else root.T @ root
    jitter = _JITTER * jnp.finfo(gram.dtype).eps * jnp.diagonal(gram)
    cholesky = jnp.linalg.cholesky(gram + jnp.diag(jitter + prior), symmetrize_input=False)
    return LowRankPrecision(root, cholesky, prior) if few else DensePrecision(cholesky)


class GaussNewton(AbstractCurvature):
    """The full Gauss-Newton matrix J^T L J + prior I, exact, with L the likelihood's curvature in the outputs.

    Equal to the Hessian where the outputs are linear in the weights. With fewer outputs (rows times outputs of a row) than
    weights it costs one factorisation in the space of the outputs. Schraudolph (2002); for Normal and Categorical outputs
    it is the Fisher matrix.
    """

    def check(self, model):
        pass

    def __call__(self, model, params: Any, data, prior):
        predictive, weights = model.predictive(params, data.x), model.weights(params)
        return from_root(whitened_jacobian(output_function(model, params), weights, predictive, data), prior)
