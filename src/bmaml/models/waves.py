"""Sines and cosines whose sizes depend on a code: features of stationary Gaussian processes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.io.checked import Count, Positive
from bmaml.io.registry import register
from bmaml.models.features import AbstractFeatures
from bmaml.models.network import MLP, as_widths

# The wave from which on the sizes of waves fall, before anything is learned.
_LONG = 4
# Logs of sizes and noise lie between plus and minus this.
_MOST = 8.0


@register("features/waves")
class WaveFeatures(AbstractFeatures):
    """A constant, and sines and cosines of one input x. Their sizes and the noise are a network of the code.

    With a Gaussian prior on their weights, such features are a stationary Gaussian process, whose spectral density is the
    squared sizes. So a code stands for a kernel: its length, its size, its form. The spectrum is free at each wave, so a kernel
    with a period fits as well as a smooth one.

    - `waves`: number of sines, and of cosines.
    - `span`: the longest wave. Functions repeat after it, so it is longer than the range of x.
    - `hidden`: widths of the hidden layers of the network.
    - `code`: length of an expert's code.
    """

    waves: Count = eqx.field(static=True, default=40)
    span: Positive = eqx.field(static=True, default=6.0)
    hidden: tuple[int, ...] = eqx.field(
        static=True, default=(64, 64), converter=lambda given: as_widths(given, "the hidden widths", "(64, 64)")
    )
    code: Count = eqx.field(static=True, default=3)

    @property
    def count(self) -> int:
        """Number of features: the constant, the sines and the cosines."""
        return 2 * self.waves + 1

    @property
    def code_size(self) -> int:
        """Length of an expert's code."""
        return self.code

    @property
    def _network(self) -> MLP:
        return MLP((self.code, *self.hidden, self.waves + 2), "silu", "lecun")

    def init(self, key: PRNGKeyArray) -> PyTree[Any]:
        return self._network.init(key)

    def apply(
        self, params: PyTree[Any], x: Float[Array, "n inputs"], code: Float[Array, " code"]
    ) -> tuple[Float[Array, "n features"], Float[Array, " n"]]:
        # Codes that no task needs can get sizes that single precision cannot square.
        found = _MOST * jnp.tanh(self._network.apply(params, code[None])[0] / _MOST)
        number = jnp.arange(self.waves + 1, dtype=x.dtype)
        start = 1 / (1 + (number / _LONG) ** 2)
        size = start / jnp.sqrt((start**2).sum()) * jnp.exp(found[:-1])
        angle = 2 * jnp.pi / self.span * x[:, :1] * number[None, 1:]
        waves = [size[None, 1:] * wave(angle) for wave in (jnp.sin, jnp.cos)]
        constant = jnp.broadcast_to(size[:1], (len(x), 1))
        return jnp.concatenate([constant, *waves], 1), jnp.broadcast_to(found[-1], (len(x),))
