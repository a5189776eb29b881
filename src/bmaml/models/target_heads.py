"""Heads of amortised learners: how the network reads targets, and how raw outputs become a distribution."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import Array, Float

from bmaml.distributions import AbstractDistribution, Categorical, Normal
from bmaml.errors import InputError
from bmaml.io.registry import register


class AbstractTargetHead(eqx.Module):
    """The two ends of a network that reads targets and predicts them."""

    @property
    @abstractmethod
    def targets(self) -> int:
        """Width of a target row as the network reads it."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the raw outputs."""

    @abstractmethod
    def embed(self, y: Array, like: Array) -> Float[Array, "n targets"]:
        """Return targets `y` in the form that the network reads, in the dtype of `like`."""

    @abstractmethod
    def distribution(self, raw: Float[Array, "n width"]) -> AbstractDistribution:
        """Return the predictive distribution for raw outputs `raw`."""


@register("target-head/normal")
class NormalHead(AbstractTargetHead):
    """Independent normals: mean = scale a, deviation = floor + scale softplus(b), for raw outputs (a, b).

    - `outputs`: width of a target row.
    - `scale`: size of the targets, in their units; the network reads targets divided by it. Use 1 for standardised targets.
    - `floor`: smallest deviation, in the targets' units. Without a floor the likelihood of noise-free data has no bound.

    Raises: InputError for fewer than one output, or a `scale` or `floor` that is not above 0.
    """

    outputs: int = eqx.field(static=True, default=1)
    scale: float = eqx.field(static=True, default=1.0)
    floor: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        if self.outputs < 1 or not self.scale > 0 or not self.floor > 0:
            raise InputError(
                f"a NormalHead of {self.outputs} outputs, scale {self.scale} and floor {self.floor}: give at least 1 output, "
                "and a scale and a floor above 0."
            )

    @property
    def targets(self):
        return self.outputs

    @property
    def width(self):
        return 2 * self.outputs

    def embed(self, y, like):
        return y / self.scale

    def distribution(self, raw):
        loc, spread = raw[..., : self.outputs], raw[..., self.outputs :]
        return Normal(self.scale * loc, self.floor + self.scale * jax.nn.softplus(spread))


@register("target-head/categorical")
class CategoricalHead(AbstractTargetHead):
    """One of `classes` classes. The network reads a class as a one-hot row and predicts logits.

    Raises: InputError for fewer than two classes.
    """

    classes: int = eqx.field(static=True)

    def __check_init__(self):
        if self.classes < 2:
            raise InputError(f"a CategoricalHead of {self.classes} classes: give at least 2.")

    @property
    def targets(self):
        return self.classes

    @property
    def width(self):
        return self.classes

    def embed(self, y, like):
        return jax.nn.one_hot(y, self.classes, dtype=like.dtype)

    def distribution(self, raw):
        return Categorical(raw)
