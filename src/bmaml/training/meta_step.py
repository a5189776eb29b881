"""The compiled part of training: meta-steps in blocks whose tasks are drawn together, in chunks of one program."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import stages
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Key, PRNGKeyArray, PyTree

from bmaml.data import Task
from bmaml.errors import InputError
from bmaml.inference.optax_steps import optax_update, scheduled_rate
from bmaml.learners.base import Meta
from bmaml.objectives.base import Metrics
from bmaml.tasks.base import AbstractTasks
from bmaml.training.method import AbstractMethod, TrainState
from bmaml.training.plan import Plan
from bmaml.training.processes import mesh, replicated

# The numbers of a chunk's meta-steps come back in a buffer of this length.
LONGEST = 4096
# Drawing one meta-batch at a time is half the cost of a small meta-step on a CPU. A random number costs the same few tiny
# kernels alone as it does together with a thousand others. So the tasks of up to this many steps are drawn at once, if
# they take no more than this many bytes.
_BLOCK, _BLOCK_BYTES = 64, 2**22

Tree = TypeVar("Tree")


def fresh_meta(method: AbstractMethod, plan: Plan) -> Meta:
    """Return the meta-parameters with which a run of `method` with `plan` begins."""
    return method.learner.init(jax.random.fold_in(jax.random.key(plan.seed), 0))


def init_state(method: AbstractMethod, plan: Plan) -> TrainState:
    """Return the state before the first meta-step of `plan`, for a `method` that follows the gradient of its objective."""
    meta = fresh_meta(method, plan)
    return first_state(meta, plan.outer.build(plan.steps).init(meta))


def first_state(meta: Meta, optimiser: Any, places: int = 2) -> TrainState:
    """Return the state of fresh meta-parameters; `optimiser` is the optimiser's state.

    `places` is the number of integers that say where a meta-step went wrong.
    """
    zero = jnp.zeros((), jnp.int32)
    return TrainState(meta, optimiser, zero, zero, jnp.full(places, -1, jnp.int32))


class MetaBatch(eqx.Module):
    """The `tasks` of one meta-step (on a leading axis), and one key for each adaptation (`keys`)."""

    tasks: Task
    keys: Key[Array, "*batch"]


def step_key(seed: int | Array, step: int | Array) -> PRNGKeyArray:
    """Return the key of meta-step number `step`. It depends on seed and step alone, so a resumed run sees the same."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), step)


def step_keys(seed: int | Array, step: int | Array, batch: int) -> Key[Array, " batch"]:
    """Return the keys of the `batch` tasks of meta-step number `step`."""
    return jax.random.split(step_key(seed, step), batch)


def draw_batch(tasks: AbstractTasks, keys: Key[Array, " batch"]) -> MetaBatch:
    """Return the tasks that `tasks` draws with `keys`, one for each key."""

    def draw_one(key: PRNGKeyArray) -> MetaBatch:
        draw_key, adapt_key = jax.random.split(key)
        return MetaBatch(tasks.sample(draw_key), adapt_key)

    return jax.vmap(draw_one)(keys)


def batch_gradient(
    method: AbstractMethod, meta: Meta, batch: MetaBatch, accumulation_steps: int = 1
) -> tuple[Array, Array, Meta, Metrics]:
    """Return the mean loss, each task's loss, the meta-gradient, and the objective's own numbers (means over tasks).

    The meta-batch `batch` of `method` is split into `accumulation_steps` equal groups of tasks.
    """

    def mean_loss(meta: Meta, batch: MetaBatch) -> tuple[Array, tuple[Array, Metrics]]:
        count = len(batch.keys)
        each, numbers = jax.vmap(lambda task, key: method.objective(method.learner, meta, task, key=key))(
            *_spread((batch.tasks, batch.keys))
        )
        each, numbers = each[:count], {name: values[:count].mean() for name, values in numbers.items()}
        return each.mean(), (each, numbers)

    gradient = jax.grad(mean_loss, has_aux=True)
    if accumulation_steps == 1:
        total, (each, numbers) = gradient(meta, batch)
        return each.mean(), each, total, numbers

    def add(total: Meta, batch: MetaBatch) -> tuple[Meta, tuple[Array, Metrics]]:
        part, told = gradient(meta, batch)
        return jax.tree.map(lambda a, b: a + b / accumulation_steps, total, part), told

    grouped = jax.tree.map(lambda leaf: leaf.reshape(accumulation_steps, -1, *leaf.shape[1:]), batch)
    total, (each, numbers) = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, meta), grouped)
    return each.mean(), each.reshape(-1), total, jax.tree.map(jnp.mean, numbers)


def finite(*trees: PyTree[Any]) -> Bool[Array, ""]:
    """Return whether every entry of every leaf of `trees` is finite."""
    # Joined first, so one pass covers everything. The leaves of a small network would cost two kernels each.
    return jnp.isfinite(ravel_pytree(trees)[0]).all()


def meta_step(method: AbstractMethod, plan: Plan, state: TrainState, batch: MetaBatch) -> tuple[TrainState, Metrics]:
    """Return the state after one meta-step and its numbers. A step that is not finite changes only the counters.

    `method` and `plan` say what is trained and how. `state` is the state before, and `batch` holds the tasks.
    """
    loss, each, gradient, numbers = batch_gradient(method, state.meta, batch, plan.accumulation_steps)
    updates, optimiser = optax_update(plan.outer.build(plan.steps), gradient, state.optimiser, state.meta)
    moved = eqx.apply_updates(state.meta, updates)
    after = settle(state, moved, optimiser, jnp.isfinite(loss) & finite(gradient), culprit(each))
    return after, step_numbers(plan, state, after, loss, numbers)


