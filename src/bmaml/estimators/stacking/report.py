"""What the folds say of a mixture: scores on the tasks left out, beside its candidates and a plain guess."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from bmaml.estimators.scores import Errors, Score, summary
from bmaml.estimators.stacking.fit import Stacked
from bmaml.estimators.stacking.questions import Answers
from bmaml.evaluation.metrics import LEVEL
from bmaml.tables import Schema

PLAIN = "mean of the given rows"


def scores(stacked: Stacked, schema: Schema) -> list[Score]:
    """Return the scores of the mixture, of its candidates and of a plain guess, at each number of given rows.

    Every task was predicted by a training that did not see it. The weights and the factors of the mixture were found on the
    same predictions, but they are few. The plain guess is a normal around the mean of the given rows (0 given rows: around the
    mean of all rows) whose deviation is its own error.

    - `stacked`: the mixture.
    - `schema`: what the columns mean.
    """
    found = []
    for count in stacked.counts:
        here = stacked.asked.given == count
        owner = stacked.asked.owner[here]
        y, mask = (np.asarray(part, np.float64)[here] for part in (stacked.asked.task.query.y, stacked.asked.task.query.mask))
        for judged in stacked.judged:
            answers = Answers(*(part[here] for part in judged.answers))
            found.append(_score(count, judged.name, _errors(answers, y, mask), owner, schema))
        found.append(_score(count, PLAIN, _plain(stacked, here, y, mask), owner, schema))
    return found


def report(stacked: Stacked, schema: Schema) -> dict[str, Any]:
    """Return all that is known of a mixture as values that JSON can hold: weights, factors and scores.

    `stacked` is the mixture, and `schema` says what the columns mean.
    """
    return {
        "candidates": stacked.names,
        "given": stacked.counts,
        "weights": np.round(stacked.weights, 4).tolist(),
        "factors": np.round(stacked.factors, 4).tolist(),
        "scores": [score.to_json() for score in scores(stacked, schema)],
    }


def _score(count: int, name: str, errors: Errors, owner: np.ndarray, schema: Schema) -> Score:
    return Score(count, name, len(set(owner.tolist())), *summary(errors, owner, schema))


def _errors(answers: Answers, y: np.ndarray, mask: np.ndarray) -> Errors:
    inside = np.abs(answers.cdf - 0.5) < LEVEL / 2
    return Errors(*(_averaged(part, mask) for part in ((answers.mean - y) ** 2, -answers.log_prob, inside)))


def _averaged(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean over the rows of each query. Masked rows may hold anything."""
    share = mask / mask.sum(1, keepdims=True)
    share = share.reshape(*share.shape, *[1] * (values.ndim - 2))
    return np.where(share > 0, share * values, 0.0).sum(1)


def _plain(stacked: Stacked, here: np.ndarray, y: np.ndarray, mask: np.ndarray) -> Errors:
    support = stacked.asked.task.support
    given, seen = (np.asarray(part, np.float64)[here] for part in (support.y, support.mask))
    guess = (given * seen[..., None]).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
    error = guess[:, None] - y
    deviation = np.sqrt(_averaged(error**2, mask).mean(0)) + 1e-6
    z = error / deviation
    nll = 0.5 * (z**2 + np.log(2 * np.pi * deviation**2)).sum(-1)
    inside = np.abs(z) < NormalDist().inv_cdf(0.5 + LEVEL / 2)
    return Errors(*(_averaged(part, mask) for part in (error**2, nll, inside)))
