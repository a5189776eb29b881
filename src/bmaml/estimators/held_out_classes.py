"""How well a fitted classifier tells apart classes that it has not seen, and when it had better not answer."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from bmaml.estimators.held_out_tasks import Estimate
from bmaml.evaluation.metrics import bootstrap_calibration, classification_scores, interval
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.tasks.episodes import Episodes

WANTED = 0.95
_BATCH = 8


@dataclass(frozen=True)
class EpisodeScores:
    """Means over episodes with 95% intervals: `nll` in nats an image, `ece` the expected calibration error in 15 bins.

    Below a confidence (probability of the likeliest class) of `abstain_below` a model had better not answer: the other
    answers, a share `answered` of all, are right with `accuracy_answered`, at least 0.95 where that can be had.
    """

    way: int
    shots: int
    episodes: int
    accuracy: Estimate
    nll: Estimate
    brier: Estimate
    ece: Estimate
    abstain_below: float
    answered: float
    accuracy_answered: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON-able values."""
        estimates = {name: getattr(self, name)._asdict() for name in ("accuracy", "nll", "brier", "ece")}
        return json.loads(json.dumps(dataclasses.asdict(self) | estimates))


def score_episodes(learner: AbstractLearner, meta: Meta, tasks: Episodes, count: int = 600, seed: int = 1) -> EpisodeScores:
    """Return the scores on `count` episodes, which are a function of the seed."""
    keys = jax.random.split(jax.random.key(seed), -(-count // _BATCH) * _BATCH)
    scores, confidence, right = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64)[:count], _answers(learner, meta, tasks, keys)
    )
    # One episode has no interval.
    whole = {name: Estimate(*(v if count > 1 else (v[0], None, None))) for name, v in _means(scores).items()}
    below, answered, accurate = best_threshold(confidence.ravel(), right.ravel())
    return EpisodeScores(
        tasks.way, max(tasks.shots), count, **whole, abstain_below=below, answered=answered, accuracy_answered=accurate
    )


def best_threshold(confidence: np.ndarray, right: np.ndarray, wanted: float = WANTED) -> tuple[float, float, float | None]:
    """Return the lowest confidence at which all answers at least as sure are right with `wanted`, their share and accuracy.

    Where there is none it is 1, and next to nothing is answered.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, accuracy = confidence[order], np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Answers of the same confidence come together or not at all.
    last = np.flatnonzero((accuracy >= wanted) & np.append(sure[1:] < sure[:-1], True))
    if not len(last):
        return 1.0, 0.0, None
    return float(sure[last[-1]]), float((last[-1] + 1) / len(order)), float(accuracy[last[-1]])


def _means(scores: dict[str, np.ndarray]) -> dict[str, tuple[float, float, float]]:
    calibration = bootstrap_calibration(scores)
    assert calibration is not None
    return {name: interval(scores[name]) for name in ("accuracy", "nll", "brier")} | {"ece": calibration}


@eqx.filter_jit
def _answers(
    learner: AbstractLearner, meta: Meta, tasks: Episodes, keys: Key[Array, " tasks"]
) -> tuple[dict[str, Array], Array, Array]:
    """Return each episode's scores, and each of its query images' confidence and whether it was right."""

    def one(key: PRNGKeyArray) -> tuple[dict[str, Array], Array, Array]:
        task_key, adapt_key = jax.random.split(key)
        task = tasks.sample(task_key)
        predictive = learner.adapt(meta, task.support, key=adapt_key).predict(task.query.x)
        p = predictive.mean
        return classification_scores(predictive, task.query, p, key=adapt_key), p.max(-1), jnp.argmax(p, -1) == task.query.y

    return jax.lax.map(one, keys, batch_size=_BATCH)
