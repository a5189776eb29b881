"""The one training loop: compiled meta-steps, and a plain Python loop over chunks of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import stages
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from bmaml.interrupt import Interrupt
from bmaml.learners.base import Meta
from bmaml.methods import Method
from bmaml.outer import AbstractOuter, Adam
from bmaml.platform import check_platform
from bmaml.tasks.base import AbstractTasks

# Losses of a chunk come back in a buffer of this length; chunks are cut to last about a second.
_LONGEST = 4096
_SECONDS = 1.0


class Plan(eqx.Module):
    """How long and how to train: meta-steps, tasks in a meta-batch, outer optimiser, seed.

    A meta-batch is worked off in `groups` equal groups whose gradients are added: the same gradient in less memory, and on
    a CPU up to twice as fast where a group's activations fit the cache and the whole batch's do not. More than
    `skip_limit` meta-steps with a loss or gradient that is not finite stop the run.
    Raises: ValueError for fewer than one step or task, groups that do not divide the batch, or a seed that is negative or
    above 32 bits.
    """

    steps: int = eqx.field(static=True, default=20_000)
    batch: int = eqx.field(static=True, default=16)
    outer: AbstractOuter = Adam()
    seed: int = eqx.field(static=True, default=0)
    groups: int = eqx.field(static=True, default=1)
    skip_limit: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"{self.steps} steps and meta-batches of {self.batch} tasks: give at least 1 of each.")
        if self.groups < 1 or self.batch % self.groups:
            raise ValueError(f"{self.groups} groups do not divide a meta-batch of {self.batch} tasks: give a divisor.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to 4294967295.")


class TrainState(eqx.Module):
    """All that a run needs to go on. `skipped` counts meta-steps left out; `bad` is the last one's step and task."""

    meta: Meta
    optimiser: Any
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    bad: Int[Array, " 2"]


class NonFiniteError(RuntimeError):
    """Too many meta-steps gave a loss or a gradient that is not finite."""


def init_state(method: Method, plan: Plan) -> TrainState:
    """Return the state before the first meta-step."""
    meta = method.learner.init(jax.random.fold_in(jax.random.key(plan.seed), 0))
    zero = jnp.zeros((), jnp.int32)
    return TrainState(meta, plan.outer.build(plan.steps).init(meta), zero, zero, jnp.full(2, -1, jnp.int32))


def task_loss(method: Method, tasks: AbstractTasks, meta: Meta, key: PRNGKeyArray) -> Float[Array, ""]:
    """Return the objective of the task that a key draws."""
    draw_key, adapt_key = jax.random.split(key)
    return method.objective(method.learner, meta, tasks.sample(draw_key), key=adapt_key)[0]


def step_keys(seed: int | Array, step: int | Array, batch: int) -> PRNGKeyArray:
    """Return the keys of a meta-step's tasks: a function of seed and step alone, so that a resumed run sees the same."""
    return jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), step), batch)


def batch_gradient(
    method: Method, tasks: AbstractTasks, meta: Meta, keys: PRNGKeyArray, groups: int = 1
) -> tuple[Array, Array, Meta]:
    """Return the mean loss, each task's loss and the meta-gradient of a meta-batch, worked off in equal groups of tasks."""

    def mean_loss(meta: Meta, keys: PRNGKeyArray) -> tuple[Array, Array]:
        each = jax.vmap(lambda key: task_loss(method, tasks, meta, key))(keys)
        return each.mean(), each

    gradient = jax.grad(mean_loss, has_aux=True)
    if groups == 1:
        total, each = gradient(meta, _spread(keys))
        return each.mean(), each, total

    def add(total: Meta, keys: PRNGKeyArray) -> tuple[Meta, Array]:
        part, each = gradient(meta, _spread(keys))
        return jax.tree.map(lambda a, b: a + b / groups, total, part), each

    total, each = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, meta), keys.reshape(groups, -1))
    return each.mean(), each.reshape(-1), total


def meta_step(method: Method, plan: Plan, tasks: AbstractTasks, state: TrainState, seed: Array) -> tuple[TrainState, Array]:
    """Return the state after one meta-step and its loss; a step that is not finite changes nothing but the counters."""
    keys = step_keys(seed, state.step, plan.batch)
    loss, each, gradient = batch_gradient(method, tasks, state.meta, keys, plan.groups)
    updates, optimiser = plan.outer.build(plan.steps).update(gradient, state.optimiser, state.meta)
    moved = TrainState(eqx.apply_updates(state.meta, updates), optimiser, state.step + 1, state.skipped, state.bad)
    # A task whose loss is finite but whose gradient is not can't be told apart here: it is reported as -1.
    culprit = jnp.where(jnp.isfinite(each).all(), -1, jnp.argmin(jnp.isfinite(each)))
    bad = jnp.stack([state.step, culprit.astype(jnp.int32)])
    stayed = TrainState(state.meta, state.optimiser, state.step + 1, state.skipped + 1, bad)
    finite = jnp.isfinite(loss) & jnp.isfinite(sum(jnp.sum(leaf * 0) for leaf in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), moved, stayed), loss


def _mesh() -> Mesh:
    return Mesh(np.asarray(jax.devices()), ("tasks",))


def _spread(keys: PRNGKeyArray) -> PRNGKeyArray:
    """Shard the task axis over all devices where there are several and they divide it."""
    if len(jax.devices()) == 1 or len(keys) % len(jax.devices()):
        return keys
    return jax.lax.with_sharding_constraint(keys, NamedSharding(_mesh(), PartitionSpec("tasks")))


def build_chunk(method: Method, plan: Plan) -> stages.Wrapped:
    """Return the jitted function of (state, tasks, seed, count) that runs `count` meta-steps, the state donated.

    The count is an argument of the program, not its shape, so that one compilation serves chunks of every length.
    """

    def chunk(state: TrainState, tasks: AbstractTasks, seed: Array, count: Array):
        def one(i: Array, carry):
            state, losses = carry
            state, loss = meta_step(method, plan, tasks, state, seed)
            return state, losses.at[i].set(loss)

        return jax.lax.fori_loop(0, count, one, (state, jnp.zeros(_LONGEST)))

    return jax.jit(chunk, donate_argnums=0)


class Progress:
    """What a caller may want to hear of a run; does nothing by itself."""

    def start(self, step: int, steps: int) -> None:
        """Hear that the program is compiled, and that training then begins at `step` of `steps`."""

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
            start = jax.device_put(start, NamedSharding(_mesh(), PartitionSpec()))
        # Donation needs buffers that nobody else holds, and distinct ones: initialisers may share zeros.
        self.state: TrainState = jax.tree.map(jnp.copy, start)
        self.step = int(start.step)
        self.history: list[dict[str, float]] = []

    def compile(self) -> None:
        """Compile the chunk (apart from running it, so that an interrupt in between stops a run that has not begun)."""
        lowered = build_chunk(self.method, self.plan).lower(self.state, self.tasks, *self._arguments(0))
        self._chunk = lowered.compile()

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
                self.compile()
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
        return min(count, left, _LONGEST)
