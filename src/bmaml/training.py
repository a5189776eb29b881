"""The one training loop: compiled meta-steps, and a plain Python loop over chunks of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from bmaml.interrupt import Interrupt
from bmaml.memory import check_memory
from bmaml.meta_step import LONGEST, TrainState, build_chunk, init_state, mesh
from bmaml.methods import Method
from bmaml.plan import Plan
from bmaml.platform import check_platform
from bmaml.tasks.base import AbstractTasks

# Chunks are cut to last about so long.
_SECONDS = 1.0


class NonFiniteError(RuntimeError):
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


class Loop:
    """Runs chunks until the plan is done, and hands every chunk to the given listeners."""

    def __init__(self, method: Method, tasks: AbstractTasks, plan: Plan, state: TrainState | None = None):
        check_platform()
        self.method, self.tasks, self.plan = method, tasks, plan
        start = init_state(method, plan) if state is None else state
        if len(jax.devices()) > 1:
            start = jax.device_put(start, NamedSharding(mesh(), PartitionSpec()))
        # Donation needs buffers that nobody else holds, and distinct ones: initialisers may share zeros.
        self.state: TrainState = jax.tree.map(jnp.copy, start)
        self.step = int(start.step)
        self.history: list[dict[str, float]] = []

    def compile(self) -> int:
        """Compile the chunk (apart from running it, so that an interrupt in between stops a run that has not begun).

        Returns the bytes that it needs. Raises: NoRoomError where fewer are free.
        """
        lowered = build_chunk(self.method, self.plan).lower(self.state, self.tasks, *self._arguments(0))
        self._chunk = lowered.compile()
        return check_memory(self._chunk, self.plan)

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
            step, task = (int(v) for v in self.state.bad)
            where = f"task {task} of the meta-batch" if task >= 0 else "the gradient"
            raise NonFiniteError(
                f"{skipped} meta-steps were not finite, the last at step {step} in {where}: lower the inner rate, set clip on "
                "the learner, or lower the outer rate."
            )

    def run(
        self,
        *,
        progress: Progress | None = None,
        on_chunk: Callable[[Loop], None] | None = None,
        boundary: int | None = None,
    ) -> bool:
        """Run to the end of the plan; return False where Ctrl-C stopped it. Chunks end at multiples of `boundary`."""
        progress = progress or Progress()
        with Interrupt() as interrupt:
            progress.start(self.step, self.plan.steps)
            try:
                progress.compiled(self.compile())
                count = 8
                while self.step < self.plan.steps and not interrupt.raised:
                    count = self._cut(count, boundary)
                    record = self.advance(count)
                    speed = count / record["seconds"]
                    progress.update(self.step, record["loss"], speed)
                    if on_chunk is not None:
                        on_chunk(self)
                    count = max(1, int(speed * _SECONDS))
            finally:
                progress.close()
        return self.step >= self.plan.steps

    def _cut(self, count: int, boundary: int | None) -> int:
        left = self.plan.steps - self.step
        if boundary:
            left = min(left, boundary - self.step % boundary)
        return min(count, left, LONGEST)
