"""The evidence lower bound of learners with a latent variable."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from bmaml.errors import InputError, PairError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner, AbstractLatentLearner, AbstractLearner
from bmaml.objectives.base import AbstractObjective

Scored = Literal["query", "all"]


@register("objective/elbo")
class Elbo(AbstractObjective):
    """Minus the evidence lower bound of one task, in nats per point scored:

        ( E_q[-log p(points | z, support)] + kl_weight KL(q(z) || p(z | support)) - hyper_weight log p(meta) ) / points.

    The expectation is differentiated through its draws. Both terms are sums over points and parameters before the division. So
    a loss that adds a KL to a mean over n points has, in these units, a `kl_weight` of n times its own.

    - `kl_weight`: 1 is the bound itself.
    - `samples`: draws from the guide.
    - `scored`: `"query"` (Finn et al., 2018, algorithm 1, https://arxiv.org/abs/1806.02817) or `"all"`, which includes the
      support (Ravi and Beatson, 2019, https://openreview.net/forum?id=rkgpy3C5tX).
    - `hyper_weight`: 1 / number of training tasks for the maximum a posteriori of a finite set, 0 for endless tasks.

    Raises: InputError for fewer than one sample, a negative weight or an unknown `scored`.
    """

    kl_weight: float = eqx.field(static=True, default=1.0)
    samples: int = eqx.field(static=True, default=1)
    scored: Scored = eqx.field(static=True, default="query")
    hyper_weight: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if self.samples < 1 or not self.kl_weight >= 0 or not self.hyper_weight >= 0:
            raise InputError(
                f"Elbo of {self.samples} samples, KL weight {self.kl_weight} and hyper-prior weight {self.hyper_weight}: "
                "give at least 1 sample, and weights of at least 0."
            )
        if self.scored not in ("query", "all"):
            raise InputError(f"Elbo scores {self.scored!r}: use 'query' or 'all'.")

    def require(self, learner):
        self._latent(learner)

    def _latent(self, learner: AbstractLearner) -> AbstractLatentLearner:
        if isinstance(learner, AbstractLatentLearner):
            return learner
        otherwise = "EvidenceLoss" if isinstance(learner, AbstractEvidenceLearner) else "QueryLoss"
        raise PairError(
            f"Elbo needs a learner with a latent variable because it compares a guide with a prior, which "
            f"{type(learner).__name__} has none of; use {otherwise}."
        )

    def loss(self, learner, meta, task, *, key):
        learner = self._latent(learner)
        guide_key, draw_key = jax.random.split(key)
        guide, prior = learner.guide(meta, task, key=guide_key), learner.prior(meta, task.support)
        points = task.query if self.scored == "query" else task.support | task.query

        def log_likelihood(key):
            latent_key, decode_key = jax.random.split(key)
            posterior = learner.decode(meta, guide.sample(latent_key), task.support, key=decode_key)
            return (posterior.predict(points.x).log_prob(points.y) * points.mask).sum()

        nll = -jax.vmap(log_likelihood)(jax.random.split(draw_key, self.samples)).mean()
        kl, count = guide.kl(prior), jnp.maximum(points.count, 1.0)
        loss = nll + self.kl_weight * kl
        if self.hyper_weight:
            loss = loss - self.hyper_weight * learner.log_hyper_prior(meta)
        return loss / count, {"nll": nll / count, "kl": kl / count}
