"""Adaptation of policies by gradient steps, each on trajectories that the current policies have gathered."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import PRNGKeyArray

from bmaml.data import Data
from bmaml.errors import PairError
from bmaml.inference.adjoints import Implicit
from bmaml.inference.directions import Independent
from bmaml.inference.particles import map_particles
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.inference.priors import Particle
from bmaml.io.registry import register
from bmaml.learners.base import AbstractPolicyLearner
from bmaml.learners.gradient import GradientLearner, GradientMeta, GradientState
from bmaml.learners.rules import Scaled
from bmaml.models.base import AbstractModel


@register("learner/policy-gradient")
class PolicyGradientLearner(AbstractPolicyLearner[GradientState]):
    """REINFORCE as adaptation: `climber` says how particles move, and every step and particle has its own data.

    Every leaf of a support has leading axes (steps, particles), then (episodes, horizon). The mask holds advantages divided by
    the number of steps taken. So what a particle climbs, the sum of weighted log-likelihoods, is REINFORCE's surrogate.
    `climber` is a `GradientLearner`. Its model is the policy, and its `fit` the surrogate ("sum", "ratio" or "dice"). With the
    direction `Stein` this is Stein variational policy gradient. Finn et al. (2017), algorithm 3,
    https://arxiv.org/abs/1703.03400; Liu et al. (2017), equation 9, https://arxiv.org/abs/1704.02399.
    Raises: PairError for an implicit adjoint.
    """

    climber: GradientLearner

    def __check_init__(self):
        if isinstance(self.climber.adjoint, Implicit):
            raise PairError(
                "PolicyGradientLearner needs an adjoint that goes through the steps because Implicit differentiates the "
                "solution of one data set and every step has data of its own; use Unrolled or FirstOrder."
            )

    @property
    def model(self) -> AbstractModel:
        """The policy."""
        return self.climber.model

    @property
    def particles(self) -> int:
        """Number of policies."""
        return self.climber.particles

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self.climber.steps

    @property
    def coupled(self) -> bool:
        return not isinstance(self.climber.direction, Independent)

    def init(self, key: PRNGKeyArray) -> GradientMeta:
        return self.climber.init(key)

    def start(self, meta: GradientMeta, support: Data, *, key: PRNGKeyArray | None = None) -> GradientState:
        return self.climber.start(meta, support)

    def advance(self, meta, state, support, steps, *, key):
        score = jax.grad(self.climber.log_posterior)

        def scores(particles: Particle, own: Data) -> Particle:
            return map_particles(score, particles, meta.particles, own)

        return self.climber.climb(meta, state, scores, support, steps, key=key)

    def finish(
        self, meta: GradientMeta, state: GradientState, support: Data, *, key: PRNGKeyArray | None = None
    ) -> ParticlePosterior:
        return self.climber.finish(meta, state, support)

    def position(self, state, hyper):
        return self.climber.position(state, hyper)

    def with_steps(self, steps: int) -> PolicyGradientLearner:
        return dataclasses.replace(self, climber=self.climber.with_steps(steps))

    def slowed(self, factor: float) -> PolicyGradientLearner:
        rule = Scaled(self.climber.rule, factor)
        return dataclasses.replace(self, climber=dataclasses.replace(self.climber, rule=rule))

    def adapt(self, meta: GradientMeta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        state = self.advance(meta, self.start(meta, support), support, self.steps, key=key)
        return self.finish(meta, state, support)
