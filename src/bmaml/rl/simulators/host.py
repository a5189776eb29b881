"""Rollouts in simulators on the host: many episodes at a time, with actions from one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from bmaml.errors import InputError
from bmaml.models.base import AbstractModel
from bmaml.rl.trajectories import Trajectories

_SEEDS = 2**31 - 1


class EpisodeError(Exception):
    """An environment raised an error. The exception holds the number of the simulator and what it said."""

    def __init__(self, slot: int, cause: Exception):
        super().__init__(slot, cause)
        self.slot, self.cause = slot, cause


@runtime_checkable
class Simulators(Protocol):
    """A fixed number of simulators side by side."""

    def reset(self, goals: list[PyTree[Any]], seeds: list[int]) -> np.ndarray:
        """Begin an episode in each simulator, with these `goals` and `seeds`; return the observations (simulators,
        observations).

        Raises: EpisodeError.
        """
        ...

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take `actions` in each simulator; return observations, rewards, and which episodes have ended. An ended episode may
        continue.

        Raises: EpisodeError.
        """
        ...


class RolloutShape(eqx.Module):
    """The sizes of a rollout: `tasks`, `particles`, `episodes` and steps (`horizon`), and the widths of `observations`
    and `actions`.
    """

    tasks: int
    particles: int
    episodes: int
    horizon: int
    observations: int
    actions: tuple[int, ...]


