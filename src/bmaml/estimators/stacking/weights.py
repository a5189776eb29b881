"""Weights of candidates, and the stretch of their mixture, from predictions of tasks that were not trained on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

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
    real = weight > 0
    log_prob, given, weight = log_prob[:, real], np.broadcast_to(given[:, None], real.shape)[real], weight[real]
    top = log_prob.max(0)
    likely = np.exp(np.maximum(np.where(np.isfinite(log_prob), log_prob, -np.inf) - top, _LOWEST))
    parts = len(log_prob)
    # All numbers of points together count as one set of tasks, not as several.
    shared = _mix(likely, weight / len(counts), np.full(parts, _EQUAL / parts))
    every = [_mix(likely[:, given == n], weight[given == n], _SHARED * shared) for n in counts]
    scores = [weight[given == n] @ np.log(w @ likely[:, given == n]) for n, w in zip(counts, every, strict=True)]
    return np.stack(every), float(sum(scores) + weight @ top) / float(weight.sum())


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


def _mix(likely: np.ndarray, weight: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the weights of the parts, whose densities (parts, rows) are known up to a factor for each row."""
    mixture = prior / prior.sum()
    for _ in range(_ROUNDS):
        total = mixture * (likely @ (weight / (mixture @ likely))) + prior
        mixture = total / total.sum()
    return mixture
