"""The locomotion tasks of MAML, the same for every simulator."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.errors import InputError

Body = Literal["half-cheetah", "ant"]
Kind = Literal["direction", "velocity"]
_FASTEST = {"half-cheetah": 2.0, "ant": 3.0}
_EFFORT = {"half-cheetah": 0.05, "ant": 0.005}
# Reward of an ant for each step on its feet. Without it, a velocity's reward is never above 0.
_ALIVE = {"half-cheetah": 0.0, "ant": 0.05}
_OFFSET = {"half-cheetah": 0.0, "ant": 1.0}


def check_locomotion(body: str, task: str, horizon: int) -> None:
    """Raise InputError for an unknown `body` or `task`, or a `horizon` below 1."""
    if body not in _FASTEST:
        raise InputError(f"unknown body {body!r}: use 'half-cheetah' or 'ant'.")
    if task not in ("direction", "velocity"):
        raise InputError(f"unknown task {task!r}: use 'direction' or 'velocity'.")
    if horizon < 1:
        raise InputError(f"horizon {horizon}: give at least 1.")


def draw_goals(body: Body, task: Kind, key: PRNGKeyArray, count: int) -> Float[Array, " count"]:
    """Return the goals of `count` tasks for a `body` and a `task`.

    Directions are +1 and -1 in turn, the first one at random. In turn, because a small meta-batch of one direction alone would
    unlearn the other. Velocities are uniform from 0 to 2 m/s (3 for an ant).
    """
    if task == "direction":
        first = jax.random.rademacher(key, (), dtype=jnp.zeros(()).dtype)
        return first * (1 - 2 * (jnp.arange(count) % 2)).astype(first.dtype)
    return jax.random.uniform(key, (count,), maxval=_FASTEST[body])


def reward(body: Body, task: Kind, goal: Any, velocity: Any, action: Any) -> Any:
    """Return the reward of a step: progress minus effort.

    Progress is goal x velocity (direction) or -|velocity - goal| (velocity; with 1 added for the ant). Effort is 0.05
    |action|^2 for the half-cheetah and 0.005 |action|^2 for the ant. The ant gets 0.05 more for each step. The contact cost in
    the code of Finn et al. (2017) is left out.

    - `body`, `task`: which body and which task.
    - `goal`: direction +1 or -1, or velocity in m/s.
    - `velocity`: forward velocity, in m/s.
    - `action`: the action, in [-1, 1].
    """
    gained = goal * velocity if task == "direction" else _OFFSET[body] - abs(velocity - goal)
    return gained - _EFFORT[body] * (action**2).sum() + _ALIVE[body]
