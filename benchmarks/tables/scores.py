"""What a method says of the rows that are asked for, and how this is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from data import Question, Spec
from scipy import stats

LEVEL = 0.9


class Answer(NamedTuple):
    """What is said of the rows of a question (q,).

    - `mean`: the mean.
    - `log_score`: log density of the outcome; log probability if the outcome has steps.
    - `below`, `upto`: probability below the outcome, and up to it. They differ if the outcome has steps.
    - `crps`: the continuous ranked probability score.
    """

    mean: np.ndarray
    log_score: np.ndarray
    below: np.ndarray
    upto: np.ndarray
    crps: np.ndarray


def normal(mean: np.ndarray, deviation: np.ndarray, y: np.ndarray, step: float) -> Answer:
    """Return the answer of normals. If the outcome has steps, its probability is that of the half step on both sides."""
    z = (y - mean) / deviation
    crps = deviation * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    if not step:
        below = stats.norm.cdf(z)
        return Answer(mean, stats.norm.logpdf(z) - np.log(deviation), below, below, crps)
    below, upto = (stats.norm.cdf((y + side * step / 2 - mean) / deviation) for side in (-1, 1))
    # The difference of logs keeps the digits of a far tail.
    far = np.abs(z)
    ends = (far - step / 2 / deviation, far + step / 2 / deviation)
    high, low = (stats.norm.logsf(end) for end in ends)
    return Answer(mean, high + np.log1p(-np.exp(np.minimum(low - high, -1e-12))), below, upto, crps)


def discrete(values: np.ndarray, mass: np.ndarray, y: np.ndarray) -> Answer:
    """Return the answer of probabilities `mass` (q, values) of the `values`, which are in order and hold every `y`."""
    place = np.searchsorted(values, y)
    rows = np.arange(len(y))
    upto = np.cumsum(mass, 1)
    steps = np.diff(values)
    crps = ((upto - (values[None] >= y[:, None])) ** 2)[:, :-1] @ steps
    own = mass[rows, place]
    return Answer(mass @ values, np.log(np.maximum(own, 1e-300)), upto[rows, place] - own, upto[rows, place], crps)


def score(asked: Sequence[Question], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
    """Return what is kept of a method's answers: a list of means over the rows of each question.

    - `task`, `given`: number of the task, and how many rows were given.
    - `rows`: rows asked for.
    - `squared`, `nll`, `crps`, `covered`: squared error, minus log score, CRPS, and whether the central 90% interval holds the
      outcome (randomised if the outcome has steps).
    """
    found: dict[str, list] = {name: [] for name in ("task", "given", "rows", "squared", "nll", "crps", "covered")}
    for question, answer in zip(asked, answers, strict=True):
        y = question.asked.columns[spec.y]
        share = np.random.default_rng([question.task, question.count]).random(len(y)) if spec.step else 0.0
        place = answer.below + share * (answer.upto - answer.below)
        parts = {
            "squared": (answer.mean - y) ** 2,
            "nll": -answer.log_score,
            "crps": answer.crps,
            "covered": np.abs(place - 0.5) <= LEVEL / 2,
        }
        if not all(np.isfinite(part).all() for part in parts.values()):
            raise ValueError(f"an answer about task {question.task} of {spec.name} is not finite")
        found["task"].append(question.task)
        found["given"].append(question.count)
        found["rows"].append(len(y))
        for name, part in parts.items():
            found[name].append(float(f"{part.mean():.6g}"))
    return found
