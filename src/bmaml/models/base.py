"""The contract of a model p(y | x, params), and the one place that sums a log-likelihood."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.distributions import AbstractDistribution, Categorical, Normal, check_targets
from bmaml.errors import InputError, PairError, said
from bmaml.io.registry import register
from bmaml.models.network import AbstractNetwork, check_network

Scale = Literal["sum", "mean"]


class AbstractModel(eqx.Module):
    """A likelihood: it maps parameters and inputs to a distribution over targets."""

    @abstractmethod
    def init(self, key: PRNGKeyArray) -> PyTree[Any]:
        """Return fresh parameters."""

    @abstractmethod
    def predictive(self, params: PyTree[Any], x: Array) -> AbstractDistribution:
        """Return p(y | x, `params`) for a batch of inputs `x` of shape `(n, ...)`."""

    @abstractmethod
    def weights(self, params: PyTree[Any]) -> PyTree[Any]:
        """Return the part of `params` that a prior over weights covers: the network's weights."""

    @abstractmethod
    def log_precision(self, params: PyTree[Any]) -> Float[Array, ""] | None:
        """Return the log of the noise precision in `params`, or None if the model has no noise parameter."""


def replace_weights(model: AbstractModel, params: PyTree[Any], weights: PyTree[Any]) -> PyTree[Any]:
    """Return the parameters `params` of `model` with the network's weights replaced by `weights`."""
    return eqx.tree_at(model.weights, params, weights)


def log_likelihood(model: AbstractModel, params: PyTree[Any], data: Data, scale: Scale = "sum") -> Float[Array, ""]:
    """Return the log-likelihood of `data` under `model` with parameters `params`, in nats.

    `scale="sum"` adds the rows, each weighted by its mask. `scale="mean"` divides this sum by the sum of the mask.
    """
    each = model.predictive(params, data.x).log_prob(data.y)
    total = (each * data.mask).sum()
    return total if scale == "sum" else total / jnp.maximum(data.count, 1.0)


def squared_error(predicted: Array, data: Data) -> Float[Array, ""]:
    """Return the squared error of `predicted` (n, outputs) against the targets of `data`: the mean over unmasked rows and
    outputs.
    """
    check_targets(predicted.shape, data.y)
    each = ((predicted - data.y) ** 2).mean(-1)
    return (each * data.mask).sum() / jnp.maximum(data.count, 1.0)


def check_model(model: object, who: str) -> None:
    """Check that `model`, a part of `who`, is a model.

    Raises: PairError that says what to write instead.
    """
    if not isinstance(model, AbstractModel):
        name = type(model).__name__
        how = f"GaussianModel({name}(...))" if isinstance(model, AbstractNetwork) else "GaussianModel(MLP((1, 40, 1)))"
        raise PairError(f"{who} needs a model, p(y | x, parameters), and was given {said(model)}: give one such as {how}.")


@register("model/gaussian")
class GaussianModel(AbstractModel):
    """y ~ N(network(x), 1 / gamma) in each output, where gamma is a parameter.

    The parameters are `{"weights": the network's, "log_precision": log gamma}`, as in Kim et al. (2018),
    https://arxiv.org/abs/1806.03836.

    - `network`: gives the mean.
    - `precision`: start of gamma, in 1 / squared target units. The paper starts at 100.
    - `known`: if True, gamma stays at `precision` and is no parameter.

    Raises: InputError for a precision that is not above 0.
    """

    network: AbstractNetwork
    precision: float = eqx.field(static=True, default=100.0)
    known: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_network(self.network, "GaussianModel")
        if not self.precision > 0:
            raise InputError(f"GaussianModel's precision is {self.precision}: give a number above 0.")

    def init(self, key):
        weights = {"weights": self.network.init(key)}
        return weights if self.known else weights | {"log_precision": jnp.log(jnp.asarray(self.precision))}

    def predictive(self, params, x):
        loc = self.network.apply(params["weights"], x)
        log_precision = jnp.log(jnp.asarray(self.precision, loc.dtype)) if self.known else params["log_precision"]
        return Normal(loc, jnp.exp(-0.5 * log_precision)[None, None])

    def weights(self, params):
        return params["weights"]

    def log_precision(self, params):
        return None if self.known else params["log_precision"]


@register("model/categorical")
class CategoricalModel(AbstractModel):
    """y ~ Categorical(softmax(network(x))), where `network` has one output for each class."""

    network: AbstractNetwork

    def __check_init__(self):
        check_network(self.network, "CategoricalModel")

    def init(self, key):
        return {"weights": self.network.init(key)}

    def predictive(self, params, x):
        return Categorical(self.network.apply(params["weights"], x))

    def weights(self, params):
        return params["weights"]

    def log_precision(self, params):
        return None
