"""The diagonal of the Gauss-Newton matrix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from bmaml.inference.curvature.base import AbstractCurvature, AbstractPrecision, solved_variance
from bmaml.inference.curvature.outputs import output_function, whitened_jacobian
from bmaml.io.registry import register


class DiagonalPrecision(AbstractPrecision):
    """A diagonal H: `entries` is a pytree of positive numbers in the shape of the weights."""

    entries: PyTree[Any]

    def logdet(self):
        return jnp.asarray(sum(jnp.log(leaf).sum() for leaf in jax.tree.leaves(self.entries)))

    def solve(self, vector):
        return jax.tree.map(jnp.divide, vector, self.entries)

    def variance(self, like, rows):
        return solved_variance(self, like, rows)

    def inverse_sqrt(self, noise):
        return jax.tree.map(lambda z, entry: z / jnp.sqrt(entry), noise, self.entries)


@register("curvature/diagonal")
class Diagonal(AbstractCurvature):
    """The exact diagonal of the Gauss-Newton matrix + prior, without correlations between weights.

    Its log det is never below that of the full matrix (Hadamard). The two are equal if no two weights affect the same output.
    """

    def check(self, model):
        pass

    def __call__(self, model, params: Any, data, prior):
        weights = model.weights(params)
        root = whitened_jacobian(output_function(model, params), weights, model.predictive(params, data.x), data)
        return DiagonalPrecision(ravel_pytree(weights)[1]((root**2).sum(0) + prior))
