"""How well a fitted classifier tells unseen classes apart, and when it should abstain."""

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

from bmaml.estimators.scores import Estimate
from bmaml.evaluation.intervals import interval
from bmaml.evaluation.metrics import bootstrap_calibration, classification_scores, range_of
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.tasks.episodes import Episodes

WANTED = 0.95
_BATCH = 8


@dataclass(frozen=True)
class EpisodeScores:
    """Means over episodes with 95% intervals.

    Below a confidence (probability of the most likely class) of `abstain_below` the model should abstain.

    - `way`, `shots`, `episodes`: classes and support images of a task, and number of tasks.
    - `accuracy`, `brier`: the scores of these names.
    - `nll`: nats an image.
    - `ece`: expected calibration error in 15 bins.
    - `answered`: share of answers at or above `abstain_below`.
    - `accuracy_answered`: accuracy of these answers, at least 0.95 if possible.
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
        """Return the scores as values that JSON can hold."""
        estimates = {name: getattr(self, name)._asdict() for name in ("accuracy", "nll", "brier", "ece")}
        return json.loads(json.dumps(dataclasses.asdict(self) | estimates))


def score_episodes(learner: AbstractLearner, meta: Meta, tasks: Episodes, count: int = 600, seed: int = 1) -> EpisodeScores:
    """Return the scores of a learner on `count` episodes of `tasks`, which depend on the seed alone; `learner` is the
    learner.
    """
    keys = jax.random.split(jax.random.key(seed), -(-count // _BATCH) * _BATCH)
    scores, confidence, right = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64)[:count], _answers(learner, meta, tasks, keys)
    )
    # A single episode has no interval.
    whole = {name: Estimate(*(v if count > 1 else (v[0], None, None))) for name, v in _means(scores).items()}
    below, answered, accurate = best_threshold(confidence.ravel(), right.ravel())
    return EpisodeScores(
        tasks.way, max(tasks.shots), count, **whole, abstain_below=below, answered=answered, accuracy_answered=accurate
    )


def best_threshold(confidence: np.ndarray, right: np.ndarray, wanted: float = WANTED) -> tuple[float, float, float | None]:
    """Return the lowest confidence at which all answers at least as sure are right with `wanted`, their share and accuracy.

    `confidence` and `right` hold confidence and correctness of each answer. If no confidence reaches `wanted`, the result is 1,
    and almost no image is answered.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, accuracy = confidence[order], np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Answers with the same confidence are all in or all out.
    last = np.flatnonzero((accuracy >= wanted) & np.append(sure[1:] < sure[:-1], True))
    if not len(last):
        return 1.0, 0.0, None
    return float(sure[last[-1]]), float((last[-1] + 1) / len(order)), float(accuracy[last[-1]])


def _means(scores: dict[str, np.ndarray]) -> dict[str, tuple[float, float, float]]:
    calibration = bootstrap_calibration(scores)
    assert calibration is not None
    return {name: interval(scores[name], range_of(name)) for name in ("accuracy", "nll", "brier")} | {"ece": calibration}


@eqx.filter_jit
def _answers(
    learner: AbstractLearner, meta: Meta, tasks: Episodes, keys: Key[Array, " tasks"]
) -> tuple[dict[str, Array], Array, Array]:
    """Return each episode's scores, and the confidence and correctness of each of its query images."""

    def episode_answers(key: PRNGKeyArray) -> tuple[dict[str, Array], Array, Array]:
        task_key, adapt_key = jax.random.split(key)
        task = tasks.sample(task_key)
        predictive = learner.adapt(meta, task.support, key=adapt_key).predict(task.query.x)
        p = predictive.mean
        return classification_scores(predictive, task.query, p, key=adapt_key), p.max(-1), jnp.argmax(p, -1) == task.query.y

    return jax.lax.map(episode_answers, keys, batch_size=_BATCH)
