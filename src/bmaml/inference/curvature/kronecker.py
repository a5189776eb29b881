"""The Gauss-Newton matrix as one Kronecker product for each layer (K-FAC), with the prior added exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import custom_linear_solve, stop_gradient
from jaxtyping import Array, Float

from bmaml.inference.curvature.base import AbstractCurvature, AbstractPrecision, solved_variance
from bmaml.inference.curvature.layers import layered
from bmaml.inference.curvature.outputs import output_function, output_root
from bmaml.io.registry import register

# The sizes differ from layer to layer, so no name can stand for them.
Factors = tuple[Float[Array, "_ _"], Float[Array, "_ _"]]


class KroneckerPrecision(AbstractPrecision):
    """H = block diagonal over layers of A (x) G + prior I, for weights and biases stacked as an (inputs + 1, outputs) matrix.

    All methods use the eigenvalues of A and G (the `factors`), so `prior` is added exactly and not split between the factors.
    """

    factors: list[Factors]
    prior: Float[Array, ""]

    def logdet(self):
        # Eigenvectors stay fixed here: the first derivative of an eigenvalue is u^T dA u, and log det treats equal eigenvalues
        # alike.
        sides = [(_values(a), _values(g)) for a, g in self.factors]
        return jnp.asarray(sum(jnp.log(jnp.outer(a, g) + self.prior).sum() for a, g in sides))

    def solve(self, vector):
        return [self._solve(f, layer) for f, layer in zip(self.factors, vector, strict=True)]

    def _solve(self, factors: Factors, layer):
        (a, g), prior = factors, self.prior

        def invert(_, rhs):
            (la, ua), (lg, ug) = jnp.linalg.eigh(a), jnp.linalg.eigh(g)
            return ua @ ((ua.T @ rhs @ ug) / (jnp.maximum(jnp.outer(la, lg), 0.0) + prior)) @ ug.T

        return _layer(custom_linear_solve(lambda v: a @ v @ g + prior * v, _matrix(layer), invert, symmetric=True))

    def variance(self, like, rows):
        return solved_variance(self, like, rows)

    def inverse_sqrt(self, noise):
        pairs = zip(self.factors, noise, strict=True)
        return [_layer(_inverse_root(a, g, self.prior, _matrix(layer))) for (a, g), layer in pairs]


def _matrix(layer: dict[str, Array]) -> Float[Array, "i o"]:
    return jnp.concatenate([layer["weight"], layer["bias"][None]])


def _layer(matrix: Float[Array, "i o"]) -> dict[str, Array]:
    return {"weight": matrix[:-1], "bias": matrix[-1]}


def _values(matrix: Float[Array, "n n"]) -> Float[Array, " n"]:
    vectors = jnp.linalg.eigh(stop_gradient(matrix))[1]
    return jnp.maximum(jnp.einsum("ji,jk,ki->i", vectors, matrix, vectors), 0.0)


@jax.custom_jvp
def _inverse_root(a: Array, g: Array, prior: Array, z: Array) -> Array:
    """Return (A (x) G + prior I)^(-1/2) z, with z and the result as matrices."""
    (la, ua), (lg, ug) = jnp.linalg.eigh(a), jnp.linalg.eigh(g)
    return ua @ ((ua.T @ z @ ug) / jnp.sqrt(jnp.maximum(jnp.outer(la, lg), 0.0) + prior)) @ ug.T


@_inverse_root.defjvp
def _inverse_root_jvp(primals, tangents):
    """Divided differences of f(v) = v^(-1/2) are -1 / (s s' (s + s')) with s = sqrt(v). They are smooth where
    eigenvalues coincide.
    """
    (a, g, prior, z), (da, dg, dprior, dz) = primals, tangents
    (la, ua), (lg, ug) = jnp.linalg.eigh(a), jnp.linalg.eigh(g)
    s, x = jnp.sqrt(jnp.maximum(jnp.outer(la, lg), 0.0) + prior), ua.T @ z @ ug
    left, right = s[:, None, :], s[None, :, :]  # i, i', j
    of_a = jnp.einsum("ik,ikj,j,kj->ij", ua.T @ da @ ua, 1 / (left * right * (left + right)), lg, x)
    left, right = s[:, :, None], s[:, None, :]  # i, j, j'
    of_g = jnp.einsum("jk,ijk,i,ik->ij", ug.T @ dg @ ug, 1 / (left * right * (left + right)), la, x)
    change = (ua.T @ dz @ ug) / s - of_a - of_g - 0.5 * dprior * x / s**3
    return ua @ (x / s) @ ug.T, ua @ change @ ug.T


@register("curvature/kronecker")
class Kronecker(AbstractCurvature):
    """For each layer, the Gauss-Newton matrix as (sum of a a^T) (x) (sum of g g^T) / points, with prior I added exactly.

    a is the layer's inputs with a 1 for the bias. g is the whitened derivatives of the outputs in the layer's pre-activations.
    The form is exact within a layer for one point. It is exact for any number of points if g does not vary over them (one layer
    with Normal outputs). It ignores correlations between layers. The network must be an MLP. From Martens and Grosse (2015),
    https://arxiv.org/abs/1503.05671; for the posterior, Ritter et al. (2018), https://openreview.net/forum?id=Skdvd2xAZ.
    """

    def check(self, model):
        layered(model, "Kronecker")

    def __call__(self, model, params: Any, data, prior):
        network, weights, outputs = layered(model, "Kronecker"), model.weights(params), output_function(model, params)
        roots = jnp.swapaxes(output_root(model.predictive(params, data.x)), 1, 2)

        def of_biases(biases, row):
            moved = [{**layer, "bias": bias} for layer, bias in zip(weights, biases, strict=True)]
            return outputs(moved, row[None])[0]

        # The derivative in a bias equals the derivative in the pre-activation to which the bias is added.
        slopes = jax.vmap(jax.jacrev(of_biases), (None, 0))([layer["bias"] for layer in weights], data.x)
        count = jnp.where(data.count > 0, data.count, 1.0)
        factors = []
        for given, slope in zip(network.inputs(weights, data.x), slopes, strict=True):
            a = jnp.concatenate([given, jnp.ones_like(given[:, :1])], 1)
            g = roots @ slope
            left = jnp.einsum("n,ni,nj->ij", data.mask, a, a)
            factors.append((left, jnp.einsum("n,nci,ncj->ij", data.mask, g, g) / count))
        return KroneckerPrecision(factors, jnp.asarray(prior, roots.dtype))
