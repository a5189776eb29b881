"""The compiled part of training: meta-steps, in blocks whose tasks are drawn together, in chunks of one program."""

from __future__ import annotations

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import stages
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Key, PRNGKeyArray, PyTree

from bmaml.data import Task
from bmaml.learners.base import Meta
from bmaml.tasks.base import AbstractTasks
from bmaml.training.method import AbstractMethod, TrainState
from bmaml.training.plan import Plan

# Losses of a chunk come back in a buffer of this length.
LONGEST = 4096
# Drawing a meta-batch at a time is half the cost of a small meta-step on a CPU, where a random number costs the same
# handful of tiny kernels whether it comes alone or with a thousand others. So the tasks of up to so many steps are drawn
# at once, where they take no more than so many bytes.
_BLOCK, _BLOCK_BYTES = 64, 2**22

Tree = TypeVar("Tree")


def fresh_meta(method: AbstractMethod, plan: Plan) -> Meta:
    """Return the meta-parameters that a run begins with."""
    return method.learner.init(jax.random.fold_in(jax.random.key(plan.seed), 0))


def init_state(method: AbstractMethod, plan: Plan) -> TrainState:
    """Return the state before the first meta-step of a method that follows the gradient of its objective."""
    meta = fresh_meta(method, plan)
    return first_state(meta, plan.outer.build(plan.steps).init(meta))


def first_state(meta: Meta, optimiser: Any, places: int = 2) -> TrainState:
    """Return the state of fresh meta-parameters; `places` is how many numbers say where a meta-step went wrong."""
    zero = jnp.zeros((), jnp.int32)
    return TrainState(meta, optimiser, zero, zero, jnp.full(places, -1, jnp.int32))


class MetaBatch(eqx.Module):
    """The tasks of one meta-step (leading axis), and a key for the adaptation to each."""

    tasks: Task
    keys: Key[Array, "*batch"]


def step_key(seed: int | Array, step: int | Array) -> PRNGKeyArray:
    """Return the key of a meta-step: a function of seed and step alone, so that a resumed run sees the same."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), step)


def step_keys(seed: int | Array, step: int | Array, batch: int) -> Key[Array, " batch"]:
    """Return the keys of a meta-step's tasks."""
    return jax.random.split(step_key(seed, step), batch)


def draw_batch(tasks: AbstractTasks, keys: Key[Array, " batch"]) -> MetaBatch:
    """Return the tasks that keys draw, one each."""

    def one(key: PRNGKeyArray) -> MetaBatch:
        draw_key, adapt_key = jax.random.split(key)
        return MetaBatch(tasks.sample(draw_key), adapt_key)

    return jax.vmap(one)(keys)


def batch_gradient(
    method: AbstractMethod, meta: Meta, batch: MetaBatch, accumulation_steps: int = 1
) -> tuple[Array, Array, Meta]:
    """Return the mean loss, each task's loss and the meta-gradient of a meta-batch, worked off in equal groups of tasks."""

    def mean_loss(meta: Meta, batch: MetaBatch) -> tuple[Array, Array]:
        each = jax.vmap(lambda task, key: method.objective(method.learner, meta, task, key=key)[0])(batch.tasks, batch.keys)
        return each.mean(), each

    gradient = jax.grad(mean_loss, has_aux=True)
    if accumulation_steps == 1:
        total, each = gradient(meta, _shard(batch))
        return each.mean(), each, total

    def add(total: Meta, batch: MetaBatch) -> tuple[Meta, Array]:
        part, each = gradient(meta, _shard(batch))
        return jax.tree.map(lambda a, b: a + b / accumulation_steps, total, part), each

    grouped = jax.tree.map(lambda leaf: leaf.reshape(accumulation_steps, -1, *leaf.shape[1:]), batch)
    total, each = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, meta), grouped)
    return each.mean(), each.reshape(-1), total


def finite(*trees: PyTree[Any]) -> Bool[Array, ""]:
    """Return whether every entry of every leaf is finite."""
    # Joined first: one pass over all of it, where a small network's leaves would cost two kernels each.
    return jnp.isfinite(ravel_pytree(trees)[0]).all()


def meta_step(method: AbstractMethod, plan: Plan, state: TrainState, batch: MetaBatch) -> tuple[TrainState, Array]:
    """Return the state after one meta-step and its loss; a step that is not finite changes nothing but the counters."""
    loss, each, gradient = batch_gradient(method, state.meta, batch, plan.accumulation_steps)
    updates, optimiser = plan.outer.build(plan.steps).update(gradient, state.optimiser, state.meta)
    moved = eqx.apply_updates(state.meta, updates)
    return settle(state, moved, optimiser, jnp.isfinite(loss) & finite(gradient), culprit(each)), loss


def culprit(each: Array) -> Array:
    """Return the first task whose loss is not finite.

    A task whose loss is finite but whose gradient is not can't be told apart: that is -1.
    """
    return jnp.where(jnp.isfinite(each).all(), -1, jnp.argmin(jnp.isfinite(each)))[None]


def settle(state: TrainState, meta: Meta, optimiser: Any, finite: Array, where: Array) -> TrainState:
    """Return the next state: moved where all is finite, else as it was, the step counted as skipped and the place noted."""
    moved = TrainState(meta, optimiser, state.step + 1, state.skipped, state.bad)
    bad = jnp.concatenate([state.step[None], where.astype(jnp.int32)])
    stayed = TrainState(state.meta, state.optimiser, state.step + 1, state.skipped + 1, bad)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), moved, stayed)


def build_chunk(method: AbstractMethod, plan: Plan) -> stages.Wrapped:
    """Return the jitted function of (state, tasks, seed, count) that runs `count` meta-steps, the state donated.

    The count is an argument of the program, not its shape, so that one compilation serves chunks of every length.
    """

    def chunk(state: TrainState, tasks: AbstractTasks, seed: Array, count: Array):
        begin, end = state.step, state.step + count
        length = _block_length(tasks, plan.batch)

        def block(carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            # Blocks lie where they lie however a run is cut into chunks: a resumed run draws with the same program.
            first = carry[0].step // length * length
            keys = jax.vmap(lambda step: step_keys(seed, step, plan.batch))(first + jnp.arange(length))
            batches = jax.vmap(lambda keys: draw_batch(tasks, keys))(keys)

            def one(step: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
                state, losses = carry
                batch = jax.tree.map(lambda leaf: leaf[step - first], batches)
                state, loss = meta_step(method, plan, state, batch)
                return state, losses.at[step - begin].set(loss)

            return jax.lax.fori_loop(carry[0].step, jnp.minimum(first + length, end), one, carry)

        return jax.lax.while_loop(lambda carry: carry[0].step < end, block, (state, jnp.zeros(LONGEST)))

    return jax.jit(chunk, donate_argnums=0)


def _block_length(tasks: AbstractTasks, batch: int) -> int:
    """Return how many meta-steps' tasks are drawn at once."""
    one = jax.eval_shape(tasks.sample, jax.random.key(0))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    return min(_BLOCK, max(1, _BLOCK_BYTES // (size * batch)))


def mesh() -> Mesh:
    """Return the mesh over all devices, its one axis that of tasks."""
    return Mesh(np.asarray(jax.devices()), ("tasks",))


def _shard(tree: Tree) -> Tree:
    """Shard the leading axis (tasks) over all devices where there are several and they divide it."""
    count = len(jax.devices())
    if count == 1 or len(jax.tree.leaves(tree)[0]) % count:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh(), PartitionSpec("tasks")))
