"""Probabilistic MAML: a Gaussian over the start of MAML, conditioned on the support by a gradient step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.errors import InputError, PairError
from bmaml.inference.adjoints import Implicit
from bmaml.inference.directions import Independent
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.inference.priors import Particle
from bmaml.io.registry import register
from bmaml.learners.base import (
    AbstractDrawingLearner,
    AbstractIterativeLearner,
    AbstractLatentLearner,
    AbstractLimitedLearner,
    Need,
)
from bmaml.learners.diagonal import DiagonalGaussian, filled
from bmaml.learners.gradient import GradientLearner, GradientMeta, GradientState
from bmaml.learners.rules import LearnedRates


class PlatipusMeta(eqx.Module):
    """Meta-parameters of PLATIPUS.

    - `mean`: mu_theta.
    - `prior_log_variance`, `guide_log_variance`: log sigma_theta^2 and log v_q.
    - `prior_rate`, `guide_rate`: gamma_p and gamma_q.
    - `rule`: what the inner rule learns.
    """

    mean: Particle
    prior_log_variance: Particle
    guide_log_variance: Particle
    prior_rate: Float[Array, ""]
    guide_rate: Float[Array, ""]
    rule: PyTree[Any]


class PlatipusState(eqx.Module):
    """The start of each particle (`starts`), and its state after the inner steps (`inner`). Leading axes: particles,
    then one.
    """

    starts: Particle
    inner: GradientState


@register("learner/platipus")
class PlatipusLearner(
    AbstractIterativeLearner[PlatipusState], AbstractLatentLearner, AbstractDrawingLearner, AbstractLimitedLearner
):
    """PLATIPUS: the latent theta is the start of an inner MAML; its posterior is sampled, then adapted.

    With L the inner learner's own loss (minus what it climbs, on the scale of its `fit`),

        p(theta | support) = N(mu - gamma_p grad L(mu, support), sigma^2),
        q(theta | query)   = N(mu - gamma_q grad L(mu, query), v_q),
        phi                = theta - alpha grad L(theta, support), repeated `inner.steps` times.

    All but the number of steps is learned (alpha if the inner rule is `LearnedRates`). From Finn, Xu and Levine (2018),
    algorithms 1 and 2, https://arxiv.org/abs/1806.02817. The paper's inner loss has no noise precision. Here the precision is
    one more parameter of the model, with its own mean and variance.

    - `inner`: the inner MAML. `inner.clip` bounds the gradients of the means too.
    - `particles`: thetas that `adapt` draws from the prior given the support.
    - `gamma`: start of both gammas.
    - `std`: start of the deviations.

    Raises: InputError for an inner learner of several particles, fewer than one particle, or a deviation that is not above 0;
    PairError for an implicit adjoint.
    """

    inner: GradientLearner
    particles: int = eqx.field(static=True, default=10)
    gamma: float = eqx.field(static=True, default=0.01)
    std: float = eqx.field(static=True, default=0.02)

    def __check_init__(self):
        check_inner("PlatipusLearner", self.inner, self.particles, self.std)
        if isinstance(self.inner.adjoint, Implicit):
            raise PairError(
                "PlatipusLearner needs an adjoint that goes through the steps because prior and guide are one step from their "
                "mean, not a solution; use Unrolled or FirstOrder."
            )

    def init(self, key: PRNGKeyArray) -> PlatipusMeta:
        inner = self.inner.init(key)
        mean = jax.tree.map(lambda leaf: leaf[0], inner.particles)
        log_variance, rate = filled(mean, 2 * math.log(self.std)), jnp.asarray(self.gamma)
        return PlatipusMeta(mean, log_variance, log_variance, rate, rate, inner.rule)

    def prior(self, meta: PlatipusMeta, support: Data) -> DiagonalGaussian:
        return DiagonalGaussian(self._moved(meta, meta.prior_rate, support), meta.prior_log_variance)

    def guide(self, meta, task, *, key):
        return DiagonalGaussian(self._moved(meta, meta.guide_rate, task.query), meta.guide_log_variance)

    def _moved(self, meta: PlatipusMeta, rate: Array, data: Data) -> Particle:
        """Return mu - rate grad L(mu, data)."""
        one = dataclasses.replace(self.inner, rule=LearnedRates(), direction=Independent())
        mean = jax.tree.map(lambda leaf: leaf[None], meta.mean)
        start = GradientMeta(mean, jax.tree.map(lambda leaf: jnp.broadcast_to(rate, leaf.shape), mean))
        moved = one.advance(start, one.start(start, data), data, 1, key=jax.random.key(0))
        return jax.tree.map(lambda leaf: leaf[0], moved.particles)

    def decode(self, meta: PlatipusMeta, latent: Particle, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        start = GradientMeta(jax.tree.map(lambda leaf: leaf[None], latent), meta.rule)
        return self.inner.adapt(start, support, key=key)

    def log_hyper_prior(self, meta):
        return jnp.zeros(())

    @property
    def steps(self) -> int:
        """Number of inner steps of `inner`."""
        return self.inner.steps

    def with_steps(self, steps: int) -> PlatipusLearner:
        return dataclasses.replace(self, inner=self.inner.with_steps(steps))

    def with_particles(self, particles: int) -> PlatipusLearner:
        return dataclasses.replace(self, particles=particles)

    def limit(self, need: Need) -> str | None:
        return self.inner.limit(need)

    def start(self, meta: PlatipusMeta, support: Data, *, key: PRNGKeyArray) -> PlatipusState:
        prior = self.prior(meta, support)

        def start_particle(key: PRNGKeyArray) -> PlatipusState:
            theta = jax.tree.map(lambda leaf: leaf[None], prior.sample(key))
            return PlatipusState(theta, self.inner.start(GradientMeta(theta, meta.rule), support))

        return jax.vmap(lambda key: start_particle(jax.random.split(key)[0]))(jax.random.split(key, self.particles))

    def advance(self, meta, state, support, steps, *, key):
        def advance_particle(state: PlatipusState, key: PRNGKeyArray) -> PlatipusState:
            inner = self.inner.advance(GradientMeta(state.starts, meta.rule), state.inner, support, steps, key=key)
            return PlatipusState(state.starts, inner)

        return jax.vmap(advance_particle)(state, jax.random.split(key, self.particles))

    def position(self, state, hyper):
        return jax.vmap(lambda inner: self.inner.position(inner, hyper))(state.inner)

    def finish(
        self, meta: PlatipusMeta, state: PlatipusState, support: Data, *, key: PRNGKeyArray | None = None
    ) -> ParticlePosterior:
        params = jax.tree.map(lambda leaf: leaf[:, 0], state.inner.particles.params)
        return ParticlePosterior(self.inner.model, params, jnp.zeros(self.particles))

    def adapt(self, meta: PlatipusMeta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        state = self.start(meta, support, key=key)
        state = self.advance(meta, state, support, self.steps, key=jax.random.fold_in(key, 1))
        return self.finish(meta, state, support)


def check_inner(kind: str, inner: GradientLearner, particles: int, std: float) -> None:
    """Raise InputError if the pieces of a latent learner do not fit, and PairError for an inner one with a noise of its own.

    - `kind`: name of the learner in messages.
    - `inner`: the inner learner, which must have one particle.
    - `particles`: at least 1.
    - `std`: above 0.
    """
    if inner.particles != 1:
        raise InputError(
            f"{kind} needs an inner learner of one particle because it draws its particles itself, and this one "
            f"has {inner.particles}: give a GradientLearner with particles=1."
        )
    if inner.noise is not None:
        raise PairError(
            f"{kind} needs the noise of a model because it is a part of the latent; use an inner one with noise=None."
        )
    if particles < 1 or not std > 0:
        raise InputError(f"{kind} of {particles} particles and deviation {std}: give at least 1, and one above 0.")