def collect_rollouts(
    name: str,
    simulators: Callable[[int], Simulators],
    policy: AbstractModel,
    params: PyTree[Any],
    goals: PyTree[Any],
    shape: RolloutShape,
    at_once: int,
    key: PRNGKeyArray,
) -> Trajectories:
    """Return the experience of the policies, with leading axes (tasks, particles, episodes, horizon).

    All episodes of one policy run together, for as many policies as fit. Actions and seeds are functions of key, task,
    particle, episode and step, whatever else runs at the same time.

    - `name`: name of the world in errors.
    - `simulators`: makes a given number of simulators.
    - `policy`, `params`: the model of actions, and parameters with leading axes (tasks, particles).
    - `goals`: the tasks.
    - `shape`: sizes of the rollout.
    - `at_once`: about this many episodes run at a time.

    Raises: InputError if an environment raises, or returns a reward or an observation that is not finite.
    """
    policies = shape.tasks * shape.particles
    width = min(policies, max(1, at_once // shape.episodes))
    flat = jax.tree.map(lambda leaf: leaf.reshape(policies, *leaf.shape[2:]), params)
    goals, many = jax.tree.map(np.asarray, goals), simulators(width * shape.episodes)
    lived = _empty(shape)
    for chosen in _micro_batches(policies, width):
        wave = _Wave(name, many, policy, jax.tree.map(lambda leaf, c=chosen: leaf[c], flat), chosen, shape, key)
        wave.run(goals)
        for column, found in zip(lived, wave.columns, strict=True):
            column[chosen] = found
    leading = (shape.tasks, shape.particles)
    dtype = jnp.zeros(()).dtype
    parts = [column.reshape(*leading, *column.shape[1:]) for column in lived]
    return Trajectories(*(jnp.asarray(p, p.dtype if p.dtype == np.int32 else dtype) for p in parts))


def _micro_batches(policies: int, width: int) -> Iterator[np.ndarray]:
    """Return the policies that run side by side. The last ones are repeated to fill up, so that all batches have one shape."""
    for first in range(0, policies, width):
        yield np.minimum(np.arange(first, first + width), policies - 1)


def _empty(shape: RolloutShape, policies: int | None = None) -> tuple[np.ndarray, ...]:
    """Observations, actions, rewards and alive, (policies, episodes, horizon, ...), all 0."""
    lead = (policies or shape.tasks * shape.particles, shape.episodes, shape.horizon)
    actions = np.zeros((*lead, *shape.actions), np.float64 if shape.actions else np.int32)
    return np.zeros((*lead, shape.observations)), actions, np.zeros(lead), np.zeros(lead)


# Not `filter_jit`: preparing its call takes as long as 20 steps of MuJoCo.
@functools.partial(jax.jit, static_argnums=0)
def _act(
    static: AbstractModel,
    dynamic: AbstractModel,
    params: PyTree[Any],
    seen: Any,
    policies: Array,
    key: PRNGKeyArray,
    step: int | Array,
) -> Array:
    policy = eqx.combine(static, dynamic)

    def policy_step(params: PyTree[Any], seen: Array, policy_index: Array) -> Array:
        return policy.predictive(params, seen).sample(jax.random.fold_in(jax.random.fold_in(key, policy_index), step))

    return jax.vmap(policy_step)(params, seen, policies)


@functools.partial(jax.jit, static_argnums=2)
def _seeds(policies: Array, key: PRNGKeyArray, episodes: int) -> Array:
    def policy_seeds(policy_index: Array) -> Array:
        return jax.random.randint(jax.random.fold_in(key, policy_index), (episodes,), 0, _SEEDS)

    return jax.vmap(policy_seeds)(policies)


class _Wave:
    """Episodes that run side by side, from their reset to the end of the last one."""

    def __init__(
        self,
        name: str,
        simulators: Simulators,
        policy: AbstractModel,
        params: PyTree[Any],
        policies: np.ndarray,
        shape: RolloutShape,
        key: PRNGKeyArray,
    ):
        self.name, self.simulators, self.params, self.shape, self.policies = name, simulators, params, shape, policies
        self.dynamic, self.static = eqx.partition(policy, eqx.is_array)
        self.seed_key, self.act_key = jax.random.split(key)
        self.columns = _empty(shape, len(policies))

    def run(self, goals: PyTree[Any]) -> None:
        """Fill the columns with episodes of these `goals`."""
        lead = len(self.policies), self.shape.episodes
        slots = np.repeat(self.policies // self.shape.particles, self.shape.episodes)
        policies = jnp.asarray(self.policies)
        seeds = np.asarray(_seeds(policies, self.seed_key, self.shape.episodes)).ravel()
        each = [jax.tree.map(lambda leaf, t=task: leaf[t], goals) for task in slots]
        seen = self._within(0, lambda: self.simulators.reset(each, [int(seed) for seed in seeds]))
        alive, dtype = np.ones(lead), jnp.zeros(()).dtype
        for step in range(self.shape.horizon):
            self._check(seen, alive, step, "observation")
            shown = seen.reshape(*lead, -1).astype(dtype)
            actions = np.asarray(_act(self.static, self.dynamic, self.params, shown, policies, self.act_key, step))
            flat = actions.reshape(-1, *self.shape.actions)
            seen, rewards, ended = self._within(step, lambda flat=flat: self.simulators.step(flat))
            self._check(rewards, alive, step, "reward")
            rewards = np.where(alive > 0, rewards.reshape(lead), 0.0)
            for column, value in zip(self.columns, (shown, actions, rewards, alive), strict=True):
                column[:, :, step] = value
            alive = alive * ~ended.reshape(lead)
            if not alive.any():
                return

    def _within(self, step: int, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except EpisodeError as error:
            said = " ".join(str(error.cause).split()).rstrip(".") or "nothing"
            raise InputError(
                f"{self.name} raised {type(error.cause).__name__} ({said}) at step {step} of {self._place(error.slot)}: "
                "give an environment that can be stepped with this action."
            ) from error.cause

    def _check(self, values: np.ndarray, alive: np.ndarray, step: int, what: str) -> None:
        bad = ~np.isfinite(values).reshape(alive.size, -1).all(1) & (alive.ravel() > 0)
        if bad.any():
            raise InputError(
                f"{self.name} gave {'an' if what[0] == 'o' else 'a'} {what} that is not finite at step {step} of "
                f"{self._place(int(bad.argmax()))}: give an environment whose {what}s are numbers."
            )

    def _place(self, slot: int) -> str:
        task, particle = divmod(int(self.policies[slot // self.shape.episodes]), self.shape.particles)
        of = f" of particle {particle}" if self.shape.particles > 1 else ""
        return f"episode {slot % self.shape.episodes}{of} in task {task}"
