"""Weights of candidates, and the stretch of their mixture, from predictions of tasks that were not trained on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, ndtri, stdtrit

_ROUNDS = 60
# Equal weights count as much as this many tasks, and the weights of all numbers of points as much as this many at each.
_EQUAL, _SHARED = 1.0, 6.0
_LOWEST = -60.0
# Deviations of the log factor: of what is common to all numbers of points, and of what is not.
_STRETCH, _APART = 0.3, 0.15
# The level of the intervals that must hold where tasks are few.
_LEVEL = 0.9


def weigh(
    log_prob: Float[np.ndarray, "parts questions rows"],
    weight: Float[np.ndarray, "questions rows"],
    given: np.ndarray,
    counts: list[int],
) -> tuple[Float[np.ndarray, "counts parts"], float]:
    """Return the weights of the parts after each number of given points, and the mean log density of the mixture.

    The weights maximise the mean log density of the mixture (nats a row), by expectation and maximisation. With few tasks they
    are near the weights that are best for all numbers of points together, and those are near equal ones.

    - `log_prob`: log density of each row by each part.
    - `weight`: weight of each row; a task has weight 1 for each number of given points.
    - `given`, `counts`: number of given points of each question, and the numbers there are.
    """
    log_prob = np.maximum(np.where(np.isfinite(log_prob), log_prob, -np.inf), log_prob.max(0) + _LOWEST)
    parts = len(log_prob)
    # All numbers of points together count as one set of tasks, not as several.
    shared = _mix(log_prob, weight / len(counts), np.full(parts, _EQUAL / parts))
    every = [_mix(log_prob[:, given == n], weight[given == n], _SHARED * shared) for n in counts]
    scores = [_density(log_prob[:, given == n], w)[1] for n, w in zip(counts, every, strict=True)]
    total = sum(float((score * weight[given == n]).sum()) for n, score in zip(counts, scores, strict=True))
    return np.stack(every), total / float(weight.sum())


def stretches(
    log_prob: Float[np.ndarray, "factors questions rows"],
    weight: Float[np.ndarray, "questions rows"],
    given: np.ndarray,
    counts: list[int],
    factors: Float[np.ndarray, " factors"],
) -> Float[np.ndarray, " counts"]:
    """Return the factor on all scales of the mixture after each number of given points.

    The factor is the most likely one under a log-normal prior around 1. It is smooth over numbers of points: a part of it is
    common to all.

    - `log_prob`: log density of each row, with the scales multiplied by each of the `factors`.
    - `weight`, `given`, `counts`: as in `weigh`.
    """
    logs = np.log(factors)
    log_prob = np.maximum(log_prob, _LOWEST)
    each = np.stack([(log_prob[:, given == n] * weight[given == n]).sum((1, 2)) for n in counts])
    middle = _peak(logs, each.mean(0) - 0.5 * (logs / _STRETCH) ** 2)
    return np.exp([_peak(logs, part - 0.5 * ((logs - middle) / _APART) ** 2) for part in each])


def widening(tasks: int) -> float:
    """Return the factor that makes a normal's 90% interval as wide as that of Student's t with `tasks` degrees of freedom.

    Errors of one task are alike. So a factor that was found on few tasks is as uncertain as a deviation that was estimated from
    as many numbers, and an interval is too narrow without this.
    """
    upper = 0.5 + 0.5 * _LEVEL
    return float(stdtrit(tasks, upper) / ndtri(upper))


def _peak(places: np.ndarray, values: np.ndarray) -> float:
    """Return where a parabola through the largest value and its neighbours has its peak."""
    best = int(np.clip(values.argmax(), 1, len(values) - 2))
    left, middle, right = values[best - 1 : best + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(places[best] + np.clip(shift, -1.0, 1.0) * (places[1] - places[0]))


def _density(log_prob: np.ndarray, mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log density of each row with each part, and that of the mixture."""
    joint = log_prob + np.log(np.maximum(mixture, 1e-300))[:, None, None]
    return joint, np.asarray(logsumexp(joint, 0))


def _mix(log_prob: np.ndarray, weight: np.ndarray, prior: np.ndarray) -> np.ndarray:
    mixture = prior / prior.sum()
    for _ in range(_ROUNDS):
        joint, density = _density(log_prob, mixture)
        total = (np.exp(joint - density) * weight).sum((1, 2)) + prior
        mixture = total / total.sum()
    return mixture
