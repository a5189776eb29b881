"""The noise that a particle states about its prediction, apart from the likelihood that its steps climb."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bmaml.data import Data
from bmaml.distributions import StudentT
from bmaml.inference.particles import map_particles
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.io.registry import register
from bmaml.models.base import AbstractModel, squared_error

# Adam moves every number by the same amount. Weights move by tenths in a training, and these numbers have to move by ones.
_UNIT = 10.0
# Points over which their number matters, apart from what the residuals say.
_FEW = 5.0


class ResidualMeta(eqx.Module):
    """What is learned of the noise: scalars, each a tenth of what the formula has.

    - `level`: c below.
    - `share`: w below.
    - `per_point`: u below.
    - `log_floor`: log b below.
    - `log_df`: log of the degrees of freedom above 1.
    """

    level: Float[Array, ""]
    share: Float[Array, ""]
    per_point: Float[Array, ""]
    log_floor: Float[Array, ""]
    log_df: Float[Array, ""]


@register("noise/residuals")
class ResidualNoise(eqx.Module):
    """A Student-t about a particle's prediction, whose scale s is read from the particle's residuals on the support:

        log s^2 = c + w log v_after + (1 - w) log v_before + u exp(-n / 5)
        v = (b + sum of squared residuals) / (1 + n)

    for n points, before the first inner step and after the last one. Residuals after the steps are small because the steps
    have seen these points. Those before the steps are as large as those of new points, and say how large the function is.
    c, w, u, b and the degrees of freedom are learned, by the likelihood of query points with the particles held fixed. So they
    change no prediction and no step. What n adds dies out, so that the noise holds for more points than training had, where a
    power of n makes intervals too narrow.

    Adaptation by few gradient steps leaves errors that are far larger than the noise of the data, and that differ from task to
    task. The noise precision of BMAML sets the length of the steps, and the chaser loss trains it for that alone.

    - `floor`: start of b, in squared target units.
    - `df`: start of the degrees of freedom, above 1.
    """

    floor: float = eqx.field(static=True, default=0.1)
    df: float = eqx.field(static=True, default=5.0)

    def init(self) -> ResidualMeta:
        """Return what is learned, before training."""
        start = (0.0, 0.5, 0.0, math.log(self.floor), math.log(self.df - 1))
        return ResidualMeta(*(jnp.asarray(value / _UNIT) for value in start))

    def state(self, model: AbstractModel, meta: ResidualMeta, before: PyTree[Any], after: PyTree[Any], support: Data):
        """Return the particles after adaptation as a posterior that states this noise.

        - `model`: the model of the particles; its own noise is left out.
        - `meta`: what is learned.
        - `before`, `after`: parameters of the particles before and after adaptation.
        - `support`: what the steps have seen.

        No gradient passes from the noise to the parameters.
        """
        meta = jax.tree.map(lambda leaf: _UNIT * leaf, meta)
        count, floor = support.count, jnp.exp(meta.log_floor)

        def log_variance(params: PyTree[Any]) -> Float[Array, ""]:
            mean = squared_error(model.predictive(params, support.x).mean, support)
            return jnp.log((floor + jax.lax.stop_gradient(mean) * count) / (1 + count))

        last, first = (map_particles(log_variance, params) for params in (after, before))
        log_square = meta.level + meta.share * last + (1 - meta.share) * first + meta.per_point * jnp.exp(-count / _FEW)
        df = jnp.broadcast_to(1 + jnp.exp(meta.log_df), log_square.shape)
        stated = {"inner": after, "log_scale": 0.5 * log_square, "df": df}
        return ParticlePosterior(StatedNoise(model), stated, jnp.zeros(len(log_square)))


class StatedNoise(AbstractModel):
    """A model whose prediction is a Student-t about the mean of `inner`, the same for each row and output.

    The parameters are `{"inner": those of inner, "log_scale": log s, "df": degrees of freedom}`.
    """

    inner: AbstractModel

    def init(self, key):
        return {"inner": self.inner.init(key), "log_scale": jnp.zeros(()), "df": jnp.asarray(5.0)}

    def predictive(self, params, x):
        loc = self.inner.predictive(params["inner"], x).mean
        return StudentT(params["df"][None, None], loc, jnp.exp(params["log_scale"])[None, None])

    def weights(self, params):
        return self.inner.weights(params["inner"])

    def log_precision(self, params):
        return -2 * params["log_scale"]
