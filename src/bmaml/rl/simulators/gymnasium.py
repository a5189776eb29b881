"""Any Gymnasium environment as a family of control tasks, through Gymnasium's vector interface."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.simulators.host import EpisodeError, RolloutShape, collect_rollouts

Goal = PyTree[Any]
MakeEnvironment = Callable[..., Any]
Assign = Callable[[Any, Goal], None]


@register("world/gymnasium")
class GymnasiumWorld(AbstractWorld):
    """Tasks that consist of a Gymnasium environment and a goal.

    Episodes end where the environment terminates or truncates them, or after `horizon` steps. Observations of any space that
    Gymnasium can flatten are flattened. Actions are a vector (`Box`, clipped to its bounds) or an integer (`Discrete`).
    Rollouts run on the host, so a run resumes from its last whole meta-step.

    - `make`: `make()` returns an environment. Without `assign`, `make(goal)` is called for every episode.
    - `draw`: `draw(key)` returns the goal of one task, any pytree of arrays.
    - `horizon`: most steps of an episode.
    - `assign`: `assign(environment, goal)` sets the goal before each episode.
    - `at_once`: about this many environments are alive at a time.

    Raises: InputError for a `horizon` or `at_once` below 1; on first use, InputError if Gymnasium is not installed or a space
    is of another kind.
    """

    pure: ClassVar[bool] = False

    make: MakeEnvironment = eqx.field(static=True)
    draw: Callable[[PRNGKeyArray], Goal] = eqx.field(static=True)
    horizon: int = eqx.field(static=True, default=200)
    assign: Assign | None = eqx.field(static=True, default=None)
    at_once: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if self.horizon < 1 or self.at_once < 1:
            raise InputError(f"horizon {self.horizon} and {self.at_once} environments at once: give at least 1 of each.")

    @property
    def observations(self):
        return self._spaces[0]

    @property
    def actions(self):
        return self._spaces[1]

    @property
    def discrete(self):
        return self._spaces[2]

    @property
    def _spaces(self) -> tuple[int, int, bool]:
        return spaces(self.make, self.draw if self.assign is None else None)

    def sample(self, key):
        return jax.tree.map(jnp.asarray, self.draw(key))

    def goals(self, key, count):
        each = [self.sample(k) for k in jax.random.split(key, count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def rollout(self, policy, params, goals, episodes, *, key):
        return rollout(self, self.make, self.assign, policy, params, goals, episodes, self.at_once, key)


def rollout(
    world: AbstractWorld,
    make: MakeEnvironment,
    assign: Assign | None,
    policy: Any,
    params: PyTree[Any],
    goals: Goal,
    episodes: int,
    at_once: int,
    key: PRNGKeyArray,
):
    """Return trajectories of a world on the host.

    - `world`: names and widths of the world.
    - `make`, `assign`: make an environment and tell it its goal.
    - `policy`, `params`: the model of actions, and parameters with leading axes (tasks, particles).
    - `goals`: the tasks.
    - `episodes`: episodes of each policy in each task.
    - `at_once`: environments alive at a time.
    """
    tasks, particles = jax.tree.leaves(params)[0].shape[:2]
    actions = () if world.discrete else (world.actions,)
    shape = RolloutShape(tasks, particles, episodes, world.horizon, world.observations, actions)

    def simulators(count: int) -> _Vector:
        return _Vector(make, None, count) if assign is None else _kept(make, assign, count)

    return collect_rollouts(type(world).__name__, simulators, policy, params, goals, shape, at_once, key)


def gymnasium(extra: str = "gymnasium") -> ModuleType:
    """Return the package `gymnasium`; `extra` is the extra that installs it.

    Raises: InputError with the install command if the package is missing.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise InputError(f"this world needs gymnasium, which is not installed: pip install 'bmaml[{extra}]'.") from error
    return gymnasium


