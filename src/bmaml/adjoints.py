"""How the meta-gradient passes through the inner loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
from jaxtyping import Array

State = TypeVar("State")
# Short inner loops are unrolled into the program: the loop's bookkeeping costs more than such steps do on a CPU.
_UNROLL = 3


class AbstractAdjoint(eqx.Module):
    """Runs the inner steps and says how their result depends on where they started."""

    @abstractmethod
    def run(self, step: Callable[[State, Array], State], state: State, keys: Array) -> State:
        """Return the state after one `step(state, key)` for each key."""

    @abstractmethod
    def gradient(self, tree: State) -> State:
        """Return an inner gradient as the meta-gradient shall see it."""


def _scan(step: Callable[[State, Array], State], state: State, keys: Array) -> State:
    return jax.lax.scan(lambda s, k: (step(s, k), None), state, keys, unroll=min(_UNROLL, max(len(keys), 1)))[0]


class Unrolled(AbstractAdjoint):
    """Differentiates through every inner step, second derivatives included.

    With `checkpoint=True` each step's inside is computed again in the backward pass: memory per step falls to one copy of
    the particles, for about a third more work.
    """

    checkpoint: bool = eqx.field(static=True, default=False)

    def run(self, step, state, keys):
        if not self.checkpoint:
            return _scan(step, state, keys)
        # Checkpointed steps must stay a loop: unrolled, XLA may merge the recomputation with the first computation.
        return jax.lax.scan(lambda s, k: (jax.checkpoint(step)(s, k), None), state, keys)[0]

    def gradient(self, tree):
        return tree


class FirstOrder(AbstractAdjoint):
    """Takes inner gradients as constants: the meta-gradient is that of the adapted parameters (FOMAML, Reptile)."""

    def run(self, step, state, keys):
        return _scan(step, state, keys)

    def gradient(self, tree):
        return jax.lax.stop_gradient(tree)
