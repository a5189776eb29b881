"""How many of some trials succeed: germinated seeds of a pot, answers that are right, items that are faulty."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.distributions import Binomial, DiscreteMixture
from bmaml.distributions.binomial import log_share, log_ways
from bmaml.distributions.counts import stirling_rest
from bmaml.io.registry import register
from bmaml.likelihoods.base import NODES, AbstractLikelihood, nodes

# Points of the trapezoid rule over a latent number: their distance and the farthest, in deviations. Each draw has its points at
# another place between, so that all draws together leave no gap for outcomes of many trials.
_STEP, _FARTHEST = 0.5, 6.0
_GOLDEN = 0.6180339887498949
_DRAWS = 256
_FAR = 30.0


@register("likelihood/binomial")
class BinomialLikelihood(AbstractLikelihood):
    """A number of successes. The latent number is the log odds of success, and `side` the log of the number of trials.

    The scale `scatter` is the log of how far the log odds of single rows lie apart beyond their latent number. If it is small,
    the outcomes are binomial. Given a latent number, the probability of a row has a beta distribution with this deviation of
    the log odds, so outcomes are beta-binomial (Skellam, 1948, https://doi.org/10.1111/j.2517-6161.1948.tb00014.x). Their
    density is not concave. The curvature is that of an estimate with the variance of the row and that of the trials.
    """

    CONCAVE: ClassVar[bool] = False

    @property
    def priors(self):
        return {"scatter": (-1.2, 1.0)}

    def log_prob(self, latent, y, side, scales):
        trials, latent = _trials(side), jnp.clip(latent, -_FAR, _FAR)
        yes, no, excess = jax.nn.sigmoid(latent), jax.nn.sigmoid(-latent), jnp.exp(-2 * scales["scatter"])
        # Shapes of the beta distribution, and their sum.
        a, b = excess / no, excess / yes
        both = excess / (yes * no)
        spread = _risen(a, y) + _risen(b, trials - y) - _risen(both, trials)
        return log_share(y, latent, trials) + log_ways(y, trials) + spread

    def slopes(self, latent, y, side, scales):
        of = lambda at: self.log_prob(at, y, side, scales)  # noqa: E731
        shape = jnp.broadcast_shapes(jnp.shape(latent), jnp.shape(y))
        latent = jnp.broadcast_to(latent, shape)
        slope = jax.jvp(of, (latent,), (jnp.ones_like(latent),))[1]
        told = _trials(side) * jax.nn.sigmoid(latent) * jax.nn.sigmoid(-latent)
        return slope, told / (1 + told * jnp.exp(2 * scales["scatter"]))

    def centre(self, y, side):
        share = (np.sum(y) + 0.5) / (np.exp(side).sum() + 1)
        return float(np.log(share) - np.log1p(-share))

    def expected(self, latent, side, scales):
        del scales
        return _trials(side) * jax.nn.sigmoid(latent)

    def predictive(self, mean, variance, side, scales, log_weights):
        scatter = jnp.exp(2 * scales["scatter"])[:, None]
        width = jnp.sqrt(jnp.maximum(variance, 0.0) + scatter)
        count = int(2 * _FARTHEST / _STEP)
        shift = jnp.asarray(np.arange(len(mean)) * _GOLDEN % 1, mean.dtype)
        z = -_FARTHEST + _STEP * (jnp.arange(count, dtype=mean.dtype)[None] + shift[:, None])
        weight = log_weights[:, None] - 0.5 * z**2
        latent = _spread_out(mean[:, None] + width[:, None] * z[..., None], scatter[:, None])
        latent = latent.reshape(-1, latent.shape[-1], 1)
        return DiscreteMixture(weight.ravel(), Binomial(latent, jnp.broadcast_to(_trials(side)[None, :, None], latent.shape)))

    def noise_entropy(self, mean, variance, side, scales, log_weights):
        latent, weights = nodes(mean, jnp.maximum(variance, 0.0), log_weights)
        scatter = jnp.repeat(scales["scatter"], NODES, 0)[:, None]
        pick, odds, flip = jax.random.split(jax.random.key(0), 3)
        which = jax.random.categorical(pick, weights, shape=(_DRAWS,))
        known, scatter = latent[which, :, 0], scatter[which]
        deviation = jnp.exp(scatter)
        own = _spread_out(known + deviation * jax.random.normal(odds, known.shape, known.dtype), deviation**2)
        trials = jnp.broadcast_to(_trials(side)[None], known.shape)
        y = jax.random.binomial(flip, trials, jax.nn.sigmoid(own), dtype=known.dtype)
        return -self.log_prob(known, y, side[None], {"scatter": scatter}).mean(0)


def _trials(side: Array | float) -> Array:
    return jnp.round(jnp.exp(side))


def _spread_out(latent: Array, scatter: Array) -> Array:
    """Return `latent` moved away from 0, so that the mean probability stays where rows scatter with this variance."""
    return latent + 0.5 * scatter * jnp.tanh(0.5 * latent)


def _risen(shape: Array, count: Array) -> Array:
    """Return the log of Gamma(`shape` + `count`) / Gamma(`shape`) / `shape`^`count`, which is 0 for a large shape."""
    return (shape + count - 0.5) * jnp.log1p(count / shape) - count + stirling_rest(shape + count) - stirling_rest(shape)
