"""Quantiles for a picture: right to about a hundredth of a deviation, and many times as fast as exact ones.

An exact quantile of a mixture of a thousand Student-ts takes tens of incomplete beta functions for each of them. Here a
Student-t's CDF is that of a normal at another place, and the search takes a fixed number of steps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from bmaml.distributions import AbstractContinuous, Mixture, Pool, StudentT

_STEPS = 12


def quick_quantiles(predictive: AbstractContinuous, levels: Float[Array, " levels"]) -> Float[Array, "levels rows outputs"]:
    """Return the quantiles of `predictive` at probabilities `levels`, precise enough to draw.

    The search starts from Cantelli's inequality: a quantile lies within sqrt((1 - p) / p) deviations of the mean.
    """
    mean, std = predictive.mean, predictive.std
    tail = jnp.minimum(levels, 1 - levels)[:, None, None]
    low, high = (end[None] for end in predictive.bracket(jnp.min(levels)[None, None], jnp.zeros((1, 1), bool)))
    widest = jnp.maximum(mean[None] - low, high - mean[None])
    reach = jnp.where(jnp.isfinite(std)[None], std[None] * jnp.sqrt((1 - tail) / tail), widest)
    ends = mean[None] - reach, mean[None] + reach
    wanted = jnp.broadcast_to(levels[:, None, None], ends[0].shape)

    def gap(place: Array) -> Array:
        return jax.vmap(lambda y: _cdf(predictive, y))(place) - wanted

    def narrow(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, below, above = carry
        share = jnp.clip(below / jnp.minimum(below - above, -1e-9), 0.0, 1.0)
        place = low + (high - low) * jnp.where(i % 3 == 0, 0.5, share)
        off = gap(place)
        left = off < 0
        # The end that stays weighs half as much, so that it does not stay for ever.
        return (
            jnp.where(left, place, low),
            jnp.where(left, high, place),
            jnp.where(left, off, 0.5 * below),
            jnp.where(left, 0.5 * above, off),
        )

    low, high, below, above = jax.lax.fori_loop(0, _STEPS, narrow, (*ends, -wanted, 1 - wanted))
    share = jnp.clip(below / jnp.minimum(below - above, -1e-9), 0.0, 1.0)
    return low + (high - low) * share


def _cdf(predictive: AbstractContinuous, y: Array) -> Array:
    """Return the CDF at `y` of shape (rows, outputs), that of a Student-t by a normal."""
    if isinstance(predictive, Pool):
        weights = jax.nn.softmax(predictive.log_weights)
        return sum((w * _cdf(part, y) for w, part in zip(weights, predictive.parts, strict=True)), jnp.zeros_like(y))
    if isinstance(predictive, Mixture):
        return jnp.tensordot(jax.nn.softmax(predictive.log_weights), _cdf(predictive.components, y[None]), 1)
    if isinstance(predictive, StudentT):
        return ndtr(_as_normal((y - predictive.loc) / predictive.scale, predictive.df))
    return predictive.cdf(y)


def _as_normal(t: Array, df: Array) -> Array:
    """Return the place at which a standard normal's CDF is about that of a Student-t at `t`.

    Wallace (1959), https://doi.org/10.1214/aoms/1177706076: right to .002 from three degrees of freedom on.
    """
    df = jnp.maximum(df, 1.0)
    shrink = (8 * df + 1) / (8 * df + 3)
    return jnp.sign(t) * shrink * jnp.sqrt(df * jnp.log1p(t**2 / df))
