"""Adaptation by gradient steps, then a Gaussian about where they end."""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.distributions import AbstractDistribution, Categorical, Normal, mixture
from bmaml.errors import InputError
from bmaml.inference.curvature import AbstractCurvature, AbstractPrecision, GaussNewton, require_definite
from bmaml.inference.curvature.outputs import jacobian, natural, output_function, with_natural
from bmaml.inference.posteriors import AbstractPosterior, ParticlePosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner
from bmaml.learners.gradient import GradientLearner, GradientMeta
from bmaml.models.base import AbstractModel, replace_weights

Predictive = Literal["linear", "sample"]


class LaplacePosterior(AbstractPosterior):
    """Gaussians over the weights about stacked particles of parameters; predicts with the network linearised in them.

    The outputs of a particle are then Gaussian. For Normal targets their variance adds to the noise's, exactly. Class
    probabilities are softmax(mean / sqrt(1 + pi variance / 8)) of the logits, each by itself: MacKay (1992).
    """

    model: AbstractModel
    params: PyTree[Any]
    precision: AbstractPrecision
    log_weights: Float[Array, " particles"]

    def predict(self, x):
        return mixture(self.log_weights, jax.vmap(lambda p, h: self._one(p, h, x))(self.params, self.precision))

    def _one(self, params: PyTree[Any], precision: AbstractPrecision, x: Array) -> AbstractDistribution:
        plain = self.model.predictive(params, x)
        variance = self._variance(params, precision, x)
        if isinstance(plain, Normal):
            return Normal(plain.loc, jnp.sqrt(plain.variance + variance))
        return Categorical(natural(plain) / jnp.sqrt(1 + jnp.pi / 8 * variance))

    def _variance(self, params: PyTree[Any], precision: AbstractPrecision, x: Array) -> Float[Array, "n outputs"]:
        weights = self.model.weights(params)
        rows = jacobian(output_function(self.model, params), weights, x)
        # A difference of two like numbers in the low-rank form: rounding may take it below 0.
        return jnp.maximum(precision.variance(weights, rows), 0.0)

    def sample_functions(self, x, *, key, count=1):
        particle_key, weight_key = jax.random.split(key)

        def one(particle: Array, key: PRNGKeyArray) -> Array:
            params, precision = jax.tree.map(lambda leaf: leaf[particle], (self.params, self.precision))
            weights, outputs = self.model.weights(params), output_function(self.model, params)
            shift = precision.sample(weights, key=key)
            mean, moved = jax.jvp(lambda w: outputs(w, x), (weights,), (shift,))
            return with_natural(self.model.predictive(params, x), mean + moved).mean

        particles = jax.random.categorical(particle_key, self.log_weights, shape=(count,))
        return jax.vmap(one)(particles, jax.random.split(weight_key, count))


@register("learner/laplace")
class Laplace(AbstractLearner):
    """Lets `base` adapt, then takes the curvature of the support's likelihood there + `precision` for the posterior's.

    `precision` is that of the weights' prior N(start, 1 / precision), tau of Grant et al. (2018). It is the posterior of that
    prior where `base` climbs it to the top (`AroundInit(precision)`, likelihood in nats); after a few plain steps it is
    the paper's, for which those steps stand for a prior of their own. Each particle of `base` gets its Gaussian, all of
    equal weight. The noise precision is taken as known.

    `predictive="linear"` linearises the network (`LaplacePosterior`), `"sample"` draws `draws` weights a particle with the
    adaptation's key (`ParticlePosterior`): no linearisation, but the network is then used far from where it was fitted.
    Raises: InputError for a precision that is not above 0, fewer than one draw or an unknown predictive; PairError for a
    model that the curvature does not fit. Adapting raises IndefiniteError as `require_definite` says.
    """

    base: GradientLearner
    curvature: AbstractCurvature = GaussNewton()
    precision: float = eqx.field(static=True, default=1.0)
    predictive: Predictive = eqx.field(static=True, default="linear")
    draws: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        if not self.precision > 0:
            raise InputError(f"the prior precision is {self.precision}: give a number above 0.")
        if self.draws < 1:
            raise InputError(f"{self.draws} draws of the weights: give at least 1.")
        if self.predictive not in ("linear", "sample"):
            raise InputError(f"unknown predictive {self.predictive!r}: use 'linear' or 'sample'.")
        self.curvature.check(self.base.model)

    def init(self, key: PRNGKeyArray) -> GradientMeta:
        return self.base.init(key)

    def curvatures(self, params: PyTree[Any], data: Data) -> AbstractPrecision:
        """Return the curvature of some data + prior at each of the stacked particles' parameters."""
        return jax.vmap(lambda p: self.curvature(self.base.model, p, data, self.precision))(params)

    def adapt(self, meta: GradientMeta, support: Data, *, key: PRNGKeyArray) -> LaplacePosterior | ParticlePosterior:
        step_key, draw_key = jax.random.split(key)
        modes = self.base.adapt(meta, support, key=step_key)
        precision = self.curvatures(modes.params, support)
        require_definite(precision)
        if self.predictive == "linear":
            return LaplacePosterior(modes.model, modes.params, precision, modes.log_weights)
        params = self._drawn(modes.params, precision, draw_key)
        return ParticlePosterior(modes.model, params, jnp.repeat(modes.log_weights, self.draws))

    def _drawn(self, params: PyTree[Any], precision: AbstractPrecision, key: PRNGKeyArray) -> PyTree[Any]:
        """Return `draws` parameters about every particle, all on one leading axis."""
        model = self.base.model

        def one(params: PyTree[Any], precision: AbstractPrecision, key: PRNGKeyArray) -> PyTree[Any]:
            weights = model.weights(params)
            moved = jax.tree.map(jnp.add, weights, precision.sample(weights, key=key))
            return replace_weights(model, params, moved)

        keys = jax.random.split(key, (self.base.particles, self.draws))
        drawn = jax.vmap(jax.vmap(one, (None, None, 0)))(params, precision, keys)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), drawn)
