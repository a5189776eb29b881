"""Score the adapted posterior on the query."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.registry import register
from bmaml.objectives.base import AbstractObjective
from bmaml.objectives.scoring import Scoring, check_scoring, require_evidence, require_scoring, score_posterior, score_query


@register("objective/query")
class QueryLoss(AbstractObjective):
    """Loss of the query after adapting to the support, one number a task.

    `scoring` says of what, and its scale. A posterior's members are its particles or experts; a posterior without them is
    one member.

    - `"points"`: mean over query points of minus the log mixture density (nats a point);
    - `"joint"`: minus the log joint density of the whole query, divided by the number of points (nats a point). Of particles
      it is the mixture of their joint densities: the loss of Bayesian fast adaptation, Kim et al. (2018), equation 6. Of a
      learner that knows its evidence it is the evidence of support and query over that of the support;
    - `"each"`: mean over members of each one's own mean NLL (nats a point): an ensemble trained member by member;
    - `"squared_error"`: mean over members of each one's mean squared error (MAML on regression), plus, for the noise alone,
      the NLL of the residuals with the fit held fixed, so that the predictive states its real error.

    `evidence` adds so much of minus the log evidence of the support (nats a support point) for learners that know it. The
    query alone says nothing of a prior weight that the support has already ruled out; the evidence lowers it.
    Raises: InputError for an unknown score or a negative share of the evidence.
    """

    scoring: Scoring = eqx.field(static=True, default="points")
    evidence: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not self.evidence >= 0:
            raise InputError(f"the evidence's share is {self.evidence}: give a number of at least 0.")
        check_scoring(self.scoring)

    def require(self, learner):
        if self.evidence:
            require_evidence(f"QueryLoss(evidence={self.evidence})", learner, "evidence=0")
        require_scoring("QueryLoss", self.scoring, learner)

    def loss(self, learner, meta, task, *, key):
        support, query, asked = task.support, task.query, self.evidence > 0
        loss, evidence = score_query(self.scoring, learner, meta, support, query, evidence=asked, key=key)
        if asked:
            loss -= self.evidence * evidence / jnp.maximum(support.count, 1.0)
        return loss, {}

    def of_posterior(self, posterior: AbstractPosterior, query: Data) -> Float[Array, ""]:
        """Return the loss of a posterior on a query."""
        return score_posterior(self.scoring, posterior, query)
