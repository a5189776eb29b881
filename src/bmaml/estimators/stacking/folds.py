"""Tasks in folds, and training of one method on all folds at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from bmaml.io.programs import compiler_options
from bmaml.learners.base import Meta
from bmaml.tasks.base import AbstractDerivedTasks, FixedTasks
from bmaml.training.interrupt import Interrupt
from bmaml.training.meta_step import draw_batch, meta_step, step_keys
from bmaml.training.method import AbstractMethod, TrainState
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress

_FOLDS = 5
# Past this many tasks one fold is enough: its tasks give the weights well.
MANY = 250
_CHUNK = 20


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a mixture's fit at meta-step `step` of `steps`. Nothing is kept of it."""

    def __init__(self, step: int, steps: int):
        super().__init__(
            f"the fit was stopped by Ctrl-C or SIGTERM at meta-step {step} of {steps} and nothing was saved, since a mixture "
            "cannot be resumed: fit it again, or fit by a method that can be resumed, such as experts."
        )


def members(tasks: int, seed: int) -> np.ndarray:
    """Return which of so many `tasks` each training sees, of shape (folds + 1, tasks). The last training sees all of them."""
    order = np.random.default_rng([seed, tasks]).permutation(tasks)
    of = np.empty(tasks, int)
    of[order] = np.arange(tasks) % min(_FOLDS, tasks)
    folds = 1 if tasks > MANY else min(_FOLDS, tasks)
    return np.stack([of != fold for fold in range(folds)] + [np.ones(tasks, bool)])


class FoldTasks(AbstractDerivedTasks):
    """Those tasks of `source` that one training sees: the first `size` of the numbers in `members`."""

    source: FixedTasks
    members: Int[Array, " most"]
    size: Int[Array, ""]

    def sample(self, key):
        task_key, split_key = jax.random.split(key)
        index = self.members[jax.random.randint(task_key, (), 0, self.size)]
        return self.source.split(jax.tree.map(lambda leaf: leaf[index], self.source.rows), split_key)


def train_folds(
    method: AbstractMethod,
    tasks: FixedTasks,
    folds: np.ndarray,
    plan: Plan,
    snapshots: Sequence[int],
    progress: Progress,
    interrupt: Interrupt,
) -> list[Meta]:
    """Return the meta-parameters of all trainings (leading axis) after each number of meta-steps in `snapshots`.

    All trainings run in one compiled program.

    - `method`, `plan`: what is trained, and how. Each training draws its tasks with the same keys.
    - `tasks`, `folds`: all tasks, and which of them each training sees.
    - `progress`, `interrupt`: show the training, and stop it.

    Raises: Stopped if Ctrl-C or SIGTERM came.
    """
    size = folds.sum(1)
    numbers = np.stack([np.resize(np.flatnonzero(fold), size.max()) for fold in folds])
    seen = (jnp.asarray(numbers, jnp.int32), jnp.asarray(size, jnp.int32))
    begin = jax.jit(lambda: method.begin(plan), compiler_options=compiler_options(runs_once=True))
    # Through NumPy, so that no type is weak: the state after a chunk has none, and a second program would be compiled for it.
    state = jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf)[None], len(folds), 0)), begin())
    run, kept, step = _compiled(method, plan), [], 0
    for stop in snapshots:
        while step < stop:
            if interrupt.raised:
                raise Stopped(step, plan.steps)
            count, began = min(_CHUNK, stop - step), time.perf_counter()
            state, loss = run(state, tasks, seen, step, count)
            step, loss = step + count, float(loss)
            progress.update(step, loss, count / (time.perf_counter() - began))
        kept.append(jax.tree.map(jnp.copy, state.meta))
    return kept


Chunk = Callable[[TrainState, FixedTasks, tuple[Array, Array], int, int], tuple[TrainState, Array]]


def _compiled(method: AbstractMethod, plan: Plan) -> Chunk:
    """Return the jitted function of (states, tasks, seen, step, count) that takes `count` meta-steps of every training.

    The counter of the loop is one number for all trainings. A loop inside of each would have as many conditions and take
    several times as long to compile.
    """

    @partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())
    def run(state: TrainState, tasks: FixedTasks, seen: tuple[Array, Array], begin: Array, count: Array):
        def once(step: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            keys = step_keys(plan.seed, step, plan.batch)

            def one(state: TrainState, members: Array, size: Array) -> tuple[TrainState, Array]:
                batch = draw_batch(FoldTasks(tasks, members, size), keys)
                state, numbers = meta_step(method, plan, state, batch)
                return state, numbers["loss"]

            state, loss = jax.vmap(one)(carry[0], *seen)
            return state, jnp.nanmean(loss)

        return jax.lax.fori_loop(begin, begin + count, once, (state, jnp.zeros(())))

    return run
