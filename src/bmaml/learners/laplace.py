"""Adaptation by gradient steps, then a Gaussian about their end."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.distributions import AbstractDistribution, Categorical, CategoricalMixture, Normal, mixture
from bmaml.errors import InputError, PairError
from bmaml.inference.curvature import AbstractCurvature, AbstractPrecision, GaussNewton, LastLayer, require_definite
from bmaml.inference.curvature.outputs import jacobian, natural, output_function, with_natural
from bmaml.inference.posteriors import (
    AbstractJointPosterior,
    AbstractMembersPosterior,
    AbstractNoisePosterior,
    ParticlePosterior,
)
from bmaml.io.registry import register
from bmaml.learners.base import (
    AbstractCurvedLearner,
    AbstractEvidenceLearner,
    AbstractIterativeLearner,
    AbstractLimitedLearner,
    AbstractParticleLearner,
    AbstractStatingLearner,
    Meta,
    Need,
)
from bmaml.models.base import AbstractModel, CategoricalModel, log_likelihood, replace_weights

Predictive = Literal["linear", "sample"]


class AbstractLaplacePosterior(AbstractMembersPosterior):
    """Gaussians over the weights about stacked particles of parameters. The network is linearised in the weights to predict.

    - `model`: the model of the parameters.
    - `params`: parameters, particles on a leading axis.
    - `precision`: precision of each Gaussian.
    - `log_weights`: log weights of the particles.
    """

    model: AbstractModel
    params: PyTree[Any]
    precision: AbstractPrecision
    log_weights: Float[Array, " particles"]

    @abstractmethod
    def member(self, params: PyTree[Any], precision: AbstractPrecision, x: Array) -> AbstractDistribution:
        """Return the predictive at `x` of one particle with parameters `params` and a Gaussian of this `precision`."""

    def predict(self, x):
        return mixture(self.log_weights, jax.vmap(lambda p, h: self.member(p, h, x))(self.params, self.precision))

    def each(self, score, x):
        return jax.vmap(lambda p, h: score(self.member(p, h, x)))(self.params, self.precision)

    def _variance(self, params: PyTree[Any], precision: AbstractPrecision, x: Array) -> Float[Array, "n outputs"]:
        weights, rows = self._rows(params, x)
        # In the low-rank form this is a difference of two similar numbers, which rounding may take below 0.
        return jnp.maximum(precision.variance(weights, rows), 0.0)

    def _rows(self, params: PyTree[Any], x: Array) -> tuple[PyTree[Any], Float[Array, "n outputs weights"]]:
        weights = self.model.weights(params)
        return weights, jacobian(output_function(self.model, params), weights, x)

    def sample_functions(self, x, *, key, count=1):
        particle_key, weight_key = jax.random.split(key)

        def particle_functions(particle: Array, key: PRNGKeyArray) -> Array:
            params, precision = jax.tree.map(lambda leaf: leaf[particle], (self.params, self.precision))
            weights, outputs = self.model.weights(params), output_function(self.model, params)
            shift = precision.sample(weights, key=key)
            mean, moved = jax.jvp(lambda w: outputs(w, x), (weights,), (shift,))
            return with_natural(self.model.predictive(params, x), mean + moved).mean

        particles = jax.random.categorical(particle_key, self.log_weights, shape=(count,))
        return jax.vmap(particle_functions)(particles, jax.random.split(weight_key, count))


class LaplacePosterior(AbstractLaplacePosterior, AbstractJointPosterior, AbstractNoisePosterior):
    """For targets that are numbers: the variance of the linearised outputs adds to that of the noise, exactly."""

    def member(self, params, precision, x):
        plain = self._plain(params, x)
        return Normal(plain.loc, jnp.sqrt(plain.variance + self._variance(params, precision, x)))

    def _plain(self, params: PyTree[Any], x: Array) -> Normal:
        plain = self.model.predictive(params, x)
        assert isinstance(plain, Normal)  # `Laplace` makes sure of this
        return plain

    def log_joint(self, query):
        each = jax.vmap(lambda p, h: self._log_joint(p, h, query))(self.params, self.precision)
        return logsumexp(each + jax.nn.log_softmax(self.log_weights))

    def _log_joint(self, params: PyTree[Any], precision: AbstractPrecision, query: Data) -> Float[Array, ""]:
        """Return one particle's log density of all targets, whose covariance is J H^-1 J^T + noise."""
        plain, (weights, rows) = self._plain(params, query.x), self._rows(params, query.x)
        rows = rows.reshape(-1, rows.shape[-1])
        unravel = ravel_pytree(weights)[1]
        solved = jax.vmap(lambda row: ravel_pytree(precision.solve(unravel(row)))[0])(rows)
        mask = jnp.repeat(query.mask, plain.loc.shape[-1])
        # A masked row becomes a row of the identity. It adds nothing to log det or to the residual.
        noise = jnp.where(mask > 0, plain.variance.ravel(), 1.0)
        cholesky = jnp.linalg.cholesky(mask[:, None] * (rows @ solved.T) * mask[None] + jnp.diag(noise))
        white = solve_triangular(cholesky, (query.y - plain.loc).ravel() * mask, lower=True)
        constant = 2 * jnp.log(jnp.diagonal(cholesky)).sum() + mask.sum() * jnp.log(2 * jnp.pi)
        return -0.5 * ((white**2).sum() + constant)

    def noise_entropy(self, x):
        each = jax.vmap(lambda params: self.model.predictive(params, x).entropy())(self.params)
        return jnp.tensordot(jax.nn.softmax(self.log_weights), each, 1)


