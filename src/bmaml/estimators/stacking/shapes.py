"""The shape of the errors on tasks left out, where it is not that of the predictives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, ndtr, ndtri

# Errors in deviations, binned: a bin is far narrower than any part.
_EDGES = np.linspace(-6.0, 6.0, 241)
_MIDDLES = 0.5 * (_EDGES[1:] + _EDGES[:-1])
# Where the two parts begin: a tail or a cut on one side, on the other, or on both.
_STARTS = (np.array([-0.3, 0.6]), np.array([0.3, -0.6]), np.array([-0.8, 0.8]))
_FACTORS = np.array([1.1, 0.7])
# Each part has a prior that counts as this many tasks: normal errors.
_PRIOR, _ROUNDS, _NARROWEST = 2.0, 150, 0.25
# Groups of tasks that are left out in turn; the least gain in nats a row.
_GROUPS, _LEAST_GAIN = 8, 0.002


class Parts(NamedTuple):
    """The parts of a shape.

    - `weights`: they add up to 1.
    - `shifts`, `factors`: mean and deviation of each part.
    """

    weights: Float[np.ndarray, " kinds"]
    shifts: Float[np.ndarray, " kinds"]
    factors: Float[np.ndarray, " kinds"]

    def joint(self, error: Float[np.ndarray, "*of"]) -> Float[np.ndarray, "kinds ..."]:
        """Return the log density of each part times its weight at each `error`."""
        weights, shifts, factors = (part.reshape(-1, *[1] * error.ndim) for part in self)
        return np.log(weights / factors) - 0.5 * (((error - shifts) / factors) ** 2 + np.log(2 * np.pi))

    def log_prob(self, error: Float[np.ndarray, "*of"]) -> Float[np.ndarray, "*of"]:
        """Return the log density of each `error`, in deviations."""
        return np.asarray(logsumexp(self.joint(error), 0))

    def cdf(self, error: Float[np.ndarray, "*of"]) -> Float[np.ndarray, "*of"]:
        """Return the probability below each `error`, in deviations."""
        weights, shifts, factors = (part.reshape(-1, *[1] * error.ndim) for part in self)
        return (weights * ndtr((error - shifts) / factors)).sum(0)


_NORMAL = Parts(np.ones(1), np.zeros(1), np.ones(1))


def errors(cdf: Float[np.ndarray, "*of"]) -> Float[np.ndarray, "*of"]:
    """Return errors in deviations: where a standard normal has the `cdf` that a predictive has at each outcome."""
    return ndtri(np.clip(cdf, 1e-7, 1 - 1e-7))


def fit_shape(
    cdf: Float[np.ndarray, "questions rows"], weight: Float[np.ndarray, "questions rows"], owner: np.ndarray, widened: float
) -> Parts | None:
    """Return the shape of the errors, or None if normal errors predict as well.

    The shape is a mixture of two normals with mean 0, by expectation and maximisation. It is taken only if it predicts the
    errors of tasks left out better, beyond one standard error over tasks. Correcting a predictive by the distribution of its
    transformed outcomes is an old idea (Gneiting and Ranjan, 2013, https://doi.org/10.1214/13-EJS823).

    - `cdf`: what the mixture said is below each outcome.
    - `weight`: weight of each row.
    - `owner`: number of the task of each question.
    - `widened`: the factor by which the mixture was widened because tasks are few. The shape does not undo it.
    """
    tasks, place = np.unique(owner, return_inverse=True)
    if len(tasks) < 2 * _GROUPS:
        return None
    bins = np.clip(np.digitize(widened * errors(cdf), _EDGES) - 1, 0, len(_MIDDLES) - 1)
    flat = (place[:, None] * len(_MIDDLES) + bins).ravel()
    # (tasks, bins). Each task counts as 1, at whatever numbers of given rows it was asked: its errors are alike.
    each = np.bincount(flat, weight.ravel(), len(tasks) * len(_MIDDLES)).reshape(len(tasks), -1)
    each /= np.maximum(each.sum(1, keepdims=True), 1e-300)
    group = np.random.default_rng(len(tasks)).permutation(len(tasks)) % _GROUPS
    gain = np.empty(len(tasks))
    for out in range(_GROUPS):
        found = _fit(each[group != out].sum(0))
        gain[group == out] = each[group == out] @ (found.log_prob(_MIDDLES) - _NORMAL.log_prob(_MIDDLES))
    enough = gain.mean() > max(_LEAST_GAIN, gain.std(ddof=1) / np.sqrt(len(tasks)))
    return _fit(each.sum(0)) if enough else None


def _fit(counts: np.ndarray) -> Parts:
    """Return the shape for the number of errors in each bin."""
    return max((_climb(start, counts) for start in _STARTS), key=lambda found: found.log_prob(_MIDDLES) @ counts)


def _climb(shifts: np.ndarray, counts: np.ndarray) -> Parts:
    weights, factors = np.full(2, 0.5), _FACTORS
    for _ in range(_ROUNDS):
        joint = Parts(weights, shifts, factors).joint(_MIDDLES)
        share = np.exp(joint - logsumexp(joint, 0)) * counts[None]
        total = share.sum(1) + _PRIOR
        shifts = (share @ _MIDDLES) / total
        square = (share * (_MIDDLES[None] - shifts[:, None]) ** 2).sum(1) + _PRIOR
        weights, factors = total / total.sum(), np.maximum(np.sqrt(square / total), _NARROWEST)
        # The mean stays where it is predicted.
        shifts = shifts - weights @ shifts
    return Parts(weights, shifts, factors)
