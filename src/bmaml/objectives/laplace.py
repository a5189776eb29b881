"""The objectives of Laplace's approximation: Grant et al.'s penalised query loss, and the evidence."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.errors import PairError
from bmaml.inference.curvature import LastLayer
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner
from bmaml.learners.gradient import GradientMeta
from bmaml.learners.laplace import Laplace
from bmaml.models.base import AbstractModel, log_likelihood
from bmaml.objectives.base import AbstractObjective


def _laplace(learner: AbstractLearner, who: str, otherwise: str) -> Laplace:
    if isinstance(learner, Laplace):
        return learner
    raise PairError(
        f"{who} needs a Laplace learner because curvature and prior precision are its, and {type(learner).__name__} has "
        f"neither; use Laplace(learner), or {otherwise}."
    )


@register("objective/laplace")
class LaplaceLoss(AbstractObjective):
    """NLL of the query at the adapted parameters + `eta` log det H, H the QUERY's curvature there + prior precision.

    (sum over query points of the NLL + eta log det H) / points, in nats a point, mean over particles; so `eta` is on the
    scale of the paper's sum, 1e-6 there. 1/2 would be the log det's weight in the evidence. ML-LAPLACE of Grant et al.
    (2018), subroutine 4, whose curvature is Kronecker-factored. The learner's own posterior plays no part.
    """

    eta: float = eqx.field(static=True, default=1e-6)

    def require(self, learner):
        _laplace(learner, "LaplaceLoss", "QueryLoss")

    def loss(self, learner, meta, task, *, key):
        learner = _laplace(learner, "LaplaceLoss", "QueryLoss")
        params = learner.base.adapt(meta, task.support, key=key).params
        nll = -jax.vmap(lambda p: log_likelihood(learner.base.model, p, task.query))(params).mean()
        log_det = jax.vmap(lambda h: h.logdet())(learner.curvatures(params, task.query)).mean()
        count = jnp.maximum(task.query.count, 1.0)
        return (nll + self.eta * log_det) / count, {"nll": nll / count, "log_det": log_det}


@register("objective/evidence")
class EvidenceLoss(AbstractObjective):
    """Minus Laplace's log evidence of all of a task's data, support and query alike, in nats a point, mean over particles.

        log p(D | phi) + log N(phi; start, 1 / tau) + P/2 log 2 pi - 1/2 log det H,

    phi adapted to D, H the curvature of D there + tau, P the number of weights: the marginal likelihood that hierarchical
    Bayes maximises. Exact where the outputs are linear in the weights and phi is the mode, which the learner's base
    reaches with the prior AroundInit(tau), the likelihood in nats and enough steps. Grant et al. (2018), section 3.2;
    MacKay (1992), equation 2.
    """

    def require(self, learner):
        if isinstance(_laplace(learner, "EvidenceLoss", "QueryLoss").curvature, LastLayer):
            raise PairError(
                "EvidenceLoss needs a curvature of all weights because it integrates over every one that adaptation moves, "
                "and LastLayer holds most for known; use GaussNewton, Kronecker or Diagonal."
            )

    def loss(self, learner, meta, task, *, key):
        learner = _laplace(learner, "EvidenceLoss", "QueryLoss")
        everything = task.support | task.query
        adapted = learner.base.adapt(meta, everything, key=key).params
        evidence = log_evidence(learner, meta, adapted, everything).mean()
        return -evidence / jnp.maximum(everything.count, 1.0), {"log_evidence": evidence}


def log_evidence(learner: Laplace, meta: GradientMeta, adapted, data: Data) -> Float[Array, " particles"]:
    """Return Laplace's log evidence of a data set about each particle's adapted parameters, in nats (a sum)."""
    model, tau = learner.base.model, learner.precision
    log_det = jax.vmap(lambda h: h.logdet())(learner.curvatures(adapted, data))
    fit = jax.vmap(lambda p: log_likelihood(model, p, data))(adapted)
    square, count = jax.vmap(lambda p, start: _moved(model, p, start))(adapted, meta.particles.params)
    return fit - 0.5 * tau * square + 0.5 * (count * jnp.log(tau) - log_det)


def _moved(model: AbstractModel, params, start) -> tuple[Array, Array]:
    """Return the squared distance of the weights from the start, and their number."""
    pairs = zip(jax.tree.leaves(model.weights(params)), jax.tree.leaves(model.weights(start)), strict=True)
    squares, sizes = zip(*[(jnp.sum((a - b) ** 2), a.size) for a, b in pairs], strict=True)
    return jnp.asarray(sum(squares)), jnp.asarray(sum(sizes), jnp.result_type(float))
