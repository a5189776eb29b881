"""Multi-task pretraining: no inner loop in training."""

from __future__ import annotations

import equinox as eqx

from bmaml.errors import PairError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner
from bmaml.learners.gradient import GradientLearner
from bmaml.objectives.base import AbstractObjective
from bmaml.objectives.query import QueryLoss, Scoring


@register("objective/pooled")
class PooledLoss(AbstractObjective):
    """Loss of the unadapted particles on all of a task's data, support and query alike: the pretrain-and-fine-tune baseline.

    Scale as in `QueryLoss`. The learner's steps are what fine-tuning does at test time.
    """

    scoring: Scoring = eqx.field(static=True, default="each")

    def require(self, learner):
        QueryLoss(self.scoring).check(self._particles(learner))

    def _particles(self, learner: AbstractLearner) -> GradientLearner:
        if isinstance(learner, GradientLearner):
            return learner
        raise PairError(
            f"PooledLoss needs a GradientLearner because it scores parameters before any adaptation, which "
            f"{type(learner).__name__} does not predict with; use QueryLoss."
        )

    def loss(self, learner, meta, task, *, key):
        learner = self._particles(learner)
        everything = task.support | task.query
        prior = learner.finish(meta, learner.start(meta, everything))
        return QueryLoss(self.scoring).of_posterior(prior, everything), {}
