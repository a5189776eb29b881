"""A policy over continuous actions. A policy over discrete actions is a `CategoricalModel`."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from bmaml.distributions import Normal
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.models.base import AbstractModel
from bmaml.models.network import AbstractNetwork, check_network


@register("model/gaussian-policy")
class GaussianPolicy(AbstractModel):
    """Actions ~ N(network(observation), std^2) in each coordinate, with one parameter log std for each coordinate.

    The parameters are `{"weights": the network's, "log_std": (actions,)}`. As in the code of Finn et al. (2017),
    https://arxiv.org/abs/1703.03400, std does not depend on the observation, and it adapts with the weights.

    - `network`: gives the mean action.
    - `actions`: coordinates of an action.
    - `std`: start of the standard deviation, in action units.
    - `floor`: lower bound of the standard deviation.

    Raises: InputError for fewer than one action, or a `std` or `floor` that is not above 0.
    """

    network: AbstractNetwork
    actions: int = eqx.field(static=True)
    std: float = eqx.field(static=True, default=1.0)
    floor: float = eqx.field(static=True, default=1e-6)

    def __check_init__(self):
        check_network(self.network, "GaussianPolicy")
        if self.actions < 1 or not min(self.std, self.floor) > 0:
            raise InputError(
                f"{self.actions} actions of deviation {self.std} and floor {self.floor}: give at least 1 and numbers above 0."
            )

    def init(self, key):
        return {"weights": self.network.init(key), "log_std": jnp.full(self.actions, jnp.log(jnp.asarray(self.std)))}

    def predictive(self, params, x):
        loc = self.network.apply(params["weights"], x)
        scale = jnp.maximum(jnp.exp(params["log_std"]), self.floor)
        return Normal(loc, scale.reshape(*[1] * (loc.ndim - 1), -1))

    def weights(self, params):
        return params["weights"]

    def log_precision(self, params):
        return None
