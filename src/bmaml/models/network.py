"""The contract of a network, and the ways to make one: MLP, plain functions, Equinox, Flax."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.errors import InputError
from bmaml.io.registry import register

Params = PyTree[Any]
Activation = Literal["relu", "silu", "tanh", "gelu", "sin"]
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "sin": jnp.sin,
}


class AbstractNetwork(eqx.Module):
    """Any function of inputs with a pytree of parameters. The object itself holds no arrays."""

    @abstractmethod
    def init(self, key: PRNGKeyArray) -> Params:
        """Return fresh parameters."""

    @abstractmethod
    def apply(self, params: Params, x: Array) -> Float[Array, "n outputs"]:
        """Return the outputs for a batch of inputs `x` of shape `(n, ...)` with parameters `params`. No row may depend on
        another row.
        """


@register("network/mlp")
class MLP(AbstractNetwork):
    """Fully connected layers.

    - `sizes`: widths of all layers, inputs first and outputs last.
    - `activation`: name of the activation.
    - `initial`: `"glorot"` starts weights Glorot-uniform and biases N(0, 0.01^2), as in the code of Kim et al. (2018).
      `"lecun"` starts weights truncated-normal with deviation 1/sqrt(fan in) and biases at 0.
    - `input_scale`: multiplies the inputs.
    - `head_scale`: multiplies the start of the last layer.

    Raises: InputError for fewer than two sizes, an unknown activation or start, or a negative `head_scale`.
    """

    sizes: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    activation: Activation = eqx.field(static=True, default="relu")
    initial: Literal["glorot", "lecun"] = eqx.field(static=True, default="glorot")
    input_scale: float = eqx.field(static=True, default=1.0)
    head_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if not self.head_scale >= 0:
            raise InputError(f"MLP's spread is {self.head_scale}: give a number of at least 0.")
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise InputError(f"MLP sizes are {self.sizes}: give inputs, hidden widths and outputs, such as (1, 40, 1).")
        if self.activation not in _ACTIVATIONS:
            raise InputError(f"unknown activation {self.activation!r}: use one of {', '.join(_ACTIVATIONS)}.")
        if self.initial not in ("glorot", "lecun"):
            raise InputError(f"unknown start {self.initial!r} of the weights: use 'glorot' or 'lecun'.")

    def init(self, key):
        keys = jax.random.split(key, len(self.sizes) - 1)
        layers = [self._layer(k, i, o) for k, i, o in zip(keys, self.sizes[:-1], self.sizes[1:], strict=True)]
        return [*layers[:-1], jax.tree.map(lambda leaf: self.head_scale * leaf, layers[-1])]

    def _layer(self, key: PRNGKeyArray, inputs: int, outputs: int) -> dict[str, Array]:
        weight_key, bias_key = jax.random.split(key)
        if self.initial == "lecun":
            weight = jax.nn.initializers.lecun_normal()(weight_key, (inputs, outputs))
            return {"weight": weight, "bias": jnp.zeros(outputs)}
        weight = jax.nn.initializers.glorot_uniform()(weight_key, (inputs, outputs))
        return {"weight": weight, "bias": 0.01 * jax.random.normal(bias_key, (outputs,))}

    def apply(self, params, x):
        return self.inputs(params, x)[-1] @ params[-1]["weight"] + params[-1]["bias"]

    def inputs(self, params: Params, x: Array) -> list[Float[Array, "*batch n _"]]:
        """Return the inputs of each layer for network inputs `x`, the first layer's inputs first."""
        given = [x * self.input_scale if self.input_scale != 1.0 else x]
        for layer in params[:-1]:
            given.append(self.activate(given[-1] @ layer["weight"] + layer["bias"]))
        return given

    def activate(self, h: Array) -> Array:
        """Return the activation of the pre-activations `h`."""
        return _ACTIVATIONS[self.activation](h)


@register("network/functional")
class Functional(AbstractNetwork):
    """A network from two plain functions: `init_fn(key) -> params` and `apply_fn(params, x) -> outputs`."""

    init_fn: Callable[[PRNGKeyArray], Params] = eqx.field(static=True)
    apply_fn: Callable[[Params, Array], Array] = eqx.field(static=True)

    def init(self, key):
        return self.init_fn(key)

    def apply(self, params, x):
        return self.apply_fn(params, x)


@register("network/equinox")
class FromEquinox(AbstractNetwork):
    """A network from a function that builds an Equinox module of one example: `build(key) -> module`, `module(x_i)`."""

    build: Callable[[PRNGKeyArray], Callable[..., Array]] = eqx.field(static=True)

    def init(self, key):
        return eqx.filter(self.build(key), eqx.is_inexact_array)

    def apply(self, params, x):
        # The static half is rebuilt abstractly (no arrays are made), so params alone carry the numbers.
        skeleton = eqx.filter_eval_shape(self.build, jax.random.key(0))
        static = eqx.filter(skeleton, lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))
        return jax.vmap(eqx.combine(params, static))(x)


@register("network/flax")
class FromFlax(AbstractNetwork):
    """A network from a Flax Linen module and the shape of one example.

    Raises: InputError at `init` for a module with mutable state (batch statistics would leak the query into the support).
    """

    module: Any = eqx.field(static=True)
    example: tuple[int, ...] = eqx.field(static=True, converter=tuple)

    def init(self, key):
        variables = self.module.init(key, jnp.zeros((1, *self.example)))
        state = sorted(set(variables) - {"params"})
        if state:
            raise InputError(
                f"{type(self.module).__name__} keeps state {', '.join(state)}: "
                "a task's statistics would leak from query to support; use a norm without shared statistics."
            )
        return variables["params"]

    def apply(self, params, x):
        return self.module.apply({"params": params}, x)


def mlp(inputs: int, outputs: int, hidden: Sequence[int] = (40, 40), activation: Activation = "relu") -> MLP:
    """Return an MLP of `inputs` inputs and `outputs` outputs with the widths `hidden` and an `activation` by name."""
    return MLP((inputs, *hidden, outputs), activation)
