"""Tasks in folds, and training of one method on all folds at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Wrapped
from jaxtyping import Array, Int

from bmaml.io.programs import compiler_options
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.tasks.base import AbstractDerivedTasks, FixedTasks
from bmaml.training.interrupt import Interrupt
from bmaml.training.meta_step import draw_batch, meta_step, step_keys
from bmaml.training.method import AbstractMethod, TrainState
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress
from bmaml.training.reuse import program_of

_FOLDS = 5
# Past this many tasks one fold is enough: its tasks give the weights well.
MANY = 250
_CHUNK, _HALVES = 20, 2


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


Chunk = Callable[[TrainState, FixedTasks, tuple[Array, Array], np.ndarray, int, int], tuple[TrainState, Array]]


class FoldTraining(NamedTuple):
    """A training on all folds at once, whose program is compiled: `prepare_folds` makes it.

    The trainings are in two halves, and a thread takes the steps of each: one program does not keep two cores busy. The halves
    are the same on every machine, so that the results are.

    - `tasks`: all tasks.
    - `seen`: for each half, which tasks each training sees, as numbers of tasks and how many of these count.
    - `states`: where the trainings of each half begin.
    - `seed`: the seed of all trainings.
    - `count`: how many trainings there are. The last half may repeat one.
    - `run`: takes some meta-steps of the trainings of a half.
    - `learner`: what answers with the meta-parameters.
    """

    tasks: FixedTasks
    seen: tuple[tuple[Array, Array], ...]
    states: tuple[TrainState, ...]
    seed: np.ndarray
    count: int
    run: Chunk
    learner: AbstractLearner

    def train(self, steps: int, snapshots: Sequence[int], progress: Progress, interrupt: Interrupt) -> list[Meta]:
        """Return the meta-parameters of all trainings (leading axis) after each number of meta-steps in `snapshots`.

        `steps` is their number in all. `progress` shows the training, and `interrupt` stops it. A training can be used once.

        Raises: Stopped if Ctrl-C or SIGTERM came.
        """
        states, kept, step = self.states, [], 0
        with ThreadPoolExecutor(len(states)) as threads:
            for stop in snapshots:
                while step < stop:
                    if interrupt.raised:
                        raise Stopped(step, steps)
                    count, began = min(_CHUNK, stop - step), time.perf_counter()
                    states, losses = zip(*threads.map(partial(self._chunk, step, count), states, self.seen), strict=True)
                    step += count
                    progress.update(step, float(np.nanmean(losses)), count / (time.perf_counter() - began))
                kept.append(self._metas(states))
        return kept

    def _chunk(self, step: int, count: int, state: TrainState, seen: tuple[Array, Array]) -> tuple[TrainState, float]:
        state, loss = self.run(state, self.tasks, seen, self.seed, step, count)
        return state, float(loss)

    def _metas(self, states: Sequence[TrainState]) -> Meta:
        # Copies, because the next chunk takes the states' memory.
        return jax.tree.map(lambda *halves: jnp.concatenate(halves)[: self.count], *(state.meta for state in states))


def prepare_folds(method: AbstractMethod, tasks: FixedTasks, folds: np.ndarray, plan: Plan) -> FoldTraining:
    """Return a training of `method` on all folds at once, in one compiled program.

    - `method`, `plan`: what is trained, and how. Each training draws its tasks with the same keys.
    - `tasks`, `folds`: all tasks, and which of them each training sees.
    """
    size, half = folds.sum(1), -(-len(folds) // _HALVES)
    numbers = np.stack([np.resize(np.flatnonzero(fold), size.max()) for fold in folds])
    places = np.minimum(np.arange(_HALVES * half), len(folds) - 1).reshape(_HALVES, half)
    seen = tuple((jnp.asarray(numbers[each], jnp.int32), jnp.asarray(size[each], jnp.int32)) for each in places)
    begin = jax.jit(lambda: method.begin(plan), compiler_options=compiler_options(runs_once=True))()
    # Through NumPy, so that no type is weak: the state after a chunk has none, and a second program would be compiled for it.
    states = tuple(jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf)[None], half, 0)), begin) for _ in places)
    seed = np.asarray(plan.seed, np.uint32)
    run = program_of(_build, method, plan, tasks).lower(states[0], tasks, seen[0], seed, 0, _CHUNK).compile()
    return FoldTraining(tasks, seen, states, seed, len(folds), run, method.answerer)


def _build(method: AbstractMethod, plan: Plan, options: dict[str, str | bool]) -> Wrapped:
    """Return the jitted function of (states, tasks, seen, seed, step, count) that takes `count` meta-steps of every training.

    The compiler is told `options`. The counter of the loop is one number for all trainings. A loop inside of each would have
    as many conditions and take several times as long to compile.
    """

    @partial(jax.jit, donate_argnums=0, compiler_options=options)
    def run(state: TrainState, tasks: FixedTasks, seen: tuple[Array, Array], seed: Array, begin: Array, count: Array):
        def once(step: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            keys = step_keys(seed, step, plan.batch)

            def one(state: TrainState, members: Array, size: Array) -> tuple[TrainState, Array]:
                batch = draw_batch(FoldTasks(tasks, members, size), keys)
                state, numbers = meta_step(method, plan, state, batch)
                return state, numbers["loss"]

            state, loss = jax.vmap(one)(carry[0], *seen)
            return state, jnp.nanmean(loss)

        return jax.lax.fori_loop(begin, begin + count, once, (state, jnp.zeros(())))

    return run
