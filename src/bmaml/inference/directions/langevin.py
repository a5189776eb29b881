"""Gradient ascent with the noise that makes it a sampler."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from bmaml.errors import InputError
from bmaml.inference.directions.base import AbstractDirection
from bmaml.io.registry import register


@register("direction/langevin")
class Langevin(AbstractDirection):
    """Unadjusted Langevin: with plain gradient steps the particles sample the posterior^(1 / temperature).

    The noise has variance 2 temperature / learning_rate in each coordinate, so a step adds 2 learning_rate temperature. The
    stationary distribution is off by O(learning_rate). From Welling and Teh (2011), without the minibatches.

    - `learning_rate`: size of the gradient steps; it must equal the step rule's.
    - `temperature`: 1 for the posterior itself.
    """

    learning_rate: float = eqx.field(static=True)
    temperature: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if not self.learning_rate > 0 or not self.temperature >= 0:
            raise InputError(
                f"Langevin has rate {self.learning_rate} and temperature {self.temperature}: give a rate above 0 (that of the "
                "step rule) and a temperature of at least 0."
            )

    def __call__(self, particles, scores, *, key):
        leaves, tree = jax.tree.flatten(scores)
        keys = jax.tree.unflatten(tree, list(jax.random.split(key, len(leaves))))
        size = jnp.sqrt(2 * self.temperature / self.learning_rate)
        return jax.tree.map(lambda s, k: s + (size * jax.random.normal(k, s.shape)).astype(s.dtype), scores, keys)
