"""What each action of a policy was worth: returns to go, a linear baseline, generalised advantages."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.rl.trajectories import Trajectories

Steps = Float[Array, "episodes horizon"]
_RIDGE = 1e-5


def discounted(values: Steps, factor: float) -> Steps:
    """Return at each step the sum over it and later ones of value times factor to the power of the distance."""

    def back(later: Array, value: Array) -> tuple[Array, Array]:
        total = value + factor * later
        return total, total

    return jax.lax.scan(back, jnp.zeros(values.shape[0], values.dtype), values.T, reverse=True)[1].T


def linear_values(lived: Trajectories, discount: float) -> Steps:
    """Return what a linear function of features expects the discounted return to go to be, fitted to these episodes.

    Features are the observation (clipped to 10), its squares, the time as t/100, its square and cube, and 1: those of Duan et
    al. (2016). Ridge regression on the steps taken, the ridge 1e-5 of the features' mean square.
    """
    seen = jnp.clip(lived.observations, -10, 10)
    t = jnp.broadcast_to(jnp.arange(seen.shape[-2], dtype=seen.dtype)[:, None] / 100, (*seen.shape[:-1], 1))
    features = jnp.concatenate([seen, seen**2, t, t**2, t**3, jnp.ones_like(t)], -1)
    target = discounted(lived.rewards * lived.alive, discount)
    rows = (features * lived.alive[..., None]).reshape(-1, features.shape[-1])
    gram = rows.T @ rows
    # The tiny number stands in where no step was taken at all.
    ridge = _RIDGE * jnp.trace(gram) / len(gram) + 1e-12
    weights = jnp.linalg.solve(gram + ridge * jnp.eye(len(gram), dtype=gram.dtype), rows.T @ target.reshape(-1))
    return features @ weights


@register("policy/advantages")
class Advantages(eqx.Module):
    """How advantages are estimated from the trajectories of one policy in one task.

    With values V of a linear baseline fitted to the same trajectories (0 with `baseline=False`), V = 0 after an episode's
    last step, the end by the horizon included, and delta_t = r_t + discount V_(t+1) - V_t, the advantage of step t is the sum
    over later steps u of (discount trace)^(u-t) delta_u: Schulman et al. (2016), equation 16. `normalise` makes their mean 0
    and their deviation 1 over the steps taken by this policy in this task.
    Raises: InputError for a discount or trace outside 0 to 1.
    """

    discount: float = eqx.field(static=True, default=0.99)
    trace: float = eqx.field(static=True, default=1.0)
    baseline: bool = eqx.field(static=True, default=True)
    normalise: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise InputError(f"discount {self.discount} and trace {self.trace}: give numbers from 0 to 1.")

    def each(self, lived: Trajectories) -> Steps:
        """Return the advantage of each step, 0 where none was taken."""
        values = linear_values(lived, self.discount) * lived.alive if self.baseline else jnp.zeros_like(lived.rewards)
        following = jnp.pad(values[:, 1:], ((0, 0), (0, 1)))
        delta = (lived.rewards + self.discount * following - values) * lived.alive
        advantage = discounted(delta, self.discount * self.trace) * lived.alive
        if not self.normalise:
            return advantage
        count = jnp.maximum(lived.alive.sum(), 1.0)
        centred = (advantage - advantage.sum() / count) * lived.alive
        return centred / (jnp.sqrt((centred**2).sum() / count) + 1e-8)

    def data(self, lived: Trajectories) -> Data:
        """Return the steps as data, each weighed by its advantage / the number of steps taken.

        The SUM over rows of weight times log-likelihood is then the mean over steps.
        """
        return lived.weighted(self.each(lived) / jnp.maximum(lived.alive.sum(), 1.0))
