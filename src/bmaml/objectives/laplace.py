"""The objectives of Laplace's approximation: Grant et al.'s penalised query loss, and the evidence."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from bmaml.errors import PairError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractCurvedLearner, AbstractEvidenceLearner, AbstractLearner
from bmaml.objectives.base import AbstractObjective
from bmaml.objectives.scoring import require_evidence


@register("objective/laplace")
class LaplaceLoss(AbstractObjective):
    """NLL of the query at the adapted parameters + `eta` log det H, H the QUERY's curvature there + prior precision.

    (sum over query points of the NLL + eta log det H) / points, in nats a point, mean over particles; so `eta` is on the
    scale of the paper's sum, 1e-6 there. 1/2 would be the log det's weight in the evidence. ML-LAPLACE of Grant et al.
    (2018), subroutine 4, whose curvature is Kronecker-factored. The learner's own posterior plays no part.
    """

    eta: float = eqx.field(static=True, default=1e-6)

    def require(self, learner):
        self._curved(learner)

    def _curved(self, learner: AbstractLearner) -> AbstractCurvedLearner:
        if isinstance(learner, AbstractCurvedLearner):
            return learner
        otherwise = "EvidenceLoss" if isinstance(learner, AbstractEvidenceLearner) else "Laplace around a GradientLearner"
        raise PairError(
            "LaplaceLoss needs a learner with a curvature because it penalises the log det of one at the adapted weights, and "
            f"{type(learner).__name__} has none; use {otherwise}."
        )

    def loss(self, learner, meta, task, *, key):
        learner, query = self._curved(learner), task.query
        modes = learner.modes(meta, task.support, key=key)
        nll = -modes.each(lambda one: (one.log_prob(query.y) * query.mask).sum(), query.x).mean()
        log_det = jax.vmap(lambda h: h.logdet())(learner.curvatures(modes.params, query)).mean()
        count = jnp.maximum(query.count, 1.0)
        return (nll + self.eta * log_det) / count, {"nll": nll / count, "log_det": log_det}


@register("objective/evidence")
class EvidenceLoss(AbstractObjective):
    """Minus the log evidence of all of a task's data, support and query alike, in nats a point: empirical Bayes.

    Any learner will do that knows its evidence. Exact heads know it exactly. `Laplace` knows Laplace's approximation, mean
    over particles,

        log p(D | phi) + log N(phi; start, 1 / tau) + P/2 log 2 pi - 1/2 log det H,

    phi adapted to D, H the curvature of D there + tau, P the number of weights: the marginal likelihood that hierarchical
    Bayes maximises. Exact where the outputs are linear in the weights and phi is the mode, which the learner's base
    reaches with the prior AroundInit(tau), the likelihood in nats and enough steps. Grant et al. (2018), section 3.2;
    MacKay (1992), equation 2.
    """

    def require(self, learner):
        self._evidence(learner)

    def _evidence(self, learner: AbstractLearner) -> AbstractEvidenceLearner:
        return require_evidence("EvidenceLoss", learner)

    def loss(self, learner, meta, task, *, key):
        everything = task.support | task.query
        evidence = self._evidence(learner).weigh(meta, everything, key=key)[1]
        return -evidence / jnp.maximum(everything.count, 1.0), {"log_evidence": evidence}
