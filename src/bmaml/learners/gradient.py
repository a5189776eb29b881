"""Adaptation by gradient steps of particles: the whole MAML and SVGD family."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.errors import InputError, PairError
from bmaml.inference.adjoints import AbstractAdjoint, Implicit, Unrolled
from bmaml.inference.directions import AbstractDirection, Independent, Langevin
from bmaml.inference.particles import map_particles
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.inference.priors import AbstractPrior, FlatPrior, Particle
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLimitedLearner, AbstractParticleLearner, AbstractStatingLearner, Need
from bmaml.learners.noise import ResidualNoise
from bmaml.learners.rules import AbstractRule, LearnedRates, Sgd, unscaled
from bmaml.models.base import AbstractModel, CategoricalModel, check_model, log_likelihood, replace_weights, squared_error
from bmaml.models.surrogates import surrogate

Fit = Literal["sum", "mean", "squared_error", "ratio", "dice"]
_FITS = ("sum", "mean", "squared_error", "ratio", "dice")


class GradientMeta(eqx.Module):
    """Meta-parameters: the start of each particle (`particles`, on a leading axis), what the step `rule` learns, and what is
    learned of the `noise` that predictions state (None if the model's own likelihood states it).
    """

    particles: Particle
    rule: PyTree[Any]
    noise: PyTree[Any] = None


class GradientState(eqx.Module):
    """The `particles` at some step, and the state of the step `rule`."""

    particles: Particle
    rule: PyTree[Any]


@register("learner/gradient")
class GradientLearner(AbstractParticleLearner[GradientState], AbstractStatingLearner, AbstractLimitedLearner):
    """Moves particles of a model's parameters by gradient steps from a learned start.

    Finn et al. (2017), algorithm 2, https://arxiv.org/abs/1703.03400; Kim et al. (2018), algorithms 2 and 3,
    https://arxiv.org/abs/1806.03836. A particle climbs log prior + fit.

    - `model`: network with its likelihood.
    - `prior`: log prior of a particle.
    - `rule`: size of a step.
    - `steps`, `particles`: number of inner steps and of particles.
    - `direction`: where particles move: each by itself, coupled, or with noise.
    - `adjoint`: how meta-gradients pass through the steps.
    - `fit`: `"sum"` is the log-likelihood summed over the support (nats), and `"mean"` its mean. `"squared_error"` is minus the
      mean squared error of the predictive mean (MAML's loss), which has no gradient in the noise precision. `"ratio"` and
      `"dice"` have the gradient of `"sum"` and, for policies, a more exact curvature (see `bmaml.models.surrogate`).
    - `clip`: bound on the global norm of one particle's direction. Several steps of regression networks diverge without it.
    - `adapt_noise`: if False, a task moves the weights alone, and all other parameters (the noise precision) stay at their
      meta-parameters.
    - `noise`: the noise that predictions state, learned apart from the steps; None states the noise of the model.
    - `most_points`: a sum over more points than this counts as over so many (None: as over all). A step along a sum is the
      longer the more points there are, and with more points than in training it may go too far.

    Raises: InputError for fewer than one particle, a negative number of steps, a clip that is not above 0, an unknown `fit`, or
    `most_points` that is below 1 or not of a sum;
    PairError for squared error or residuals of classes, Langevin steps that are clipped, or an adjoint that does not fit prior,
    direction and rule.
    """

    model: AbstractModel
    prior: AbstractPrior = FlatPrior()
    rule: AbstractRule = Sgd()
    steps: int = eqx.field(static=True, default=1)
    particles: int = eqx.field(static=True, default=1)
    direction: AbstractDirection = Independent()
    adjoint: AbstractAdjoint = Unrolled()
    fit: Fit = eqx.field(static=True, default="sum")
    clip: float | None = eqx.field(static=True, default=None)
    adapt_noise: bool = eqx.field(static=True, default=True)
    noise: ResidualNoise | None = None
    most_points: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_model(self.model, "GradientLearner")
        if self.most_points is not None and (self.most_points < 1 or self.fit != "sum"):
            raise InputError(f"most_points is {self.most_points} with fit={self.fit!r}: give at least 1, and fit='sum'.")
        if self.particles < 1 or self.steps < 0:
            raise InputError(f"{self.particles} particles and {self.steps} steps: give at least 1 and at least 0.")
        if self.fit not in _FITS:
            raise InputError(f"unknown fit {self.fit!r}: use one of {', '.join(_FITS)}.")
        if self.fit == "squared_error" and isinstance(self.model, CategoricalModel):
            raise PairError("fit='squared_error' needs a regression model because classes have no distance; use fit='mean'.")
        if self.noise is not None and isinstance(self.model, CategoricalModel):
            raise PairError("ResidualNoise needs a regression model because classes have no residuals; use noise=None.")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"inner clip is {self.clip}: give a number above 0, or None for no clip.")
        self.adjoint.check(self.prior, self.direction)
        if isinstance(self.adjoint, Implicit):
            self._check_implicit()
        if isinstance(self.direction, Langevin):
            self._check_langevin(self.direction)

    def _check_langevin(self, direction: Langevin) -> None:
        if self.clip is not None:
            raise PairError("Langevin needs clip=None because a bound on the direction would bound its noise; use clip=None.")
        if isinstance(self.rule, Sgd) and self.rule.learning_rate != direction.learning_rate:
            rates = f"{direction.learning_rate} and the rule's are {self.rule.learning_rate}"
            raise InputError(f"Langevin's noise is for steps of {rates}: give both the same rate.")

    def _check_implicit(self) -> None:
        if isinstance(unscaled(self.rule), LearnedRates):
            raise PairError(
                "LearnedRates needs an adjoint that goes through the steps because a solution does not depend on how it was "
                "reached; use Sgd, or the adjoint Unrolled."
            )
        if self.fit == "squared_error" and self.adapt_noise:
            raise PairError(
                "Implicit needs adapt_noise=False with fit='squared_error' because nothing there leads the noise precision "
                "to a solution; use adapt_noise=False."
            )

    def init(self, key: PRNGKeyArray) -> GradientMeta:
        one = jax.vmap(lambda k: Particle(self.model.init(k), self.prior.init()))
        particles = one(jax.random.split(key, self.particles))
        noise = None if self.noise is None else self.noise.init()
        return GradientMeta(particles, self.rule.init_meta(particles), noise)

    def log_posterior(self, particle: Particle, anchor: Particle, data: Data) -> Float[Array, ""]:
        """Return what one `particle` climbs: log prior (about `anchor`) plus the fit to `data`."""
        particle = self._held(particle, anchor)
        if self.fit == "squared_error":
            fit = -squared_error(self.model.predictive(particle.params, data.x).mean, data)
        elif self.fit in ("ratio", "dice"):
            fit = surrogate(self.model, particle.params, data, self.fit)
        else:
            fit = log_likelihood(self.model, particle.params, data, self.fit)
            if self.most_points is not None:
                fit = fit * jnp.minimum(1.0, self.most_points / jnp.maximum(data.count, 1.0))
        return fit + self.prior.log_density(self.model, particle, anchor)

    def _held(self, particle: Particle, anchor: Particle) -> Particle:
        """Return the particle with every part that adaptation does not move taken from the anchor."""
        if self.adapt_noise:
            return particle
        params = replace_weights(self.model, anchor.params, self.model.weights(particle.params))
        return Particle(params, particle.hyper)

    def start(self, meta: GradientMeta, support: Data, *, key: PRNGKeyArray | None = None) -> GradientState:
        return GradientState(meta.particles, self.rule.start(meta.particles))

    def advance(self, meta, state, support, steps, *, key):
        score = jax.grad(self.log_posterior)

        def scores(particles: Particle, own: None) -> Particle:
            return map_particles(lambda particle, anchor: score(particle, anchor, support), particles, meta.particles)

        return self.climb(meta, state, scores, None, steps, key=key)

    def climb(
        self,
        meta: GradientMeta,
        state: GradientState,
        scores: Callable[[Particle, Any], Particle],
        given: PyTree[Any],
        steps: int,
        *,
        key: PRNGKeyArray,
    ) -> GradientState:
        """Return the state after `steps` steps from `state`. Step i follows the gradient `scores(particles, entry i of given)`.

        `given` is None, or has the steps on the leading axis of its leaves.
        """

        def step(state: GradientState, entry: tuple[PRNGKeyArray, Any]) -> GradientState:
            key, own = entry
            direction = self.direction(state.particles, self.adjoint.gradient(scores(state.particles, own)), key=key)
            if self.clip is not None:
                direction = map_particles(partial(clip_norm, limit=self.clip), direction)
            move, rule = self.rule.step(meta.rule, state.rule, direction)
            return GradientState(jax.tree.map(jnp.add, state.particles, move), rule)

        if steps == 0:
            return state
        entries = (jax.random.split(key, steps), given)
        moved = self.adjoint.run(step, state, entries, lambda particles: scores(particles, None))
        return GradientState(self._held(moved.particles, meta.particles), moved.rule)

    def finish(
        self, meta: GradientMeta, state: GradientState, support: Data, *, key: PRNGKeyArray | None = None
    ) -> ParticlePosterior:
        before, after = meta.particles.params, state.particles.params
        if self.noise is None:
            return ParticlePosterior(self.model, after, jnp.zeros(self.particles))
        return self.noise.state(self.model, meta.noise, before, after, support)

    @property
    def states_noise(self) -> bool:
        """Whether predictions state a noise that the steps do not use."""
        return self.noise is not None

    def position(self, state, hyper):
        return state.particles if hyper else self.model.weights(state.particles.params)

    def with_steps(self, steps: int) -> GradientLearner:
        return dataclasses.replace(self, steps=steps)

    def limit(self, need: Need) -> str | None:
        return "classes have no distance" if need == "numbers" and isinstance(self.model, CategoricalModel) else None

    def adapt(self, meta: GradientMeta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        state = self.advance(meta, self.start(meta, support), support, self.steps, key=key)
        return self.finish(meta, state, support)


def clip_norm(direction: PyTree[Any], limit: float) -> PyTree[Any]:
    """Scale a `direction` down to a norm of at most `limit`."""
    square = jnp.asarray(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(direction)))
    shrink = jnp.minimum(1.0, limit / jnp.sqrt(jnp.maximum(square, 1e-30)))
    return jax.tree.map(lambda leaf: leaf * shrink, direction)
