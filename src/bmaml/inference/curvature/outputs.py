"""A model's outputs as a function of its weights, and the curvature of the likelihood in those outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from bmaml.data import Data
from bmaml.distributions import AbstractDistribution, Categorical, Normal
from bmaml.errors import PairError
from bmaml.models.base import AbstractModel, replace_weights

Outputs = Float[Array, "n outputs"]


def natural(predictive: AbstractDistribution) -> Outputs:
    """Return the network outputs behind `predictive`: the mean of a Normal, the logits of a Categorical.

    Raises: PairError for another distribution, because its Gauss-Newton matrix is not known here.
    """
    return _natural(predictive)


def _natural(predictive):
    # Its type is not said: where a leaf is replaced, a predictive holds something else in place of its arrays.
    if isinstance(predictive, Normal):
        return predictive.loc
    if isinstance(predictive, Categorical):
        return predictive.logits
    raise PairError(
        f"curvature needs Normal or Categorical outputs because it is written for these, not for {type(predictive).__name__}; "
        "use GaussianModel or CategoricalModel."
    )


def with_natural(predictive: AbstractDistribution, outputs: Outputs) -> AbstractDistribution:
    """Return the distribution `predictive` with its network outputs replaced by `outputs`."""
    return eqx.tree_at(_natural, predictive, outputs)


def output_function(model: AbstractModel, params: PyTree[Any]) -> Callable[[PyTree[Any], Array], Outputs]:
    """Return (weights, x) -> outputs of `model`, with everything but the weights as in `params`."""
    return lambda weights, x: natural(model.predictive(replace_weights(model, params, weights), x))


def output_root(predictive: AbstractDistribution) -> Float[Array, "n outputs outputs"]:
    """Return S with S S^T = minus the second derivative of each row's log-likelihood in the outputs of `predictive`.

    Normal: 1 / scale on the diagonal. Categorical: S = diag(sqrt p) - p sqrt(p)^T, for which S S^T = diag(p) - p p^T.
    """
    eye = jnp.eye(natural(predictive).shape[-1])[None]
    if isinstance(predictive, Normal):
        return jnp.broadcast_to(1 / predictive.scale, predictive.loc.shape)[..., None] * eye
    p = predictive.mean
    root = jnp.exp(0.5 * jax.nn.log_softmax(natural(predictive)))
    return root[..., None] * eye - p[..., :, None] * root[..., None, :]


def jacobian(function: Callable[[PyTree[Any], Array], Outputs], weights: PyTree[Any], x: Array):
    """Return the derivative of every row's outputs, `function(weights, x)`, in the flattened weights: (n, outputs, weights)."""
    flat, unravel = ravel_pytree(weights)
    return jax.vmap(jax.jacrev(lambda v, row: function(unravel(v), row[None])[0]), (None, 0))(flat, x)


def whitened_jacobian(function: Callable[[PyTree[Any], Array], Outputs], weights, predictive, data: Data):
    """Return R of shape (n * outputs, weights), where R^T R is the Gauss-Newton matrix. Masked rows of `data` become zeros.

    `function(weights, x)` gives the outputs, and `predictive` is the distribution at the data's inputs.
    """
    each = jacobian(function, weights, data.x)
    scaled = jnp.swapaxes(output_root(predictive), 1, 2) @ each
    return (jnp.sqrt(data.mask)[:, None, None] * scaled).reshape(-1, each.shape[-1])
