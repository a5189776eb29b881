"""The contract of networks that read a support and answer for new inputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.errors import InputError

Params = PyTree[Any]
Representation = PyTree[Any]


class AbstractContextNetwork(eqx.Module):
    """Reads the rows of a support once, and then answers for any number of inputs, each separately.

    A row with mask 0 has no effect. A support without rows is valid, and the answers are then those of the learned prior.
    """

    @property
    @abstractmethod
    def ordered(self) -> bool:
        """Whether the order of the support's rows changes the answers."""

    @abstractmethod
    def init(self, key: PRNGKeyArray, targets: int, outputs: int) -> Params:
        """Return fresh parameters for target rows of width `targets` and answers of width `outputs`."""

    @abstractmethod
    def read(
        self, params: Params, x: Float[Array, "n inputs"], y: Float[Array, "n targets"], mask: Float[Array, " n"]
    ) -> Representation:
        """Return what the network keeps of a support (`x`, `y`, `mask`)."""

    @abstractmethod
    def answer(self, params: Params, context: Representation, x: Float[Array, "m inputs"]) -> Float[Array, "m outputs"]:
        """Return raw outputs for new inputs `x`, given `context`, the result of `read`. No row depends on another row."""


def rows_of(x: Array, y: Array, mask: Array, scale: float) -> Float[Array, "n width"]:
    """Return rows of (`x` times `scale`, `y`). Rows with `mask` 0 are zeros, even if they held NaN."""
    return jnp.where(mask[:, None] > 0, jnp.concatenate([x * scale, y], 1), 0.0)


def check_sizes(kind: str, **sizes: int) -> None:
    """Raise InputError that names the first of `sizes` below 1; `kind` is the name of the network in the message."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{kind} has {name} {size}: give at least 1.")
