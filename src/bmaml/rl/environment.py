"""The contract of a family of environments, and rollouts of pure environments as one scan."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from bmaml.errors import InputError
from bmaml.models.base import AbstractModel
from bmaml.rl.trajectories import Trajectories
from bmaml.tasks.base import AbstractSource

Goal = PyTree[Any]
State = PyTree[Any]


class AbstractWorld(AbstractSource):
    """A family of control tasks. A task is a goal, and a policy is scored by the trajectories that it gathers there.

    `pure` says whether JAX can compile `rollout`. If not (a simulator on the host), goals and rollouts are computed between
    compiled programs, with concrete arrays.
    """

    pure: ClassVar[bool]

    @property
    @abstractmethod
    def observations(self) -> int:
        """Width of an observation."""

    @property
    @abstractmethod
    def actions(self) -> int:
        """Width of an action, or the number of actions if they are discrete."""

    @property
    @abstractmethod
    def discrete(self) -> bool:
        """Whether an action is an integer from 0, not a vector."""

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Number of steps after which an episode is cut off."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray) -> Goal:
        """Return the goal of one task."""

    @abstractmethod
    def goals(self, key: PRNGKeyArray, count: int) -> Goal:
        """Return the goals of `count` tasks, on a leading axis."""

    @abstractmethod
    def rollout(
        self, policy: AbstractModel, params: PyTree[Any], goals: Goal, episodes: int, *, key: PRNGKeyArray
    ) -> Trajectories:
        """Return `episodes` trajectories of each policy in each task.

        Every field of the result has leading axes (tasks, particles, episodes, horizon). Actions are drawn from
        `policy.predictive(params, observations)`.

        - `policy`: the model of actions.
        - `params`: its parameters; leaves have leading axes (tasks, particles).
        - `goals`: the tasks; leaves have the leading axis (tasks).
        - `episodes`: episodes of each policy in each task.
        """


class AbstractEnvironment(AbstractWorld):
    """A family of environments as pure functions of one episode, so that thousands of rollouts are one scan.

    A goal is the task's parameters, and a state is any pytree of arrays. Only `observe` decides what a policy can know of the
    goal. `step` must accept any action that a policy's distribution can draw, and clips the action itself.
    """

    pure: ClassVar[bool] = True

    @abstractmethod
    def reset(self, goal: Goal, key: PRNGKeyArray) -> State:
        """Return the state in which an episode begins, for a `goal`."""

    @abstractmethod
    def observe(self, goal: Goal, state: State) -> Float[Array, " observations"]:
        """Return what the policy sees of a `state`, for a `goal`."""

    @abstractmethod
    def step(
        self, goal: Goal, state: State, action: Array, key: PRNGKeyArray
    ) -> tuple[State, Float[Array, ""], Bool[Array, ""]]:
        """Return the next state, the reward for reaching it, and whether the episode has ended.

        - `goal`: the task.
        - `state`: the state now.
        - `action`: the policy's action.
        """

    def goals(self, key, count):
        return jax.vmap(self.sample)(jax.random.split(key, count))

    def rollout(self, policy, params, goals, episodes, *, key):
        return _rollout(self, policy, params, goals, episodes, key)


@eqx.filter_jit
def _rollout(
    environment: AbstractEnvironment, policy: AbstractModel, params: PyTree[Any], goals: Goal, episodes: int, key: PRNGKeyArray
) -> Trajectories:
    tasks, particles = jax.tree.leaves(params)[0].shape[:2]
    keys = jax.random.split(key, (tasks, particles))

    def policy_rollout(params: PyTree[Any], goal: Goal, key: PRNGKeyArray) -> Trajectories:
        return _episodes(environment, policy, params, goal, episodes, key)

    return jax.vmap(jax.vmap(policy_rollout, (0, None, 0)))(params, goals, keys)


def _episodes(
    environment: AbstractEnvironment, policy: AbstractModel, params: PyTree[Any], goal: Goal, episodes: int, key: PRNGKeyArray
) -> Trajectories:
    """Return `episodes` episodes of one policy in one task: (episodes, horizon)."""
    reset_key, run_key = jax.random.split(key)
    states = jax.vmap(environment.reset, (None, 0))(goal, jax.random.split(reset_key, episodes))
    dtype = jnp.zeros(()).dtype

    def step(carry: tuple[State, Array], key: PRNGKeyArray) -> tuple[tuple[State, Array], Trajectories]:
        states, alive = carry
        act_key, move_key = jax.random.split(key)
        seen = jax.vmap(environment.observe, (None, 0))(goal, states)
        actions = policy.predictive(params, seen).sample(act_key)
        moved, rewards, done = jax.vmap(environment.step, (None, 0, 0, 0))(
            goal, states, actions, jax.random.split(move_key, episodes)
        )
        # An ended episode keeps its last state, so nothing that a simulator does afterwards can become NaN.
        moved = jax.tree.map(lambda new, old: jnp.where(_like(alive, new), new, old), moved, states)
        lived = Trajectories(seen, actions, jnp.where(alive > 0, rewards, 0.0).astype(dtype), alive)
        return (moved, alive * (1 - done.astype(dtype))), lived

    keys = jax.random.split(run_key, environment.horizon)
    _, lived = jax.lax.scan(step, (states, jnp.ones(episodes, dtype)), keys)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), lived)


def _like(alive: Float[Array, " episodes"], leaf: Array) -> Bool[Array, "episodes ..."]:
    return (alive > 0).reshape(-1, *[1] * (leaf.ndim - 1))


def check_policy(world: AbstractWorld, policy: AbstractModel) -> None:
    """Check, without running anything, that `policy` takes the observations of `world` and returns its actions.

    Raises: InputError with both widths if it does not.
    """
    params = jax.eval_shape(policy.init, jax.random.key(0))
    seen = jax.ShapeDtypeStruct((2, world.observations), jnp.zeros(()).dtype)
    kind = type(world).__name__
    try:
        answer = jax.eval_shape(lambda p, x: policy.predictive(p, x).sample(jax.random.key(0)), params, seen)
    except (TypeError, ValueError):
        raise InputError(
            f"the policy cannot take the {world.observations} observations of {kind}: "
            f"give its network {world.observations} inputs."
        ) from None
    wanted = "one of a finite number" if world.discrete else f"a vector of {world.actions}"
    if jnp.issubdtype(answer.dtype, jnp.integer) != world.discrete:
        model = "a CategoricalModel" if world.discrete else "a GaussianPolicy"
        raise InputError(f"an action of {kind} is {wanted}, which this policy does not draw: use {model}.")
    width = _choices(policy, params, seen) if world.discrete else answer.shape[-1]
    if width != world.actions:
        raise InputError(
            f"the policy has {width} actions and {kind} takes {world.actions}: give its network {world.actions} outputs."
        )


def _choices(policy: AbstractModel, params: PyTree[Any], seen: jax.ShapeDtypeStruct) -> int:
    """Return the number of actions from which a discrete policy chooses."""
    return jax.eval_shape(lambda p, x: policy.predictive(p, x).mean, params, seen).shape[-1]
