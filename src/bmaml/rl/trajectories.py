"""The experience of a policy: episodes of observations, actions and rewards, padded to one length."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float, Num

from bmaml.data import Data


class Trajectories(eqx.Module):
    """Episodes of one policy (or of many, with leading axes), padded to the same number of steps.

    - `observations`: those before each action.
    - `actions`: vectors, or integers for discrete actions.
    - `rewards`: those after each action.
    - `alive`: 1 for a step that was taken, including the one that ended the episode, and 0 afterwards. The other fields are
      finite there and have no meaning.
    """

    # Within a rollout these are the numbers of one step, so that the axes in front are not always episodes and horizon.
    observations: Float[Array, "*steps observations"]
    actions: Num[Array, "*steps"] | Num[Array, "*steps actions"]
    rewards: Float[Array, "*steps"]
    alive: Float[Array, "*steps"]

    @property
    def returns(self) -> Float[Array, "*batch episodes"]:
        """Sum of each episode's rewards, without discount."""
        return (self.rewards * self.alive).sum(-1)

    def weighted(self, weights: Float[Array, "*batch episodes horizon"]) -> Data:
        """Return the steps as data, with observations as inputs, actions as targets and `weights` as mask."""
        return Data(self.observations, self.actions, weights * self.alive)
