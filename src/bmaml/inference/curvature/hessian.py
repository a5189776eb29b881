"""The exact Hessian, which need not be positive definite."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bmaml.inference.curvature.base import AbstractCurvature
from bmaml.inference.curvature.full import DensePrecision
from bmaml.io.registry import register
from bmaml.models.base import log_likelihood, replace_weights


@register("curvature/exact-hessian")
class ExactHessian(AbstractCurvature):
    """The second derivative of minus the log-likelihood, + prior I. It is dense, and its Cholesky factorisation checks it.

    Away from a mode, and at points that a few steps lead to, this matrix is often not positive definite. Its numbers are then
    NaN. Adaptation outside a compiled function raises IndefiniteError. In training, the guard skips, counts and names the step,
    and stops the run past the plan's limit. The cost is one Hessian and a factorisation that is cubic in the number of weights.
    """

    def check(self, model):
        pass

    def __call__(self, model, params: Any, data, prior):
        flat, unravel = ravel_pytree(model.weights(params))

        def loss(v):
            return -log_likelihood(model, replace_weights(model, params, unravel(v)), data)

        return DensePrecision(jnp.linalg.cholesky(jax.hessian(loss)(flat) + prior * jnp.eye(len(flat))))
