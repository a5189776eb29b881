"""Scores of the adapted posterior on the query."""

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
    """Loss of the query after adapting to the support, one number for each task.

    The members of a posterior are its particles or experts. A posterior without them is one member. `scoring` says what is
    scored, and on which scale:

    - `"points"`: minus the log mixture density, averaged over query points (nats a point).
    - `"joint"`: minus the log joint density of the whole query, divided by the number of points (nats a point). For particles
      this is the mixture of their joint densities: the loss of Bayesian fast adaptation, Kim et al. (2018), equation 6,
      https://arxiv.org/abs/1806.03836. For a learner that knows its evidence, it is the evidence of support and query over that
      of the support.
    - `"each"`: the mean NLL of each member, averaged over members (nats a point): an ensemble trained member by member.
    - `"squared_error"`: the mean squared error of each member, averaged over members (MAML on regression). For the noise alone,
      the NLL of the residuals is added with the fit held fixed, so that the predictive states its real error.

    `evidence` is the weight of minus the log evidence of the support (nats a support point), for learners that know it. The
    query alone gives no gradient to a prior weight that the support has ruled out. The evidence lowers this weight.
    Raises: InputError for an unknown score or a negative `evidence`.
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
        """Return the loss of a `posterior` on a query."""
        return score_posterior(self.scoring, posterior, query)
