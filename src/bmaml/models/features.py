"""Feature extractors of (x, code): the networks below exact heads."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.errors import InputError, PairError, said
from bmaml.io.registry import register
from bmaml.models.network import MLP, Activation, affine, as_widths


class AbstractFeatures(eqx.Module):
    """A network that maps inputs and an expert's code to features and to a log relative noise variance for each point."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of features."""

    @property
    @abstractmethod
    def code_size(self) -> int:
        """Length of an expert's code."""

    @abstractmethod
    def init(self, key: PRNGKeyArray) -> PyTree[Any]:
        """Return fresh parameters, shared by all experts."""

    @abstractmethod
    def apply(
        self, params: PyTree[Any], x: Float[Array, "n inputs"], code: Float[Array, " code"]
    ) -> tuple[Float[Array, "n features"], Float[Array, " n"]]:
        """Return the features of each row of `x` and the log of its noise variance relative to the head's own, for one
        `code`.
        """


def check_features(features: object, who: str) -> None:
    """Check that `features`, a part of `who`, are features for exact heads.

    Raises: PairError that says what to write instead.
    """
    if not isinstance(features, AbstractFeatures):
        raise PairError(
            f"{who} needs features for exact heads and was given {said(features)}: give some such as MLPFeatures(1)."
        )


@register("features/mlp")
class MLPFeatures(AbstractFeatures):
    """An MLP of (x, code) whose last feature is a constant, with optional noise that depends on (x, code).

    - `inputs`: width of an input row.
    - `learned`: features that the network computes; the constant comes on top.
    - `hidden`: widths of the hidden layers.
    - `code`: length of an expert's code.
    - `activation`: name of the activation.
    - `input_scale`: multiplies the inputs.
    - `heteroscedastic`: whether the noise depends on (x, code).

    Raises: InputError for a count below 1.
    """

    inputs: int = eqx.field(static=True)
    learned: int = eqx.field(static=True, default=8)
    hidden: tuple[int, ...] = eqx.field(
        static=True, default=(64, 64, 64), converter=lambda given: as_widths(given, "the hidden widths", "(64, 64)")
    )
    code: int = eqx.field(static=True, default=4)
    activation: Activation = eqx.field(static=True, default="silu")
    input_scale: float = eqx.field(static=True, default=1.0)
    heteroscedastic: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if min(self.inputs, self.learned, self.code) < 1:
            counts = f"{self.inputs} inputs, {self.learned} learned features and codes of {self.code} numbers"
            raise InputError(f"MLPFeatures has {counts}: give at least 1 of each.")

    @property
    def count(self) -> int:
        """Number of features, the constant included."""
        return self.learned + 1

    @property
    def code_size(self) -> int:
        """Length of an expert's code."""
        return self.code

    @property
    def _network(self) -> MLP:
        outputs = self.learned + int(self.heteroscedastic)
        return MLP((self.inputs + self.code, *self.hidden, outputs), self.activation, "lecun")

    def init(self, key):
        return self._network.init(key)

    def apply(self, params, x, code):
        first, split = params[0], x.shape[-1]
        # The first layer is split into two halves, so that under vmap over codes the product with x is computed once.
        shift = code @ first["weight"][split:] + first["bias"]
        h = (x * self.input_scale) @ first["weight"][:split] + shift[None]
        for layer in params[1:]:
            h = affine(layer, self._network.activate(h))
        features = jnp.concatenate([h[:, : self.learned], jnp.ones((len(x), 1), h.dtype)], 1)
        log_noise = h[:, -1] if self.heteroscedastic else jnp.zeros(len(x), h.dtype)
        return features, log_noise
