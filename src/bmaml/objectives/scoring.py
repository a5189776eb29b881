"""How well a posterior predicts a query: the four scales that the losses of a query share."""

from __future__ import annotations

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import AbstractContinuous, AbstractDistribution, Mixture, Normal, StudentT
from bmaml.errors import InputError, PairError
from bmaml.inference.posteriors import AbstractJointPosterior, AbstractPosterior, each_member
from bmaml.learners.base import (
    AbstractEvidenceLearner,
    AbstractIterativeLearner,
    AbstractLatentLearner,
    AbstractLearner,
    AbstractLimitedLearner,
    Meta,
    Need,
)
from bmaml.models.base import squared_error

Scoring = Literal["points", "joint", "each", "squared_error"]


def check_scoring(scoring: Scoring) -> None:
    """Raise InputError for an unknown `scoring`."""
    if scoring not in get_args(Scoring):
        raise InputError(f"unknown score {scoring!r}: use 'points', 'joint', 'each' or 'squared_error'.")


def limit(learner: AbstractLearner, need: Need) -> str | None:
    """Return why `learner` cannot serve a `need`, or None if it can, or does not say."""
    return learner.limit(need) if isinstance(learner, AbstractLimitedLearner) else None


def require_scoring(who: str, scoring: Scoring, learner: AbstractLearner) -> None:
    """Raise PairError if `learner`, behind all wrappers, says that it cannot be scored by `scoring`; `who` is the
    objective's name.
    """
    if scoring == "squared_error" and (reason := limit(learner, "numbers")):
        raise _needs_numbers(who, reason)
    if scoring == "joint" and (reason := limit(learner, "joint")):
        raise _needs_joint(who, reason)


def require_evidence(who: str, learner: AbstractLearner, otherwise: str | None = None) -> AbstractEvidenceLearner:
    """Return the learner, for objectives that need the evidence of a data set.

    `who` is the objective's name in the message, and `otherwise` what the message says to use instead.
    Raises: PairError if `learner` does not know the evidence.
    """
    reason = limit(learner, "evidence")
    if isinstance(learner, AbstractEvidenceLearner) and reason is None:
        return learner
    if otherwise is None:
        by_steps = "Laplace around it" if isinstance(learner, AbstractIterativeLearner) else "QueryLoss"
        otherwise = "Elbo, a bound on it" if isinstance(learner, AbstractLatentLearner) else by_steps
    reason = reason or f"{type(learner).__name__} does not know that of its data"
    raise PairError(f"{who} needs a learner with an evidence because it maximises log p(data), and {reason}; use {otherwise}.")


def _needs_numbers(who: str, reason: str) -> PairError:
    return PairError(f"{who}('squared_error') needs targets that are numbers because {reason}; use scoring='each'.")


def _needs_joint(who: str, reason: str) -> PairError:
    whole = f"{who}('joint') needs the joint density of a query because it scores the query as a whole"
    return PairError(f"{whole}, and {reason}; use scoring='points'.")


def score_query(
    scoring: Scoring,
    learner: AbstractLearner,
    meta: Meta,
    support: Data,
    query: Data,
    *,
    evidence: bool = False,
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the loss of a query after adapting to a support, and the support's log evidence (0 unless `evidence` is True).

    `scoring` and `learner` say what is scored. A joint density that the posterior does not know is that of support and query
    together over that of the support.
    """
    if not isinstance(learner, AbstractEvidenceLearner) or not (evidence or scoring == "joint"):
        return score_posterior(scoring, learner.adapt(meta, support, key=key), query), jnp.zeros(())
    posterior, weight = learner.weigh(meta, support, key=key)
    if scoring != "joint" or isinstance(posterior, AbstractJointPosterior):
        return score_posterior(scoring, posterior, query), weight
    # The same key, so that both use the same drawn experts.
    both = learner.weigh(meta, support | query, key=key)[1]
    return -(both - weight) / jnp.maximum(query.count, 1.0), weight


def score_posterior(scoring: Scoring, posterior: AbstractPosterior, query: Data) -> Float[Array, ""]:
    """Return the loss of a `posterior` on a query by `scoring`.

    Raises: PairError for the squared error of classes, or a joint density that the posterior does not know.
    """
    count = jnp.maximum(query.count, 1.0)
    if scoring == "points":
        return -(posterior.predict(query.x).log_prob(query.y) * query.mask).sum() / count
    if scoring == "squared_error":
        return each_member(posterior, lambda predictive: _residual_loss(predictive, query), query.x).mean()
    if scoring == "each":
        return -each_member(posterior, lambda one: (one.log_prob(query.y) * query.mask).sum(), query.x).mean() / count
    if not isinstance(posterior, AbstractJointPosterior):
        raise _needs_joint("QueryLoss", f"{type(posterior).__name__} knows only that of each target by itself")
    return -posterior.log_joint(query) / count


def _residual_loss(predictive: AbstractDistribution, query: Data) -> Float[Array, ""]:
    noise = noise_loss(predictive, query)  # This refuses classes in its own words.
    return squared_error(predictive.mean, query) + noise


def noise_loss(predictive: AbstractDistribution, query: Data) -> Float[Array, ""]:
    """Return 0 with the gradient that the mean NLL of `query` has in the noise of `predictive` alone, its means held fixed.

    Raises: PairError for classes, or a predictive whose noise cannot be told from its means.
    """
    if not isinstance(predictive, AbstractContinuous):
        raise _needs_numbers("QueryLoss", "classes have no distance")
    held = _with_fixed_mean(predictive)
    noise = -(held.log_prob(query.y) * query.mask).sum() / jnp.maximum(query.count, 1.0)
    return noise - jax.lax.stop_gradient(noise)


def _with_fixed_mean(predictive: AbstractContinuous) -> AbstractContinuous:
    """Return the same predictive with its means as constants to the gradient."""
    if isinstance(predictive, Mixture):
        return Mixture(predictive.log_weights, _with_fixed_mean(predictive.components))
    if isinstance(predictive, Normal | StudentT):
        return eqx.tree_at(lambda one: one.loc, predictive, jax.lax.stop_gradient(predictive.loc))
    kind = type(predictive).__name__
    raise PairError(f"the squared error of a {kind} cannot be told from its noise: use scoring='each', or predict normals.")
