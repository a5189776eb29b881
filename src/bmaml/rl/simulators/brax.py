"""The locomotion tasks of MAML in Brax: pure, so that rollouts and training are one compiled program."""

from __future__ import annotations

import functools
import warnings
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.rl.environment import AbstractEnvironment
from bmaml.rl.simulators.locomotion import Body, Kind, check_locomotion, draw_goals, reward

_NAMES = {"half-cheetah": "halfcheetah", "ant": "ant"}
_BACKENDS = ("spring", "positional", "generalized")


@register("world/brax-locomotion")
class BraxLocomotion(AbstractEnvironment):
    """A body that must run in a direction, or at a velocity, that the policy is not told.

    Goals and rewards are those of `MujocoLocomotion`. An ant's episode ends when it falls.

    - `body`: `"half-cheetah"` or `"ant"`.
    - `task`: `"direction"` or `"velocity"`.
    - `horizon`: steps of an episode.
    - `backend`: Brax's physics: "spring" (the fastest), "positional" or "generalized" (the nearest to MuJoCo).

    Raises: InputError for an unknown body, task or backend, or a horizon below 1; on first use, InputError if Brax is not
    installed.
    """

    discrete: ClassVar[bool] = False

    body: Body = eqx.field(static=True, default="half-cheetah")
    task: Kind = eqx.field(static=True, default="direction")
    horizon: int = eqx.field(static=True, default=200)
    backend: str = eqx.field(static=True, default="spring")

    def __check_init__(self):
        check_locomotion(self.body, self.task, self.horizon)
        if self.backend not in _BACKENDS:
            raise InputError(f"unknown backend {self.backend!r}: use one of {', '.join(_BACKENDS)}.")

    @property
    def observations(self):
        return self._simulator.observation_size

    @property
    def actions(self):
        return self._simulator.action_size

    @property
    def _simulator(self) -> Any:
        return _environment(self.body, self.backend)

    def sample(self, key):
        return draw_goals(self.body, self.task, key, 1)[0]

    def reset(self, goal, key):
        return self._simulator.reset(key)

    def observe(self, goal, state):
        return state.obs

    def step(self, goal, state, action, key):
        action = jnp.clip(action, -1.0, 1.0)
        moved = self._simulator.step(state, action)
        gained = reward(self.body, self.task, goal, moved.metrics["x_velocity"], action)
        return moved, gained, moved.done > 0


@functools.cache
def _environment(body: Body, backend: str) -> Any:
    try:
        with warnings.catch_warnings():
            # Brax warns at each import that MJX has succeeded it.
            warnings.simplefilter("ignore")
            from brax.envs import get_environment

            return get_environment(_NAMES[body], backend=backend)
    except ImportError as error:
        raise InputError("this world needs brax, which is not installed: pip install 'bmaml[brax]'.") from error
