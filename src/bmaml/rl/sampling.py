"""Gather trajectories with policies before and after each step of their adaptation."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.base import Meta
from bmaml.learners.gradient import GradientLearner, GradientState
from bmaml.learners.rules import Scaled
from bmaml.rl.advantages import Advantages
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.trajectories import Trajectories


@register("policy/sampling")
class Sampling(eqx.Module):
    """How many trajectories a particle gathers for one gradient, and how its actions are judged by them.

    Raises: InputError for fewer than one trajectory.
    """

    episodes: int = eqx.field(static=True, default=20)
    advantages: Advantages = Advantages()

    def __check_init__(self):
        if self.episodes < 1:
            raise InputError(f"{self.episodes} trajectories a gradient: give at least 1.")


class Collected(eqx.Module):
    """What policies gathered in a number of tasks, set by set, an inner step between each set and the next.

    `sets` has axes (sets, tasks, particles, episodes, horizon), each step weighed by its advantage; `returns` (sets, tasks,
    particles) are means over episodes; `bad` is the task, episode and step of the first reward that is not finite, -1 where
    all are.
    """

    sets: Data
    returns: Float[Array, "sets tasks particles"]
    bad: Int[Array, " 3"]


def collect(
    world: AbstractWorld,
    learner: GradientLearner,
    sampling: Sampling,
    meta: Meta,
    goals: PyTree[Any],
    updates: int,
    *,
    key: PRNGKeyArray,
    slower: float = 1.0,
) -> Collected:
    """Return what policies gather before any update and after each of `updates` inner steps, every one on its own set.

    A pure world makes this a function that JAX can compile; in another the rollouts run on the host, between the compiled
    pieces. Inner steps after the first are `slower` times as long.
    """
    tasks = len(jax.tree.leaves(goals)[0])
    states = _spread(learner.start(meta, nothing()), tasks)
    later = learner if slower == 1.0 else dataclasses.replace(learner, rule=Scaled(learner.rule, slower))
    collected = []
    # A Python loop, and not a scan: between two steps a simulator may have to run on the host.
    for update in range(updates + 1):
        act_key, step_key = jax.random.split(jax.random.fold_in(key, update))
        lived = world.rollout(learner.model, states.particles.params, goals, sampling.episodes, key=act_key)
        one = judge(sampling, lived)
        collected.append(one)
        if update < updates:
            states = _advance(learner if update == 0 else later, meta, states, one[0], step_key)
    sets, returns, bad = jax.tree.map(lambda *leaves: jnp.stack(leaves), *collected)
    return Collected(sets, returns, bad[jnp.argmax(bad[:, 0] >= 0)])


def nothing() -> Data:
    """Return data of no weight, for where a learner starts before it has seen any."""
    return Data(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))


def _spread(tree: PyTree[Any], count: int) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)


@eqx.filter_jit
def judge(sampling: Sampling, lived: Trajectories) -> tuple[Data, Float[Array, "tasks particles"], Int[Array, " 3"]]:
    """Return trajectories (tasks, particles, ...) as weighed data, mean returns, and where a reward is not finite."""
    sets = jax.vmap(jax.vmap(sampling.advantages.data))(lived)
    wrong = ~jnp.isfinite(lived.rewards).all(1)
    place = jnp.stack(jnp.unravel_index(jnp.argmax(wrong), wrong.shape)).astype(jnp.int32)
    return sets, lived.returns.mean(-1), jnp.where(wrong.any(), place, -1)


def inner_step(learner: GradientLearner, meta: Meta, state: GradientState, given: Data, key: PRNGKeyArray) -> GradientState:
    """Return the state of one task after one inner step on what each particle has gathered."""
    return learner.advance(meta, state, jax.tree.map(lambda leaf: leaf[None], given), 1, key=key)


@eqx.filter_jit
def _advance(learner: GradientLearner, meta: Meta, states: GradientState, given: Data, key: PRNGKeyArray) -> GradientState:
    """Return the states of all tasks after one inner step, each on its own data."""
    keys = jax.random.split(key, len(given.mask))
    return jax.vmap(lambda *own: inner_step(learner, meta, *own))(states, given, keys)
