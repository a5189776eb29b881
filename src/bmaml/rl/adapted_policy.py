"""A policy that has adapted to one task, and that acts."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpy.typing import ArrayLike

from bmaml.distributions import AbstractContinuous, AbstractDistribution
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.trajectories import Trajectories


class AdaptedPolicy(eqx.Module):
    """The particles of a policy's parameters after adaptation (`posterior`). It acts like a particle drawn at random."""

    posterior: ParticlePosterior

    def actions(self, observations: ArrayLike) -> AbstractDistribution:
        """Return the distribution over actions at `observations` of shape (n, observations): the mixture of the particles."""
        return self.posterior.predict(jnp.asarray(observations, jnp.zeros(()).dtype))

    def act(self, observation: ArrayLike, *, key: PRNGKeyArray | None = None) -> Array:
        """Return the action at one `observation`: drawn with a `key`, else the mean (the most likely one of discrete
        actions).
        """
        chosen = self.actions(jnp.asarray(observation)[None])
        if key is not None:
            return chosen.sample(key)[0]
        return chosen.mean[0] if isinstance(chosen, AbstractContinuous) else chosen.mean[0].argmax(-1)

    def collect(self, world: AbstractWorld, goal: PyTree[Any], episodes: int = 20, *, seed: int = 0) -> Trajectories:
        """Return the trajectories that each particle gathers in one task, (particles, episodes, horizon): what `Run.adapt`
        takes.

        - `world`: the environments.
        - `goal`: the task.
        - `episodes`: episodes of each particle.
        - `seed`: seed of actions and environments.
        """
        params, goals = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (self.posterior.params, goal))
        lived = world.rollout(self.posterior.model, params, goals, episodes, key=jax.random.key(seed))
        return jax.tree.map(lambda leaf: leaf[0], lived)
