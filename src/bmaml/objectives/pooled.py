"""Multi-task pretraining: no inner loop in training."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax.numpy as jnp

from bmaml.io.registry import register
from bmaml.learners.base import AbstractIterativeLearner
from bmaml.objectives.base import AbstractObjective
from bmaml.objectives.scoring import Scoring, check_scoring, require_scoring, score_posterior, score_query


@register("objective/pooled")
class PooledLoss(AbstractObjective):
    """Loss of what a learner predicts before it has seen a task, on all of the task's data, support and query together.

    With gradient steps this is the baseline of pretraining and fine-tuning: the learner's steps are the fine-tuning. Other
    learners adapt to an empty support. `scoring` is as in `QueryLoss`.
    """

    scoring: Scoring = eqx.field(static=True, default="each")

    def __check_init__(self):
        check_scoring(self.scoring)

    def require(self, learner):
        require_scoring("PooledLoss", self.scoring, learner)

    def loss(self, learner, meta, task, *, key):
        everything = task.support | task.query
        none = dataclasses.replace(task.support, mask=jnp.zeros_like(task.support.mask))
        if isinstance(learner, AbstractIterativeLearner):
            prior = learner.finish(meta, learner.start(meta, none, key=key), none, key=key)
            return score_posterior(self.scoring, prior, everything), {}
        return score_query(self.scoring, learner, meta, none, everything, key=key)[0], {}
