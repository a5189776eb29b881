"""The locomotion tasks of MAML on Gymnasium's MuJoCo: a half-cheetah or an ant told a direction or a velocity."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.simulators.gymnasium import gymnasium, rollout, spaces
from bmaml.rl.simulators.locomotion import Body, Kind, check_locomotion, draw_goals, reward

_ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "half-cheetah": ("HalfCheetah-v5", {}),
    # The contact forces would add 78 numbers, nearly all 0.
    "ant": ("Ant-v5", {"include_cfrc_ext_in_observation": False, "healthy_z_range": (0.2, 1.0)}),
}


@register("world/mujoco-locomotion")
class MujocoLocomotion(AbstractWorld):
    """A body that must run in a direction, or at a velocity, that the policy is not told.

    From Finn et al. (2017), section 5.3, https://arxiv.org/abs/1703.03400. Rewards are those of
    `bmaml.rl.simulators.locomotion.reward`. The physics are `HalfCheetah-v5` and `Ant-v5` (without contact forces among the
    observations), 0.05 s a step. An episode ends where the environment says so (an ant that falls), or after `horizon` steps.

    - `body`: `"half-cheetah"` or `"ant"`.
    - `task`: `"direction"` has goals +1 and -1, half of the tasks each. `"velocity"` has goals uniform on [0, 2] m/s for the
      half-cheetah and [0, 3] for the ant.
    - `horizon`: steps of an episode.
    - `at_once`: about this many simulators are alive at a time.

    Raises: InputError for an unknown body or task, or a `horizon` or `at_once` below 1; on first use, InputError if Gymnasium
    or MuJoCo is not installed.
    """

    pure: ClassVar[bool] = False
    discrete: ClassVar[bool] = False

    body: Body = eqx.field(static=True, default="half-cheetah")
    task: Kind = eqx.field(static=True, default="direction")
    horizon: int = eqx.field(static=True, default=200)
    at_once: int = eqx.field(static=True, default=80)

    def __check_init__(self):
        check_locomotion(self.body, self.task, self.horizon)
        if self.at_once < 1:
            raise InputError(f"{self.at_once} environments at once: give at least 1.")

    @property
    def observations(self):
        return spaces(_maker(self.body, self.task))[0]

    @property
    def actions(self):
        return spaces(_maker(self.body, self.task))[1]

    def sample(self, key) -> Float[Array, ""]:
        return draw_goals(self.body, self.task, key, 1)[0]

    def goals(self, key, count) -> Float[Array, " count"]:
        return draw_goals(self.body, self.task, key, count)

    def rollout(self, policy, params, goals, episodes, *, key):
        return rollout(self, _maker(self.body, self.task), assign, policy, params, goals, episodes, self.at_once, key)


def assign(environment: Any, goal: Float[Array, ""]) -> None:
    """Tell an `environment` its `goal`."""
    environment.goal = float(goal)


@functools.cache
def _maker(body: Body, task: Kind) -> Any:
    """Return the same function object for each kind of environment, so that simulators can be cached by it."""
    return functools.partial(make, body, task)


def make(body: Body, task: Kind, goal: float = 1.0, **more: Any) -> Any:
    """Return a Gymnasium environment of the task; its goal can be set as `.goal`.

    - `body`, `task`: which body and which task.
    - `goal`: the first goal.
    - `more`: passed on to `gymnasium.make` (rendering).

    Raises: InputError with the install command if a package is missing.
    """
    gym = gymnasium("mujoco")
    name, options = _ENVIRONMENTS[body]
    try:
        inner = gym.make(name, disable_env_checker=True, **options, **more).unwrapped
    except gym.error.DependencyNotInstalled as error:
        raise InputError("this world needs mujoco, which is not installed: pip install 'bmaml[mujoco]'.") from error

    class Runner(gym.Wrapper):
        """The environment with the reward for its goal."""

        def step(self, action: Any) -> Any:
            seen, _, terminated, truncated, info = self.env.step(action)
            return seen, reward(body, task, self.goal, info["x_velocity"], action), terminated, truncated, info

    runner = Runner(inner)
    runner.goal = goal
    return runner