class LaplaceClassPosterior(AbstractLaplacePosterior):
    """For classes: softmax(mean / sqrt(1 + pi variance / 8)), each logit separately (MacKay, 1992,
    https://doi.org/10.1162/neco.1992.4.5.720).
    """

    def member(self, params, precision, x):
        logits = natural(self.model.predictive(params, x))
        return Categorical(logits / jnp.sqrt(1 + jnp.pi / 8 * self._variance(params, precision, x)))


Adapted = AbstractLaplacePosterior | ParticlePosterior


@register("learner/laplace")
class Laplace(AbstractIterativeLearner[Any], AbstractCurvedLearner, AbstractEvidenceLearner, AbstractLimitedLearner):
    """Lets a learner adapt, then puts a Gaussian about the adapted weights. Its precision is the curvature of the support +
    prior.

    Grant et al. (2018), https://arxiv.org/abs/1801.08930. The result is the posterior under the weights' prior N(start, 1 /
    precision) if `base` climbs this posterior to the top (`AroundInit(precision)`, likelihood in nats). After a few plain steps
    it is the paper's approximation, in which the steps stand for a prior of their own. Each particle of `base` gets a Gaussian,
    all with equal weight. The noise precision counts as known.

    - `base`: the learner that adapts, by steps that move parameters of a model (`AbstractParticleLearner`).
    - `curvature`: form of the curvature.
    - `precision`: precision of the prior, tau of the paper.
    - `predictive`: `"linear"` linearises the network. `"sample"` draws weights with the adaptation's key (`ParticlePosterior`),
      without linearisation, but then uses the network far from where it was fitted.
    - `draws`: weights drawn for each particle.

    Raises: InputError for a precision that is not above 0, fewer than one draw, an unknown predictive or a base that moves no
    parameters; PairError for a model that the curvature does not fit, or a base that states a noise of its own. Adapting raises
    IndefiniteError in the cases of `require_definite`.
    """

    base: AbstractParticleLearner[Any]
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
        if isinstance(self.base, AbstractStatingLearner) and self.base.states_noise:
            raise PairError("Laplace needs the noise of a model because its curvature does; use a base with noise=None.")
        self.curvature.check(self.base.model)

    def init(self, key: PRNGKeyArray) -> Meta:
        return self.base.init(key)

    @property
    def steps(self) -> int:
        """Number of inner steps of `base`."""
        return self.base.steps

    def with_steps(self, steps: int) -> Laplace:
        base: Any = self.base.with_steps(steps)
        return dataclasses.replace(self, base=base)

    def start(self, meta, support, *, key):
        return self.base.start(meta, support, key=key)

    def advance(self, meta, state, support, steps, *, key):
        return self.base.advance(meta, state, support, steps, key=key)

    def position(self, state, hyper):
        return self.base.position(state, hyper)

    def finish(self, meta: Meta, state: PyTree[Any], support: Data, *, key: PRNGKeyArray) -> Adapted:
        modes = self.base.finish(meta, state, support, key=key)
        return self._around(modes, self.curvatures(modes.params, support), support.x, key)

    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> Adapted:
        step_key, draw_key = jax.random.split(key)
        state = self.advance(meta, self.start(meta, support, key=step_key), support, self.steps, key=step_key)
        return self.finish(meta, state, support, key=draw_key)

    def modes(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        state = self.advance(meta, self.start(meta, support, key=key), support, self.steps, key=key)
        return self.base.finish(meta, state, support, key=key)

    def curvatures(self, params: PyTree[Any], data: Data) -> AbstractPrecision:
        return jax.vmap(lambda p: self.curvature(self.base.model, p, data, self.precision))(params)

    def weigh(self, meta: Meta, data: Data, *, key: PRNGKeyArray) -> tuple[Adapted, Float[Array, ""]]:
        step_key, draw_key = jax.random.split(key)
        modes = self.modes(meta, data, key=step_key)
        precision = self.curvatures(modes.params, data)
        evidence = log_evidence(self, meta, modes.params, data, precision, key=step_key).mean()
        return self._around(modes, precision, data.x, draw_key), evidence

    def limit(self, need: Need) -> str | None:
        if need == "evidence" and isinstance(self.curvature, LastLayer):
            return "LastLayer holds most of the weights that adaptation moves for known"
        if not isinstance(self.base.model, CategoricalModel):
            return None
        if need == "joint" and self.predictive == "linear":
            return "classes have none in closed form under Gaussian weights (predictive='sample' draws the weights)"
        return self.base.limit(need) if isinstance(self.base, AbstractLimitedLearner) else None

    def _around(self, modes: ParticlePosterior, precision: AbstractPrecision, x: Array, key: PRNGKeyArray) -> Adapted:
        """Return the posterior of the Gaussians about the modes, for targets of the kind that is predicted at `x`."""
        require_definite(precision)
        if self.predictive == "linear":
            classes = isinstance(eqx.filter_eval_shape(modes.predict, x), CategoricalMixture)
            kind = LaplaceClassPosterior if classes else LaplacePosterior
            return kind(modes.model, modes.params, precision, modes.log_weights)
        params = self._drawn(modes.params, precision, key)
        return ParticlePosterior(modes.model, params, jnp.repeat(modes.log_weights, self.draws))

    def _drawn(self, params: PyTree[Any], precision: AbstractPrecision, key: PRNGKeyArray) -> PyTree[Any]:
        """Return `draws` parameters about every particle, all on one leading axis."""
        model = self.base.model

        def draw_params(params: PyTree[Any], precision: AbstractPrecision, key: PRNGKeyArray) -> PyTree[Any]:
            weights = model.weights(params)
            moved = jax.tree.map(jnp.add, weights, precision.sample(weights, key=key))
            return replace_weights(model, params, moved)

        keys = jax.random.split(key, (len(jax.tree.leaves(params)[0]), self.draws))
        drawn = jax.vmap(jax.vmap(draw_params, (None, None, 0)))(params, precision, keys)
        return jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), drawn)


