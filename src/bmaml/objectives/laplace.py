"""The objectives of Laplace's approximation: the penalised query loss of Grant et al., and the evidence."""

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
    """NLL of the query at the adapted parameters + `eta` log det H, where H is the curvature of the query + prior precision.

    (sum over query points of the NLL + eta log det H) / points, in nats a point, averaged over particles. So `eta` is on the
    scale of the paper's sum, where it is 1e-6. In the evidence the weight would be 1/2. ML-LAPLACE of Grant et al. (2018),
    subroutine 4, https://arxiv.org/abs/1801.08930, whose curvature is Kronecker-factored. The learner's own posterior is not
    used.
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
        nll = -modes.each(lambda member: (member.log_prob(query.y) * query.mask).sum(), query.x).mean()
        log_det = jax.vmap(lambda h: h.logdet())(learner.curvatures(modes.params, query)).mean()
        count = jnp.maximum(query.count, 1.0)
        return (nll + self.eta * log_det) / count, {"nll": nll / count, "log_det": log_det}


@register("objective/evidence")
class EvidenceLoss(AbstractObjective):
    """Minus the log evidence of all of a task's data, support and query together, in nats a point: empirical Bayes.

    Any learner fits that knows its evidence. Exact heads know it exactly. `Laplace` knows Laplace's approximation, averaged
    over particles:

        log p(D | phi) + log N(phi; start, 1 / tau) + P/2 log 2 pi - 1/2 log det H.

    phi is adapted to D, H is the curvature of D at phi + tau, and P is the number of weights. This is the marginal likelihood
    that hierarchical Bayes maximises. It is exact if the outputs are linear in the weights and phi is the mode. The base
    reaches the mode with the prior AroundInit(tau), the likelihood in nats and enough steps. Grant et al. (2018), section 3.2,
    https://arxiv.org/abs/1801.08930; MacKay (1992), equation 2.
    """

    def require(self, learner):
        self._evidence(learner)

    def _evidence(self, learner: AbstractLearner) -> AbstractEvidenceLearner:
        return require_evidence("EvidenceLoss", learner)

    def loss(self, learner, meta, task, *, key):
        everything = task.support | task.query
        evidence = self._evidence(learner).weigh(meta, everything, key=key)[1]
        return -evidence / jnp.maximum(everything.count, 1.0), {"log_evidence": evidence}