def step_numbers(plan: Plan, before: TrainState, after: TrainState, loss: Array, numbers: Metrics) -> Metrics:
    """Return all logged numbers of one meta-step: loss, meta-steps skipped so far, learning rate, the objective's own.

    - `plan`: the outer optimiser.
    - `before`, `after`: states before and after the step.
    - `loss`, `numbers`: loss and the objective's own numbers.

    Raises: InputError if the objective's own numbers have a name that the loop uses, or are not scalars.
    """
    logged = {"loss": loss, "skipped": after.skipped}
    rate = plan.outer.schedule(plan.steps)
    if rate is not None:
        # The optimiser counts only the meta-steps that it made.
        logged["learning_rate"] = scheduled_rate(rate, before.step - before.skipped)
    for name, value in numbers.items():
        if name in (*logged, "step") or jnp.ndim(value):
            raise InputError(
                f"an objective returns a number {name!r} of shape {jnp.shape(value)} to log: give each one number a task, and "
                "another name than step, loss, skipped and learning_rate."
            )
    return logged | numbers


def culprit(each: Array) -> Array:
    """Return the first task whose loss in `each` is not finite.

    If all losses are finite and only a gradient is not, the task is unknown, and the result is -1.
    """
    return jnp.where(jnp.isfinite(each).all(), -1, jnp.argmin(jnp.isfinite(each)))[None]


def settle(state: TrainState, meta: Meta, optimiser: Any, finite: Array, where: Array) -> TrainState:
    """Return the next state: the new one if everything is finite, else the old one with the step counted as skipped.

    - `state`: the state before.
    - `meta`, `optimiser`: new meta-parameters and optimiser state.
    - `finite`: whether everything is finite.
    - `where`: the place to note.
    """
    moved = TrainState(meta, optimiser, state.step + 1, state.skipped, state.bad)
    bad = jnp.concatenate([state.step[None], where.astype(jnp.int32)])
    stayed = TrainState(state.meta, state.optimiser, state.step + 1, state.skipped + 1, bad)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), moved, stayed)


def build_chunk(method: AbstractMethod, plan: Plan, options: dict[str, str | bool] | None = None) -> stages.Wrapped:
    """Return the jitted function of (state, tasks, seed, count) that runs `count` meta-steps and donates the state.

    `method` and `plan` say what is trained and how, and `options` what the compiler is told. The count is an argument of the
    program, not its shape, so one compilation serves chunks of every length.
    """
    # Traced once, although the names of its numbers are needed before it runs.
    step_once = jax.jit(partial(meta_step, method, plan), inline=True)

    def chunk(state: TrainState, tasks: AbstractTasks, seed: Array, count: Array) -> tuple[TrainState, Metrics]:
        begin, end = state.step, state.step + count
        length = _block_length(tasks, plan.batch)

        def draw(first: Array) -> MetaBatch:
            keys = jax.vmap(lambda step: step_keys(seed, step, plan.batch))(first + jnp.arange(length, dtype=first.dtype))
            return jax.vmap(lambda keys: draw_batch(tasks, keys))(keys)

        def block(carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            # Blocks start at fixed steps, however a run is cut into chunks, so a resumed run draws with the same program.
            first = carry[0].step // length * length
            batches = draw(first)

            def step_and_log(step: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
                state, log = carry
                state, numbers = step_once(state, jax.tree.map(lambda leaf: leaf[step - first], batches))
                return state, log.at[step - begin].set(as_row(names, numbers))

            return jax.lax.fori_loop(carry[0].step, jnp.minimum(first + length, end), step_and_log, carry)

        one_batch = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], draw(begin)))
        names = tuple(jax.eval_shape(step_once, state, one_batch)[1])
        start = (state, jnp.zeros((LONGEST, len(names))))
        state, log = jax.lax.while_loop(lambda carry: carry[0].step < end, block, start)
        return state, by_name(names, log)

    if len(jax.devices()) == 1:
        return jax.jit(chunk, donate_argnums=0, compiler_options=options)
    # The compiler could else leave parts of the state on single devices.
    return jax.jit(chunk, donate_argnums=0, out_shardings=replicated(), compiler_options=options)


def as_row(names: tuple[str, ...], numbers: Metrics) -> Array:
    """Return the `numbers` of a meta-step as one row in the order of `names`, so that a step writes the chunk's log at once."""
    return jnp.stack([jnp.asarray(numbers[name], jnp.zeros(()).dtype) for name in names])


def by_name(names: tuple[str, ...], log: Array) -> Metrics:
    """Return the columns of a chunk's `log` under their `names`."""
    return {name: log[:, i] for i, name in enumerate(names)}


def _block_length(tasks: AbstractTasks, batch: int) -> int:
    """Return how many meta-steps' tasks are drawn at once."""
    task = jax.eval_shape(tasks.sample, jax.random.key(0))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(task))
    return min(_BLOCK, max(1, _BLOCK_BYTES // (size * batch)))


def _spread(tree: Tree) -> Tree:
    """Shard the leading axis (tasks) over all devices, its first tasks repeated at the end until the devices divide it."""
    devices, count = len(jax.devices()), len(jax.tree.leaves(tree)[0])
    if devices == 1 or count == 1:
        return tree
    if count % devices:
        filled = jnp.arange(-(-count // devices) * devices) % count
        tree = jax.tree.map(lambda leaf: leaf[filled], tree)
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh(), PartitionSpec("tasks")))


def idle_share(plan: Plan) -> float:
    """Return the share of all devices' work that is repeated tasks, because the devices do not divide a group of tasks
    of `plan`.
    """
    devices, count = len(jax.devices()), plan.batch // plan.accumulation_steps
    return 0.0 if count == 1 else 1 - count / (-(-count // devices) * devices)
