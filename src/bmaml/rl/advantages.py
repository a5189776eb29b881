"""The worth of each action of a policy: returns to go, a linear baseline, generalised advantages."""

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
    """Return at each step the sum of `values` over this and later steps, each times `factor` to the power of the distance."""

    def back(later: Array, value: Array) -> tuple[Array, Array]:
        total = value + factor * later
        return total, total

    return jax.lax.scan(back, jnp.zeros(values.shape[0], values.dtype), values.T, reverse=True)[1].T


def linear_values(lived: Trajectories, discount: float) -> Steps:
    """Return the discounted return to go that a linear function of features expects at each step, fitted to these episodes.

    The features are the observation (clipped to 10), its squares, t/100, its square and its cube, and 1, as in Duan et al.
    (2016), https://arxiv.org/abs/1604.06778. The fit is a ridge regression on the steps taken. The ridge is 1e-5 of the
    features' mean square.

    - `lived`: the episodes.
    - `discount`: factor for each step of delay.
    """
    seen = jnp.clip(lived.observations, -10, 10)
    t = jnp.broadcast_to(jnp.arange(seen.shape[-2], dtype=seen.dtype)[:, None] / 100, (*seen.shape[:-1], 1))
    features = jnp.concatenate([seen, seen**2, t, t**2, t**3, jnp.ones_like(t)], -1)
    target = discounted(lived.rewards * lived.alive, discount)
    rows = (features * lived.alive[..., None]).reshape(-1, features.shape[-1])
    gram = rows.T @ rows
    # The tiny number matters only if no step was taken at all.
    ridge = _RIDGE * jnp.trace(gram) / len(gram) + 1e-12
    weights = jnp.linalg.solve(gram + ridge * jnp.eye(len(gram), dtype=gram.dtype), rows.T @ target.reshape(-1))
    return features @ weights


@register("policy/advantages")
class Advantages(eqx.Module):
    """How advantages are estimated from the trajectories of one policy in one task.

    Let V be the values of a linear baseline fitted to the same trajectories, with V = 0 after an episode's last step (an end by
    the horizon included). Let delta_t = r_t + discount V_(t+1) - V_t. The advantage of step t is the sum over later steps u of
    (discount trace)^(u-t) delta_u: Schulman et al. (2016), equation 16, https://arxiv.org/abs/1506.02438.

    - `discount`: factor for each step of delay.
    - `trace`: lambda of the paper; 1 uses whole returns.
    - `baseline`: False sets V to 0.
    - `normalise`: whether advantages get mean 0 and deviation 1 over the steps that this policy took in this task.

    Raises: InputError for a `discount` or `trace` outside 0 to 1.
    """

    discount: float = eqx.field(static=True, default=0.99)
    trace: float = eqx.field(static=True, default=1.0)
    baseline: bool = eqx.field(static=True, default=True)
    normalise: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise InputError(f"discount {self.discount} and trace {self.trace}: give numbers from 0 to 1.")

    def each(self, lived: Trajectories) -> Steps:
        """Return the advantage of each step of `lived`, and 0 after an episode's end."""
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
        """Return the steps of `lived` as data. The mask of a step is its advantage / the number of steps taken.

        So the sum over rows of mask times log-likelihood is the mean over steps.
        """
        return lived.weighted(self.each(lived) / jnp.maximum(lived.alive.sum(), 1.0))
