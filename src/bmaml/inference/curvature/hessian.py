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
    """The second derivative of minus the log-likelihood + prior I, dense, checked by its Cholesky factorisation.

    Away from a mode, and at points that a few steps lead to, it is often not positive definite. Then nothing here is a number:
    adapting outside a compiled function raises IndefiniteError, and in training the guard skips, counts and names the step
    and stops the run past the plan's limit. Costs one Hessian and its cubic factorisation in the number of weights.
    """

    def check(self, model):
        pass

    def __call__(self, model, params: Any, data, prior):
        flat, unravel = ravel_pytree(model.weights(params))

        def loss(v):
            return -log_likelihood(model, replace_weights(model, params, unravel(v)), data)

        return DensePrecision(jnp.linalg.cholesky(jax.hessian(loss)(flat) + prior * jnp.eye(len(flat))))
