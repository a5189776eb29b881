"""What a policy climbs: three functions of one gradient, REINFORCE's, and of different curvature."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bmaml.data import Data
from bmaml.models.base import AbstractModel

Surrogate = Literal["sum", "ratio", "dice"]


def surrogate(model: AbstractModel, params: PyTree[Any], data: Data, kind: Surrogate) -> Float[Array, ""]:
    """Return the SUM over steps of the weights (the mask: advantages) times a function of the actions' log-probabilities.

    Time is the last axis of the weights, w_t. With l_t the log-probability of step t and M(x) = exp(x - stop_gradient(x)),
    which is 1 and whose derivative is x's,

    - `"sum"`: sum_t w_t l_t, the usual surrogate. Its gradient is REINFORCE's; its Hessian leaves out that other parameters
      would have gathered other trajectories, so that a meta-gradient through it is biased;
    - `"ratio"`: sum_t w_t M(l_t), the low-variance curvature of Rothfuss et al. (2019), equation 9. Unbiased in its second
      derivative where an action does not change what later ones are worth (bandits), and near that elsewhere;
    - `"dice"`: sum_t w_t (M(l_0 + ... + l_t) - M(l_0 + ... + l_(t-1))). Unbiased in every derivative, of more variance. With
      returns-to-go as weights it is DiCE (Foerster et al., 2018), with advantages that of Farquhar et al. (2019), equation 9.

    Unbiased: for weights whose mean given the past is the return-to-go less a function of the state alone.
    """
    each = model.predictive(params, data.x).log_prob(data.y)
    if kind == "sum":
        return (data.mask * each).sum()
    if kind == "ratio":
        return (data.mask * _magic(each)).sum()
    so_far = jnp.cumsum(each, -1)
    return (data.mask * (_magic(so_far) - _magic(so_far - each))).sum()


def _magic(x: Array) -> Array:
    return jnp.exp(x - jax.lax.stop_gradient(x))
