"""The objective that a policy climbs: three functions with REINFORCE's gradient and different curvature."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bmaml.data import Data
from bmaml.models.base import AbstractModel

Surrogate = Literal["sum", "ratio", "dice"]


def surrogate(model: AbstractModel, params: PyTree[Any], data: Data, kind: Surrogate) -> Float[Array, ""]:
    """Return a sum over steps of weights times a function of the actions' log-probabilities.

    - `model`: the policy.
    - `params`: its parameters.
    - `data`: observations, actions, and the weights w_t as mask. Time is the last axis of the mask.
    - `kind`: one of the three functions below.

    Let l_t be the log-probability of step t, and M(x) = exp(x - stop_gradient(x)). M(x) is 1, and its derivative is that of x.

    - `"sum"`: sum_t w_t l_t, the usual surrogate. Its gradient is REINFORCE's. Its Hessian ignores that other parameters would
      have gathered other trajectories, so a meta-gradient through it is biased.
    - `"ratio"`: sum_t w_t M(l_t), the low-variance curvature of Rothfuss et al. (2019), equation 9,
      https://arxiv.org/abs/1810.06784. Its second derivative is unbiased if an action does not change the value of later
      actions (bandits), and nearly unbiased elsewhere.
    - `"dice"`: sum_t w_t (M(l_0 + ... + l_t) - M(l_0 + ... + l_(t-1))). It is unbiased in every derivative and has more
      variance. With returns-to-go as weights it is DiCE (Foerster et al., 2018), https://arxiv.org/abs/1802.05098. With
      advantages as weights it is that of Farquhar et al. (2019), equation 9, https://arxiv.org/abs/1909.10549.

    "Unbiased" assumes that the mean of a weight, given the past, is the return-to-go minus a function of the state alone.
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
