"""Amortised Bayesian meta-learning: a Gaussian over a task's weights, fitted by steps from a learned Gaussian."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
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
from bmaml.learners.gradient import GradientLearner, clip_norm
from bmaml.learners.platipus import check_inner


class AbmlMeta(eqx.Module):
    """Meta-parameters: the `prior` N(mu_theta, sigma_theta^2) of a task's parameters, and what the step `rule` learns."""

    prior: DiagonalGaussian
    rule: PyTree[Any]


class AbmlState(eqx.Module):
    """A state of adaptation: the posterior q, which the steps move (`particles`), and the state of the step `rule`."""

    particles: DiagonalGaussian
    rule: PyTree[Any]


@register("learner/abml")
class AbmlLearner(AbstractIterativeLearner[AbmlState], AbstractLatentLearner, AbstractDrawingLearner, AbstractLimitedLearner):
    """ABML: the latent phi is all of a task's parameters, and q(phi) is a Gaussian that starts at the prior and climbs a bound.

    The bound is the support's own,

        E_q[what `inner` climbs] - inner_kl KL(q || prior),

    and `inner.steps` steps of `inner`'s rule climb it on mean and log-variance. Each step takes new reparametrised draws for
    the expectation. The prior's own hyper-prior is N(0, 1) on its means and Gamma(shape, rate) on its precisions. From Ravi and
    Beatson (2019), algorithm 1, https://openreview.net/forum?id=rkgpy3C5tX.

    - `inner`: the steps. `inner.fit` is the scale of the support's likelihood.
    - `particles`: draws of phi from q that `adapt` returns.
    - `draws`: draws of the expectation in a step.
    - `inner_kl`: weight of the divergence in the steps; the paper weighs it down.
    - `std`: deviation at which the prior starts.
    - `shape`, `rate`: the hyper-prior of the precisions.

    Raises: InputError in the cases of `PlatipusLearner`, and for fewer than one draw or a negative `inner_kl`; PairError for an
    implicit adjoint, or a direction other than `Independent`.
    """

    inner: GradientLearner
    particles: int = eqx.field(static=True, default=10)
    draws: int = eqx.field(static=True, default=5)
    inner_kl: float = eqx.field(static=True, default=1e-4)
    std: float = eqx.field(static=True, default=0.02)
    shape: float = eqx.field(static=True, default=1.0)
    rate: float = eqx.field(static=True, default=0.01)

    def __check_init__(self):
        check_inner("AbmlLearner", self.inner, self.particles, self.std)
        if self.draws < 1 or not self.inner_kl >= 0:
            raise InputError(f"{self.draws} draws and an inner KL weight of {self.inner_kl}: give at least 1 and at least 0.")
        if not isinstance(self.inner.direction, Independent):
            raise PairError("AbmlLearner needs the direction Independent because its steps move no particles; use Independent.")
        if isinstance(self.inner.adjoint, Implicit):
            raise PairError(
                "AbmlLearner needs an adjoint that goes through the steps because drawn gradients come to rest nowhere; use "
                "Unrolled or FirstOrder."
            )

    def init(self, key: PRNGKeyArray) -> AbmlMeta:
        mean = jax.tree.map(lambda leaf: leaf[0], self.inner.init(key).particles)
        prior = DiagonalGaussian(mean, filled(mean, 2 * math.log(self.std)))
        return AbmlMeta(prior, self.inner.rule.init_meta(prior))

    def prior(self, meta: AbmlMeta, support: Data) -> DiagonalGaussian:
        return meta.prior

    def guide(self, meta, task, *, key):
        return self.fitted(meta, task.support, key=key)

    @property
    def steps(self) -> int:
        """Number of inner steps of `inner`."""
        return self.inner.steps

    def with_steps(self, steps: int) -> AbmlLearner:
        return dataclasses.replace(self, inner=self.inner.with_steps(steps))

    def with_particles(self, particles: int) -> AbmlLearner:
        return dataclasses.replace(self, particles=particles)

    def limit(self, need: Need) -> str | None:
        return self.inner.limit(need)

    def start(self, meta: AbmlMeta, support: Data, *, key: PRNGKeyArray | None = None) -> AbmlState:
        return AbmlState(meta.prior, self.inner.rule.start(meta.prior))

    def advance(self, meta, state, support, steps, *, key):
        def bound(q: DiagonalGaussian, key: PRNGKeyArray) -> Float[Array, ""]:
            phis = jax.vmap(q.sample)(jax.random.split(key, self.draws))
            fit = jax.vmap(lambda phi: self.inner.log_posterior(phi, meta.prior.mean, support))(phis).mean()
            return fit - self.inner_kl * q.kl(meta.prior)

        scores = jax.grad(bound)

        def step(state: AbmlState, key: PRNGKeyArray) -> AbmlState:
            direction = self.inner.adjoint.gradient(scores(state.particles, key))
            if self.inner.clip is not None:
                direction = clip_norm(direction, self.inner.clip)
            move, rule = self.inner.rule.step(meta.rule, state.rule, direction)
            return AbmlState(jax.tree.map(jnp.add, state.particles, move), rule)

        if steps == 0:
            return state
        return self.inner.adjoint.run(step, state, jax.random.split(key, steps), lambda q: scores(q, key))

    def position(self, state, hyper):
        """Return mean and log-variance of q in `state`, on a leading axis of length one; `hyper` has no effect."""
        q = state.particles
        weights = q if hyper else tuple(self.inner.model.weights(part.params) for part in (q.mean, q.log_variance))
        return jax.tree.map(lambda leaf: leaf[None], weights)

    def finish(self, meta: AbmlMeta, state: AbmlState, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        def decode(phi: Particle, key: PRNGKeyArray) -> ParticlePosterior:
            return self.decode(meta, phi, support, key=key)

        return pooled(decode, state.particles, self.particles, key)

    def fitted(self, meta: AbmlMeta, support: Data, *, key: PRNGKeyArray) -> DiagonalGaussian:
        """Return q(phi) after the inner steps on a support."""
        return self.advance(meta, self.start(meta, support), support, self.steps, key=key).particles

    def decode(self, meta: AbmlMeta, latent: Particle, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        return ParticlePosterior(self.inner.model, jax.tree.map(lambda leaf: leaf[None], latent.params), jnp.zeros(1))

    def log_hyper_prior(self, meta: AbmlMeta) -> Float[Array, ""]:
        """Return log N(mu; 0, 1) + log Gamma(1 / sigma^2; shape, rate), summed over parameters, up to a constant."""

        def each(mean: Array, log_variance: Array) -> Array:
            precision = jnp.exp(-log_variance)
            gamma = -(self.shape - 1) * log_variance - self.rate * precision
            return jnp.sum(-0.5 * mean**2 + gamma)

        parts = jax.tree.map(each, meta.prior.mean, meta.prior.log_variance)
        return sum(jax.tree.leaves(parts), start=jnp.zeros(()))

    def adapt(self, meta: AbmlMeta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        fit_key, draw_key = jax.random.split(key)
        state = self.advance(meta, self.start(meta, support), support, self.steps, key=fit_key)
        return self.finish(meta, state, support, key=draw_key)


def pooled(
    decode: Callable[[Particle, PRNGKeyArray], ParticlePosterior], latents: DiagonalGaussian, count: int, key: PRNGKeyArray
) -> ParticlePosterior:
    """Return `count` draws from `latents`, each turned into one particle by `decode`, as a posterior of equal particles."""

    def decode_draw(key: PRNGKeyArray) -> ParticlePosterior:
        latent_key, decode_key = jax.random.split(key)
        return decode(latents.sample(latent_key), decode_key)

    each = jax.vmap(decode_draw)(jax.random.split(key, count))
    return ParticlePosterior(each.model, jax.tree.map(lambda leaf: leaf[:, 0], each.params), jnp.zeros(count))
