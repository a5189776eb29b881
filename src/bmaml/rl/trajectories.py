"""What a policy lived through: episodes of observations, actions and rewards, padded to one length."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float, Num

from bmaml.data import Data


class Trajectories(eqx.Module):
    """Episodes of one policy (or, with leading axes, of many), padded to the same number of steps.

    `observations` are those before each action, `rewards` those after it. `alive` is 1 for a step that was taken, the one
    that ended the episode included, and 0 after it; what the other fields hold there is finite and means nothing.
    """

    observations: Float[Array, "*batch episodes horizon observations"]
    actions: Num[Array, "*batch episodes horizon ..."]
    rewards: Float[Array, "*batch episodes horizon"]
    alive: Float[Array, "*batch episodes horizon"]

    @property
    def returns(self) -> Float[Array, "*batch episodes"]:
        """Sum of each episode's rewards, not discounted."""
        return (self.rewards * self.alive).sum(-1)

    def weighted(self, weights: Float[Array, "*batch episodes horizon"]) -> Data:
        """Return the steps as data, observations as inputs and actions as targets, each step's log-likelihood so weighted."""
        return Data(self.observations, self.actions, weights * self.alive)
