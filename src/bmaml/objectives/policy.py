"""Scores of adapted policies on the trajectories that they gathered."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.distributions import AbstractDistribution
from bmaml.errors import PairError
from bmaml.inference.particles import map_particles
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractPolicyLearner, Meta
from bmaml.objectives.base import AbstractObjective


@register("objective/policy")
class PolicyLoss(AbstractObjective):
    """Minus the surrogate return of the adapted particles on the query that each has gathered, averaged over particles.

    A task's support has leading axes (steps, particles), and its query (1, particles). The axes (episodes, horizon) follow. The
    masks are advantages divided by the number of steps taken. The surrogate is the sum over steps of mask times a ratio: the
    action's probability over its probability at the start of the meta-step. At that point the gradient is REINFORCE's for the
    adapted policy, and it passes through the adaptation to the meta-parameters. Finn et al. (2017), algorithm 3,
    https://arxiv.org/abs/1703.03400.
    """

    def require(self, learner):
        policies(learner, "PolicyLoss")

    def loss(self, learner, meta, task, *, key):
        query, chosen = gathered(task), adapted_actions(learner, meta, task, key=key)
        log_prob = chosen.log_prob(query.y)
        return -ratio_gain(log_prob, jax.lax.stop_gradient(log_prob), query).mean(), {}


def policies(learner: AbstractLearner, who: str) -> AbstractPolicyLearner[Any]:
    """Return the learner, for objectives of policies; `who` is the objective's name in the message.

    Raises: PairError if the particles of `learner` do not gather their own data.
    """
    if isinstance(learner, AbstractPolicyLearner):
        return learner
    raise PairError(
        f"{who} needs a learner of policies because each particle adapts to trajectories of its own, and "
        f"{type(learner).__name__} adapts to data that are given; use PolicyGradientLearner, or QueryLoss for given data."
    )


def gathered(task: Task) -> Data:
    """Return what the adapted particles gathered in `task`: (particles, episodes, horizon)."""
    return jax.tree.map(lambda leaf: leaf[0], task.query)


def adapted_actions(learner: AbstractLearner, meta: Meta, task: Task, *, key: PRNGKeyArray) -> AbstractDistribution:
    """Return each adapted particle's distribution over actions at the observations of its own query; `learner` adapts."""
    learner = policies(learner, "this")
    posterior = learner.adapt(meta, task.support, key=key)
    return map_particles(learner.model.predictive, posterior.params, gathered(task).x)


def ratio_gain(
    log_prob: Float[Array, "particles episodes horizon"], before: Float[Array, "particles episodes horizon"], query: Data
) -> Float[Array, " particles"]:
    """Return each particle's surrogate return: the sum over steps of mask times the ratio of probabilities.

    `log_prob` and `before` are log-probabilities of the actions in the query, now and at the start of the meta-step.
    """
    return (query.mask * jnp.exp(log_prob - before)).sum((-2, -1))
