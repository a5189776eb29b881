"""Scores of policies on new tasks, by the number of updates, with intervals over tasks."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from bmaml.errors import InputError
from bmaml.evaluation.evaluate import Evaluation, Row, Setting
from bmaml.evaluation.intervals import interval
from bmaml.learners.base import Meta
from bmaml.rl.environment import AbstractWorld, check_policy
from bmaml.rl.method import PolicyMethod
from bmaml.rl.sampling import Collected, collect

RETURN = "return"


def evaluate_policies(
    method: PolicyMethod,
    meta: Meta,
    world: AbstractWorld,
    *,
    updates: int = 3,
    count: int = 400,
    seed: int = 1,
    batch: int = 40,
    episodes: int | None = None,
    slower: float = 0.5,
) -> Evaluation:
    """Return the mean return in new tasks before any update and after each update.

    Each update is one inner step on trajectories that the current policy gathers. The next trajectories also give the score.
    The return of a task is the mean over particles and episodes of the sum of rewards. The tasks depend on `seed` and `batch`
    alone.

    - `method`: the policy method.
    - `meta`: its meta-parameters.
    - `world`: the environments.
    - `updates`: number of updates.
    - `count`: number of tasks.
    - `seed`: seed of tasks and actions.
    - `batch`: tasks at a time.
    - `episodes`: trajectories that a particle gathers for an update (None: as many as in training).
    - `slower`: factor on the learning rate of updates after the first; Finn et al. (2017) use a half.

    Raises: InputError if the policy does not fit, or a reward is not a number.
    """
    check_policy(world, method.policies.model)
    if episodes is not None:
        method = dataclasses.replace(method, sampling=dataclasses.replace(method.sampling, episodes=episodes))
    size = min(batch, count)
    found = [_batch(method, meta, world, updates, size, slower, seed, i) for i in range(-(-count // size))]
    for batch_found in found:
        _check(batch_found)
    returns = np.concatenate([np.asarray(batch_found.returns, np.float64) for batch_found in found], 1)[:, :count].mean(-1)
    episodes = method.sampling.episodes
    scores: dict[Setting, dict[str, np.ndarray]] = {(episodes, k): {RETURN: returns[k]} for k in range(updates + 1)}
    rows = [Row(episodes, k, RETURN, *interval(returns[k]), count) for k in range(updates + 1)]
    return Evaluation(rows, scores, seed)


def _batch(
    method: PolicyMethod, meta: Meta, world: AbstractWorld, updates: int, size: int, slower: float, seed: int, index: int
) -> Collected:
    goal_key, act_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
    run = _compiled if world.pure else _gathered
    return run(method, meta, world, world.goals(goal_key, size), updates, slower, act_key)


def _gathered(
    method: PolicyMethod, meta: Meta, world: Any, goals: PyTree[Any], updates: int, slower: float, key: PRNGKeyArray
) -> Collected:
    return collect(world, method.policies, method.sampling, meta, goals, updates, key=key, slower=slower)


_compiled = eqx.filter_jit(_gathered)


def _check(found: Collected) -> None:
    task, episode, step = (int(v) for v in found.bad)
    if task >= 0:
        raise InputError(
            f"the environment's reward was not a number at step {step} of episode {episode} in task {task}: give it one that "
            "always is."
        )
