"""A point on the plane that must find a goal that it does not see: the 2-D navigation of MAML."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.rl.environment import AbstractEnvironment

Reward = Literal["squared", "distance", "sparse"]
_REWARDS = ("squared", "distance", "sparse")


@register("world/navigation")
class Navigation(AbstractEnvironment):
    """The point starts at the origin, sees its place, and moves by `reach` times its action, each coordinate clipped to 1.

    From Finn et al. (2017), section 5.3, https://arxiv.org/abs/1703.03400. The paper says only that moves are clipped to 0.1,
    and its code scales actions as here. In these units a policy with deviation 1 explores by the reach. With a deviation of ten
    times the reach, a policy cannot stop at its goal. Goals are uniform on the square of side 1 about the origin. An episode
    ends near the goal, or after `horizon` steps.

    - `reward`: `"squared"` is minus the squared distance to the goal, as the paper states. `"distance"` is minus the distance,
      as the paper's code does (the paper's printed returns fit this one). `"sparse"` is minus distance / `radius` within
      `radius` of the goal, and -1 elsewhere.
    - `discrete`: whether the actions are to stay, or to move by `reach` to the right, left, up or down.
    - `horizon`: most steps of an episode.
    - `reach`: longest move in a coordinate, in units of the plane.
    - `tolerance`: an episode ends if both coordinates are this near to the goal.
    - `radius`: reach of the sparse reward.

    Raises: InputError for an unknown reward, or a length or horizon that is not above 0.
    """

    reward: Reward = eqx.field(static=True, default="squared")
    discrete: bool = eqx.field(static=True, default=False)
    horizon: int = eqx.field(static=True, default=100)
    reach: float = eqx.field(static=True, default=0.1)
    tolerance: float = eqx.field(static=True, default=0.01)
    radius: float = eqx.field(static=True, default=0.2)

    def __check_init__(self):
        if self.reward not in _REWARDS:
            raise InputError(f"unknown reward {self.reward!r}: use 'squared', 'distance' or 'sparse'.")
        if self.horizon < 1 or not min(self.reach, self.tolerance, self.radius) > 0:
            raise InputError(
                f"horizon {self.horizon}, reach {self.reach}, tolerance {self.tolerance} and radius {self.radius}: "
                "give numbers above 0."
            )

    @property
    def observations(self):
        return 2

    @property
    def actions(self):
        return 5 if self.discrete else 2

    def sample(self, key):
        return jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5)

    def reset(self, goal, key):
        return jnp.zeros(2)

    def observe(self, goal, state):
        return state

    def step(self, goal, state, action, key):
        place = state + self._move(action)
        gap = place - goal
        return place, self._reward(gap), jnp.all(jnp.abs(gap) < self.tolerance)

    def _move(self, action: Array) -> Float[Array, " 2"]:
        if self.discrete:
            return self.reach * jnp.asarray([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], float)[action]
        return self.reach * jnp.clip(action, -1.0, 1.0)

    def _reward(self, gap: Float[Array, " 2"]) -> Float[Array, ""]:
        square = (gap**2).sum()
        if self.reward == "squared":
            return -square
        if self.reward == "distance":
            return -jnp.sqrt(square)
        return -jnp.minimum(jnp.sqrt(square) / self.radius, 1.0)