@functools.lru_cache(maxsize=16)
def spaces(make: MakeEnvironment, draw: Callable[[PRNGKeyArray], Goal] | None = None) -> tuple[int, int, bool]:
    """Return the width of observations, the width or number of actions, and whether actions are discrete.

    `make` makes an environment. With `draw`, the environment is made from the goal that it draws.
    Raises: InputError if a space cannot be flattened to a vector, or actions are neither a vector nor an integer.
    """
    gym = gymnasium()
    environment = _flat(gym, make() if draw is None else make(draw(jax.random.key(0))))
    seen, action = environment.observation_space, environment.action_space
    environment.close()
    if isinstance(action, gym.spaces.Discrete):
        return seen.shape[0], int(action.n), True
    if isinstance(action, gym.spaces.Box) and len(action.shape) == 1:
        return seen.shape[0], action.shape[0], False
    raise InputError(
        f"actions of the environment are {action}: use one whose action space is a Discrete, or a Box of one axis."
    )


def _flat(gym: ModuleType, environment: Any) -> Any:
    space = environment.observation_space
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        return environment
    if not space.is_np_flattenable:
        raise InputError(f"observations of the environment are {space}: use a space that Gymnasium can flatten to a vector.")
    return gym.wrappers.FlattenObservation(environment)


@functools.lru_cache(maxsize=2)
def _kept(make: MakeEnvironment, assign: Assign, count: int) -> _Vector:
    """Return a vector of simulators. The last ones are kept, because simulators are costly to make (milliseconds for a
    MuJoCo model).
    """
    return _Vector(make, assign, count)


class _Vector:
    """A vector of Gymnasium environments as simulators side by side."""

    def __init__(self, make: MakeEnvironment, assign: Assign | None, count: int):
        self.gym, self.make, self.assign, self.count = gymnasium(), make, assign, count
        self.vector: Any = None if assign is None else self._vector([make] * count)

    def _vector(self, makers: list[MakeEnvironment]) -> Any:
        guarded = [functools.partial(_guarded, self.gym, make, slot) for slot, make in enumerate(makers)]
        return self.gym.vector.SyncVectorEnv(guarded, copy=False)

    def reset(self, goals: list[Goal], seeds: list[int]) -> np.ndarray:
        if self.assign is None:
            self.vector = self._vector([functools.partial(self.make, goal) for goal in goals])
        else:
            for environment, goal in zip(self.vector.envs, goals, strict=True):
                self.assign(environment.env, goal)
        return np.array(self.vector.reset(seed=seeds)[0])

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        space = self.vector.single_action_space
        if isinstance(space, self.gym.spaces.Box):
            actions = np.clip(actions, space.low, space.high).astype(space.dtype)
        else:
            actions = (actions + space.start).astype(space.dtype)
        seen, rewards, terminated, truncated, _ = self.vector.step(actions)
        return np.array(seen), np.array(rewards), terminated | truncated


def _guarded(gym: ModuleType, make: MakeEnvironment, slot: int) -> Any:
    """Return an environment that says which one it is when it raises, and that hides its infos, because joining them is slow.

    After its episode has ended the environment stands still. Only a reset with a seed starts it again, never its vector.
    """

    class Guarded(gym.Wrapper):
        ended, seen = False, None

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            if seed is None and self.ended:
                return self.seen, {}
            try:
                self.ended, self.seen = False, self.env.reset(seed=seed, options=options)[0]
                return self.seen, {}
            except Exception as error:
                raise EpisodeError(slot, error) from error

        def step(self, action: Any) -> Any:
            if self.ended:
                return self.seen, 0.0, False, False, {}
            try:
                seen, reward, terminated, truncated, _ = self.env.step(action)
            except Exception as error:
                raise EpisodeError(slot, error) from error
            self.seen, self.ended = seen, terminated or truncated
            return seen, reward, terminated, truncated, {}

    return Guarded(_flat(gym, make()))
