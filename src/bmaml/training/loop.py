"""The one training loop: compiled meta-steps, and a plain Python loop over chunks of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import stages
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from bmaml.errors import BmamlError
from bmaml.tasks.base import AbstractSource
from bmaml.training.interrupt import Interrupt
from bmaml.training.jaxlib_versions import check_platform
from bmaml.training.memory import check_memory
from bmaml.training.meta_step import LONGEST, mesh
from bmaml.training.method import AbstractMethod, TrainState
from bmaml.training.plan import Plan

# Chunks are cut to last about so long.
_SECONDS = 1.0


class NonFiniteError(BmamlError, RuntimeError):
    """Too many meta-steps gave a loss or a gradient that is not finite."""


class Progress:
    """What a caller may want to hear of a run; does nothing by itself."""

    def start(self, step: int, steps: int) -> None:
        """Hear that the program is compiled, and that training then begins at `step` of `steps`."""

    def compiled(self, needed: int) -> None:
        """Hear how many bytes of memory the compiled program needs (0 where the platform does not say)."""

    def update(self, step: int, loss: float, speed: float) -> None:
        """Hear the mean loss of the last chunk and its speed in meta-steps a second."""

    def close(self) -> None:
        """Hear that training has ended, however it did."""


def _own(leaf: Array) -> Array:
    """Return a copy without a weak type, which a file does not hold: a resumed run would compile another program."""
    return jax.lax.convert_element_type(jnp.copy(leaf), leaf.dtype)


class Loop:
    """Runs chunks until the plan is done, and hands every chunk to the given listeners."""

    def __init__(self, method: AbstractMethod, tasks: AbstractSource, plan: Plan, state: TrainState | None = None):
        check_platform()
        method.check(tasks)
        self.method, self.tasks, self.plan = method, tasks, plan
        start = method.begin(plan) if state is None else state
        if len(jax.devices()) > 1:
            start = jax.device_put(start, NamedSharding(mesh(), PartitionSpec()))
        # Donation needs buffers that nobody else holds, and distinct ones: initialisers may share zeros.
        self.state: TrainState = jax.tree.map(_own, start)
        self.step = int(start.step)
        self.history: list[dict[str, float]] = []

    def compile(self) -> int:
        """Compile the chunk (apart from running it, so that an interrupt in between stops a run that has not begun).

        Returns the bytes that it needs, 0 where nobody says. Raises: NoRoomError where fewer are free.
        """
        self._chunk = self.method.compile(self.plan, self.tasks, self.state)
        return check_memory(self._chunk, self.plan) if isinstance(self._chunk, stages.Compiled) else 0

    def _arguments(self, count: int) -> tuple[Array, Array]:
        return jnp.asarray(self.plan.seed, jnp.uint32), jnp.asarray(count, jnp.int32)

    def advance(self, count: int) -> dict[str, float]:
        """Run `count` meta-steps; return the record of them.

        Raises: NonFiniteError past the plan's limit of skipped meta-steps.
        """
        began = time.perf_counter()
        self.state, losses = self._chunk(self.state, self.tasks, *self._arguments(count))
        losses = np.asarray(losses)[:count]
        self.step += count
        finite = losses[np.isfinite(losses)]
        record = {
            "step": self.step,
            "loss": float(finite.mean()) if len(finite) else float("nan"),
            "seconds": time.perf_counter() - began,
            "skipped": int(self.state.skipped),
        }
        self.history.append(record)
        self._guard()
        return record

    def _guard(self) -> None:
        skipped = int(self.state.skipped)
        if skipped > self.plan.skip_limit:
            raise NonFiniteError(self.method.explain(self.state.bad, skipped))

    def run(
        self,
        *,
        progress: Progress | None = None,
        on_chunk: Callable[[Loop], None] | None = None,
        boundary: int | None = None,
        interrupt: Interrupt | None = None,
    ) -> bool:
        """Run to the end of the plan; return False where Ctrl-C stopped it. Chunks end at multiples of `boundary`.

        `interrupt` is one that has listened for longer: a KeyboardInterrupt would be lost where it is raised in a callback
        of JAX, as while a run's first state is made.
        """
        progress = progress or Progress()
        with interrupt or Interrupt() as interrupt:
            if interrupt.raised:
                return False
            progress.start(self.step, self.plan.steps)
            try:
                progress.compiled(self.compile())
                # A meta-step of policies can take longer than a chunk should: only the first one tells.
                count = 1
                while self.step < self.plan.steps and not interrupt.raised:
                    count = self._cut(count, boundary)
                    record = self.advance(count)
                    speed = count / record["seconds"]
                    progress.update(self.step, record["loss"], speed)
                    if on_chunk is not None:
                        on_chunk(self)
                    count = max(1, int(speed * _SECONDS))
                if self.step and int(self.state.skipped) == self.step >= self.plan.steps:
                    raise NonFiniteError(self.method.explain(self.state.bad, self.step))
            finally:
                progress.close()
        return self.step >= self.plan.steps

    def _cut(self, count: int, boundary: int | None) -> int:
        left = self.plan.steps - self.step
        if boundary:
            left = min(left, boundary - self.step % boundary)
        return min(count, left, LONGEST)
