"""Outcomes that are one of several levels with an order, such as none, mild and severe."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.distributions import DiscreteMixture, Ordered, between, log_difference
from bmaml.io.registry import register
from bmaml.likelihoods.base import NODES, AbstractDiscreteLikelihood, Scales, nodes

# A latent number that is so far from all cuts makes one level almost sure.
_FAR, _HALVINGS = 12.0, 50


@register("likelihood/ordered")
class OrderedLikelihood(AbstractDiscreteLikelihood):
    """A level from 0 on, by proportional odds: the log odds of at most level j are a cut less the latent number.

    McCullagh (1980), https://doi.org/10.1111/j.2517-6161.1980.tb01109.x. The first cut stays, since the latent number has a
    constant of its own. The scale `gaps` holds the logs of how far each further cut lies above the one before.

    - `cuts`: where the cuts of the prior lie. `cuts_of` finds those of the shares of all outcomes.
    """

    cuts: tuple[float, ...] = eqx.field(static=True, default=(-1.0, 1.0))

    @property
    def priors(self):
        return {"gaps": (np.log(np.diff(self.cuts)), 0.7)}

    def log_prob(self, latent, y, side, scales):
        del side
        low, high = self._around(latent, y, scales)
        return log_difference(low, high)

    def slopes(self, latent, y, side, scales):
        del side
        low, high = (jax.nn.sigmoid(end) for end in self._around(latent, y, scales))
        return low + high - 1, low * (1 - low) + high * (1 - high)

    def centre(self, y, side):
        del side
        wanted, cuts = float(np.clip(np.mean(y), 1e-3, len(self.cuts) - 1e-3)), np.array(self.cuts)
        low, high = cuts.min() - _FAR, cuts.max() + _FAR
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if (1 / (1 + np.exp(cuts - middle))).sum() < wanted else (low, middle)
        return float(0.5 * (low + high))

    def expected(self, latent, side, scales):
        del side
        cuts = self._cuts(scales)
        return jax.nn.sigmoid(latent[..., None] - cuts.reshape(*[1] * jnp.ndim(latent), -1)).sum(-1)

    def predictive(self, mean, variance, side, scales, log_weights):
        del side
        latent, weights = nodes(mean, jnp.maximum(variance, 0.0), log_weights)
        cuts = jnp.repeat(jax.vmap(self._cuts)(scales), NODES, 0)
        return DiscreteMixture(weights, Ordered(cuts[:, None] - latent))

    def _cuts(self, scales: Scales) -> Float[Array, " cuts"]:
        gaps = jnp.exp(scales["gaps"])
        first = jnp.full((1,), self.cuts[0], gaps.dtype)
        return first + jnp.concatenate([jnp.zeros_like(first), jnp.cumsum(gaps)])

    def _around(self, latent: Array, y: Array, scales: Scales) -> tuple[Array, Array]:
        """Return the cuts below and above outcomes `y`, less the latent numbers."""
        cuts = self._cuts(scales)
        low, high = between(y, cuts.reshape(*[1] * jnp.ndim(y), -1))
        return low - latent, high - latent


def cuts_of(y: np.ndarray, levels: int) -> OrderedLikelihood:
    """Return the likelihood whose cuts are those of the shares of all outcomes `y`, of so many `levels`."""
    counts = np.bincount(np.asarray(y, int), minlength=levels)[:levels] + 0.5
    share = np.cumsum(counts)[:-1] / counts.sum()
    return OrderedLikelihood(tuple(float(cut) for cut in np.log(share) - np.log1p(-share)))