def log_evidence(
    learner: Laplace,
    meta: Meta,
    adapted: PyTree[Any],
    data: Data,
    precision: AbstractPrecision,
    *,
    key: PRNGKeyArray | None = None,
) -> Float[Array, " particles"]:
    """Return Laplace's log evidence of `data` about each particle's adapted parameters, in nats (a sum).

    - `learner`: says the model and the prior's precision.
    - `adapted`: the adapted parameters.
    - `precision`: curvature of the data + prior at these parameters.
    - `key`: key with which adaptation started, if its start is drawn.
    """
    model, tau, key = learner.base.model, learner.precision, jax.random.key(0) if key is None else key
    start = learner.base.finish(meta, learner.base.start(meta, data, key=key), data, key=key).params
    log_det = jax.vmap(lambda h: h.logdet())(precision)
    fit = jax.vmap(lambda p: log_likelihood(model, p, data))(adapted)
    square, count = jax.vmap(lambda p, start: _moved(model, p, start))(adapted, start)
    return fit - 0.5 * tau * square + 0.5 * (count * jnp.log(tau) - log_det)


def _moved(model: AbstractModel, params: PyTree[Any], start: PyTree[Any]) -> tuple[Array, Array]:
    """Return the squared distance of the weights from the start, and their number."""
    pairs = zip(jax.tree.leaves(model.weights(params)), jax.tree.leaves(model.weights(start)), strict=True)
    squares, sizes = zip(*[(jnp.sum((a - b) ** 2), a.size) for a, b in pairs], strict=True)
    return jnp.asarray(sum(squares)), jnp.asarray(sum(sizes), jnp.result_type(float))
