"""Gathers trajectories with policies before and after each step of their adaptation."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractPolicyLearner, Meta
from bmaml.rl.advantages import Advantages
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.trajectories import Trajectories


@register("policy/sampling")
class Sampling(eqx.Module):
    """How many trajectories a particle gathers for one gradient (`episodes`), and how they weigh its actions (`advantages`).

    Raises: InputError for fewer than one trajectory.
    """

    episodes: int = eqx.field(static=True, default=20)
    advantages: Advantages = Advantages()

    def __check_init__(self):
        if self.episodes < 1:
            raise InputError(f"{self.episodes} trajectories a gradient: give at least 1.")


class Collected(eqx.Module):
    """What policies gathered in several tasks, set by set, with an inner step between each set and the next.

    - `sets`: steps weighted by their advantages, with axes (sets, tasks, particles, episodes, horizon).
    - `returns`: means over episodes, (sets, tasks, particles).
    - `bad`: task, episode and step of the first reward that is not finite, or -1 if all are finite.
    """

    sets: Data
    returns: Float[Array, "sets tasks particles"]
    bad: Int[Array, " 3"]


def collect(
    world: AbstractWorld,
    learner: AbstractPolicyLearner[Any],
    sampling: Sampling,
    meta: Meta,
    goals: PyTree[Any],
    updates: int,
    *,
    key: PRNGKeyArray,
    slower: float = 1.0,
) -> Collected:
    """Return what policies gather before any update and after each update, which is one inner step on the set before it.

    In a pure environment JAX can compile this function. In others the rollouts run on the host, between compiled pieces.

    - `world`, `goals`: environments and tasks.
    - `learner`: how policies adapt.
    - `sampling`: how trajectories are gathered and weighted.
    - `updates`: number of updates.
    - `slower`: factor on the learning rate of updates after the first.
    """
    tasks = len(jax.tree.leaves(goals)[0])
    states = _spread(learner.start(meta, no_rows(), key=key), tasks)
    later = learner if slower == 1.0 else learner.slowed(slower)
    collected = []
    # A Python loop instead of a scan, because a simulator may have to run on the host between two steps.
    for update in range(updates + 1):
        act_key, step_key = jax.random.split(jax.random.fold_in(key, update))
        lived = world.rollout(learner.model, _params(learner, meta, states), goals, sampling.episodes, key=act_key)
        one = judge(sampling, lived)
        collected.append(one)
        if update < updates:
            states = _advance(learner if update == 0 else later, meta, states, one[0], step_key)
    sets, returns, bad = jax.tree.map(lambda *leaves: jnp.stack(leaves), *collected)
    return Collected(sets, returns, bad[jnp.argmax(bad[:, 0] >= 0)])


def no_rows() -> Data:
    """Return data without weight, for the start of a learner that has seen no data."""
    return Data(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))


def _spread(tree: PyTree[Any], count: int) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)


@eqx.filter_jit
def judge(sampling: Sampling, lived: Trajectories) -> tuple[Data, Float[Array, "tasks particles"], Int[Array, " 3"]]:
    """Return trajectories `lived` (tasks, particles, ...) as weighted data, mean returns, and the place of a reward that is not
    finite.

    `sampling` says how they are weighted.
    """
    sets = jax.vmap(jax.vmap(sampling.advantages.data))(lived)
    wrong = ~jnp.isfinite(lived.rewards).all(1)
    place = jnp.stack(jnp.unravel_index(jnp.argmax(wrong), wrong.shape)).astype(jnp.int32)
    return sets, lived.returns.mean(-1), jnp.where(wrong.any(), place, -1)


def _params(learner: AbstractPolicyLearner[Any], meta: Meta, states: Any) -> PyTree[Any]:
    """Return the parameters of the policies of all tasks."""
    return jax.vmap(lambda state: learner.finish(meta, state, no_rows(), key=jax.random.key(0)).params)(states)


def inner_step(learner: AbstractPolicyLearner[Any], meta: Meta, state: Any, given: Data, key: PRNGKeyArray) -> Any:
    """Return the state of one task after one inner step of `learner` from `state`, on what each particle has gathered
    (`given`).
    """
    return learner.advance(meta, state, jax.tree.map(lambda leaf: leaf[None], given), 1, key=key)


@eqx.filter_jit
def _advance(learner: AbstractPolicyLearner[Any], meta: Meta, states: Any, given: Data, key: PRNGKeyArray) -> Any:
    """Return the states of all tasks after one inner step, each on its own data."""
    keys = jax.random.split(key, len(given.mask))
    return jax.vmap(lambda *own: inner_step(learner, meta, *own))(states, given, keys)
