"""The Gauss-Newton matrix of the last layer alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bmaml.inference.curvature.base import AbstractCurvature, AbstractPrecision
from bmaml.inference.curvature.full import from_root
from bmaml.inference.curvature.layers import layered
from bmaml.inference.curvature.outputs import output_function, whitened_jacobian
from bmaml.io.registry import register


class LastLayerPrecision(AbstractPrecision):
    """H of the `last` layer's weights. The weights of the other layers count as known, so their rows of H^-1 are 0."""

    last: AbstractPrecision

    def logdet(self):
        return self.last.logdet()

    def solve(self, vector):
        return [*jax.tree.map(jnp.zeros_like, vector[:-1]), self.last.solve(vector[-1])]

    def variance(self, like, rows):
        # The last layer's weights are the last of the flattened ones.
        return self.last.variance(like[-1], rows[..., -ravel_pytree(like[-1])[0].size :])

    def inverse_sqrt(self, noise):
        return [*jax.tree.map(jnp.zeros_like, noise[:-1]), self.last.inverse_sqrt(noise[-1])]


@register("curvature/last-layer")
class LastLayer(AbstractCurvature):
    """The full Gauss-Newton matrix + prior of an MLP's last layer, weights and biases: neural linear regression.

    It equals the Hessian of that layer, because the outputs are linear in its weights.
    """

    def check(self, model):
        layered(model, "LastLayer")

    def __call__(self, model, params: Any, data, prior):
        layered(model, "LastLayer")
        weights, outputs = model.weights(params), output_function(model, params)

        def of_last(last, x):
            return outputs([*weights[:-1], last], x)

        root = whitened_jacobian(of_last, weights[-1], model.predictive(params, data.x), data)
        return LastLayerPrecision(from_root(root, prior))
