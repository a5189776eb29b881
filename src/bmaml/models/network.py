"""The contract of a network, and the ways to make one: MLP, plain functions, Equinox, Flax."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import same_rank
from bmaml.errors import InputError, PairError, said
from bmaml.io.checked import as_tuple
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


def as_widths(given: Any, what: str, such_as: str) -> tuple[int, ...]:
    """Return the widths of several layers (`given`) as a tuple.

    `what` is what the message calls the widths, and `such_as` an example of them.
    Raises: InputError if they are no sequence of whole numbers.
    """
    try:
        return tuple(map(index, given))
    except TypeError:
        raise InputError(f"{what} were given as {given!r}: give one sequence of whole numbers, such as {such_as}.") from None


def affine(layer: dict[str, Array], h: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
    """Return rows `h` times the `weight` of a `layer`, plus its `bias`."""
    return jnp.add(*same_rank(h @ layer["weight"], layer["bias"]))


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

    sizes: tuple[int, ...] = eqx.field(static=True, converter=lambda given: as_widths(given, "MLP's sizes", "(1, 40, 1)"))
    activation: Activation = eqx.field(static=True, default="relu")
    initial: Literal["glorot", "lecun"] = eqx.field(static=True, default="glorot")
    input_scale: float = eqx.field(static=True, default=1.0)
    head_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if not self.head_scale >= 0:
            raise InputError(f"MLP's head_scale is {self.head_scale}: give a number of at least 0.")
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
        return affine(params[-1], self.inputs(params, x)[-1])

    def inputs(self, params: Params, x: Array) -> list[Float[Array, "*batch n _"]]:
        """Return the inputs of each layer for network inputs `x`, the first layer's inputs first."""
        given = [x * self.input_scale if self.input_scale != 1.0 else x]
        for layer in params[:-1]:
            given.append(self.activate(affine(layer, given[-1])))
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
    """A network from a function that builds an Equinox module of one example: `build(key) -> module`, `module(x_i)`.

    Raises: PairError for a module that is built already.
    """

    # A converter refuses before Equinox warns of arrays in a static field.
    build: Callable[[PRNGKeyArray], Callable[..., Array]] = eqx.field(
        static=True, converter=lambda build: _builds(build, "key")
    )

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

    Raises: PairError for a module that is not of Linen; InputError at `init` for a module with mutable state, because batch
    statistics would leak the query into the support.
    """

    module: Any = eqx.field(static=True, converter=lambda module: _linen(module))
    example: tuple[int, ...] = eqx.field(static=True, converter=as_tuple)

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


@register("network/nnx")
class FromNnx(AbstractNetwork):
    """A network from a function that builds a Flax NNX module: `build(rngs) -> module`, `module(x)` on a batch of rows.

    Raises: PairError for a module that is built already; InputError at `init` for a module with state besides its parameters
    (batch statistics would leak the query into the support).
    """

    build: Callable[[Any], Callable[[Array], Array]] = eqx.field(static=True, converter=lambda build: _builds(build, "rngs"))

    def init(self, key):
        from flax import nnx

        _, params, state = nnx.split(self.build(nnx.Rngs(key)), nnx.Param, ...)
        if jax.tree.leaves(state):
            raise InputError(
                f"{self.build} makes a module with state besides its parameters: a task's statistics would leak from query to "
                "support; use a norm without shared statistics, and no dropout."
            )
        return nnx.to_pure_dict(params)

    def apply(self, params, x):
        from flax import nnx

        # Built abstractly (no arrays are made), so params alone carry the numbers.
        graph, held, _ = nnx.split(nnx.eval_shape(lambda: self.build(nnx.Rngs(0))), nnx.Param, ...)
        nnx.replace_by_pure_dict(held, params)
        return nnx.merge(graph, held)(x)


def check_network(network: object, who: str) -> None:
    """Check that `network`, a part of `who`, is a network of this library.

    Raises: PairError that says what to write instead.
    """
    if isinstance(network, AbstractNetwork):
        return
    name, framework = type(network).__name__, _framework(network)
    give = {
        "equinox": f"FromEquinox(lambda key: {name}(..., key=key))",
        "nnx": f"FromNnx(lambda rngs: {name}(..., rngs=rngs))",
        "linen": f"FromFlax({name}(...), (inputs,)), with the shape of one example",
        "function": "Functional(init, apply), with the function that makes its parameters",
    }.get(framework, "one of bmaml.models, such as MLP((1, 40, 1))")
    raise PairError(f"{who} needs a network of bmaml.models and was given {said(network)}: give {give}.")


def _framework(found: object) -> str:
    """Return what a network that is not of this library is made with, "" where that cannot be told."""
    homes = [kind.__module__ for kind in type(found).__mro__]
    if any(home.startswith("flax.linen") for home in homes):
        return "linen"
    if any(home.startswith("flax.nnx") for home in homes):
        return "nnx"
    if isinstance(found, eqx.Module):
        return "" if homes[0].startswith("bmaml.") else "equinox"
    return "function" if callable(found) and not isinstance(found, type) else ""


def _linen(module: Any) -> Any:
    """Return a module that is initialised and applied as those of Linen are.

    Raises: PairError for any other, and for a class.
    """
    name = type(module).__name__
    if _framework(module) == "nnx":
        raise PairError(
            f"FromFlax needs a Linen module and {name} is of NNX: use FromNnx(lambda rngs: {name}(..., rngs=rngs))."
        )
    if isinstance(module, type) or not (hasattr(module, "init") and hasattr(module, "apply")):
        raise PairError(f"FromFlax needs a Linen module and was given a {name}: give an instance, such as nn.Dense(1).")
    return module


def _builds(build: Callable[..., Any], argument: str) -> Callable[..., Any]:
    """Return a function that builds a module from its one argument.

    Raises: PairError for a module that is built already.
    """
    if _framework(build) not in ("equinox", "nnx"):
        return build
    name, adapter = type(build).__name__, "FromEquinox" if argument == "key" else "FromNnx"
    raise PairError(
        f"{adapter} was given a {name} that is built already, whose weights all particles would share: give a function that "
        f"builds it, such as {adapter}(lambda {argument}: {name}(..., {argument}={argument}))."
    )


def mlp(inputs: int, outputs: int, hidden: Sequence[int] = (40, 40), activation: Activation = "relu") -> MLP:
    """Return an MLP of `inputs` inputs and `outputs` outputs with the widths `hidden` and an `activation` by name."""
    return MLP((inputs, *hidden, outputs), activation)
