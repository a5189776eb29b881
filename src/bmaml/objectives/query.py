"""Score the adapted posterior on the query."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.distributions import Normal
from bmaml.errors import InputError, PairError
from bmaml.inference.particles import map_particles
from bmaml.inference.posteriors import AbstractPosterior, ParticlePosterior
from bmaml.io.registry import register
from bmaml.learners.conjugate import ConjugateLearner, ConjugatePosterior
from bmaml.learners.gradient import GradientLearner
from bmaml.models.base import GaussianModel, log_likelihood, squared_error
from bmaml.objectives.base import AbstractObjective

Scoring = Literal["points", "joint", "each", "squared_error"]


@register("objective/query")
class QueryLoss(AbstractObjective):
    """Loss of the query after adapting to the support, one number a task.

    `scoring` says of what, and its scale:

    - `"points"`: mean over query points of minus the log mixture density (nats a point);
    - `"joint"`: minus the log of the mixture of the particles' joint densities of the whole query, divided by the number of
      points (nats a point): the loss of Bayesian fast adaptation, Kim et al. (2018), equation 6;
    - `"each"`: mean over particles of each one's own mean NLL (nats a point): an ensemble trained member by member;
    - `"squared_error"`: mean over particles of each one's mean squared error (MAML on regression), plus, for the noise
      precision alone, the NLL of the residuals with the fit held fixed, so that the predictive states its real error.

    `evidence` adds so much of minus the log evidence of the support (nats a support point) for learners that know it. The
    query alone says nothing of a prior weight that the support has already ruled out; the evidence lowers it.
    Raises: InputError for an unknown score or a negative share of the evidence.
    """

    scoring: Scoring = eqx.field(static=True, default="points")
    evidence: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not self.evidence >= 0:
            raise InputError(f"the evidence's share is {self.evidence}: give a number of at least 0.")
        if self.scoring not in ("points", "joint", "each", "squared_error"):
            raise InputError(f"unknown score {self.scoring!r}: use 'points', 'joint', 'each' or 'squared_error'.")

    def require(self, learner):
        if self.evidence and not isinstance(learner, ConjugateLearner):
            raise PairError(
                f"QueryLoss(evidence={self.evidence}) needs a ConjugateLearner because {type(learner).__name__} does not know "
                "the evidence of its support; use evidence=0."
            )
        if self.scoring == "points":
            return
        if not isinstance(learner, GradientLearner):
            raise PairError(
                f"QueryLoss(scoring={self.scoring!r}) needs a GradientLearner because it scores particles one by one; "
                "use scoring='points'."
            )
        if self.scoring == "squared_error" and not isinstance(learner.model, GaussianModel):
            raise PairError("QueryLoss(scoring='squared_error') needs a regression model; use scoring='each' for classes.")

    def loss(self, learner, meta, task, *, key):
        posterior = learner.adapt(meta, task.support, key=key)
        loss = self.of_posterior(posterior, task.query)
        if self.evidence:
            assert isinstance(posterior, ConjugatePosterior)  # `check` has seen to it
            loss -= self.evidence * posterior.log_evidence / jnp.maximum(task.support.count, 1.0)
        return loss, {}

    def of_posterior(self, posterior: AbstractPosterior, query: Data) -> Float[Array, ""]:
        """Return the loss of a posterior on a query."""
        if self.scoring == "points":
            each = posterior.predict(query.x).log_prob(query.y)
            return -(each * query.mask).sum() / jnp.maximum(query.count, 1.0)
        if not isinstance(posterior, ParticlePosterior):
            raise PairError(f"QueryLoss(scoring={self.scoring!r}) scores particles one by one; use scoring='points'.")
        if self.scoring == "squared_error":
            return map_particles(lambda p: _residual_loss(posterior, p, query), posterior.params).mean()
        joint = map_particles(lambda p: log_likelihood(posterior.model, p, query), posterior.params)
        count = jnp.maximum(query.count, 1.0)
        if self.scoring == "each":
            return -joint.mean() / count
        return -logsumexp(joint + jax.nn.log_softmax(posterior.log_weights)) / count


def _residual_loss(posterior: ParticlePosterior, params, query: Data) -> Float[Array, ""]:
    predictive = posterior.model.predictive(params, query.x)
    assert isinstance(predictive, Normal)  # `check` has seen to it
    fit = squared_error(predictive.mean, query)
    if posterior.model.log_precision(params) is None:
        return fit
    held = eqx.tree_at(lambda d: d.loc, predictive, jax.lax.stop_gradient(predictive.loc))
    noise = -(held.log_prob(query.y) * query.mask).sum() / jnp.maximum(query.count, 1.0)
    return fit + noise - jax.lax.stop_gradient(noise)
