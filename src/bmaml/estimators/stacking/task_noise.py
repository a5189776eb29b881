"""How much noisier one task is than another: a factor on the noise of each task, learned from all training tasks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, ndtri

LOG_FACTORS = np.linspace(-2.4, 2.4, 13)
"""Logs of the factors at which each task's evidence is needed."""
# The evidence is smooth in the log of the factor, so that it can be interpolated.
_FINE = np.linspace(-2.4, 2.4, 97)
# Means and deviations of the log factors that are tried.
_MEANS = np.linspace(-0.9, 0.45, 10)
_DEVIATIONS = np.exp(np.linspace(np.log(0.04), np.log(1.2), 14))
_GRID = tuple(part.ravel() for part in np.meshgrid(_MEANS, _DEVIATIONS, indexing="ij"))
# Prior of the mean (its deviation), and of the log of the deviation (centre and deviation).
_MEAN_WIDTH, _DEVIATION_CENTRE, _DEVIATION_WIDTH = 0.3, np.log(0.25), 0.8
_TINY = 1e-300


def log_noise_factors(
    evidence: Float[np.ndarray, "factors tasks"], seen: Float[np.ndarray, " tasks"], uniform: Float[np.ndarray, "draws 2"]
) -> Float[np.ndarray, " draws"]:
    """Return draws of the log of a new task's factor on the deviation of its noise.

    The log factors of tasks are normal. Their mean and deviation have a prior, and each draw has values of its own from their
    posterior. So intervals have heavier tails where tasks are few or differ in noise, and a noisy task is found out by its
    first rows (Hedeker et al., 2008, https://doi.org/10.1111/j.1541-0420.2007.00924.x).

    - `evidence`: log evidence of each task, with its noise multiplied by each of the factors.
    - `seen`: 1 for the tasks to learn from, else 0.
    - `uniform`: numbers in (0, 1), two for each draw.
    """
    total = np.cumsum(_posterior(evidence, seen)[0])
    picked = np.minimum(np.searchsorted(total, uniform[:, 0]), len(total) - 1)
    return _GRID[0][picked] + _GRID[1][picked] * ndtri(uniform[:, 1])


def expected_log_factors(
    evidence: Float[np.ndarray, "factors tasks"], seen: Float[np.ndarray, " tasks"]
) -> Float[np.ndarray, " tasks"]:
    """Return the expected log of each task's factor on the deviation of its noise, less its mean over the tasks to learn from.

    `evidence` and `seen` are those of `log_noise_factors`. The mean belongs to the noise of all tasks, which is found next.
    """
    weights, within, likely = _posterior(evidence, seen)
    # (tasks, pairs) of the mean of the log factor given each pair.
    total = np.maximum(likely @ within.T, _TINY)
    found = ((likely * _FINE) @ within.T / total) @ weights
    return found - found @ seen / seen.sum()


def _posterior(evidence: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights of the means and deviations that are tried, and two parts of the density of each task's log factor.

    The density is the product of the two: what each pair of mean and deviation says (pairs, factors), and what the task's rows
    say (tasks, factors), which is 1 at most. A sum over factors is a product of matrices.
    """
    mean, deviation = _GRID
    within = _log_normal(_FINE, mean[:, None], deviation[:, None])
    within = np.exp(within - logsumexp(within, 1, keepdims=True))
    fine = np.stack([np.interp(_FINE, LOG_FACTORS, column) for column in evidence.T])
    likely = np.exp(fine - fine.max(1, keepdims=True))
    # The maximum of each task is the same for all pairs.
    posterior = seen @ np.log(np.maximum(likely @ within.T, _TINY))
    posterior += _log_normal(mean, 0.0, _MEAN_WIDTH) + _log_normal(np.log(deviation), _DEVIATION_CENTRE, _DEVIATION_WIDTH)
    return np.exp(posterior - logsumexp(posterior)), within, likely


def _log_normal(x: np.ndarray, mean: np.ndarray | float, deviation: np.ndarray | float) -> np.ndarray:
    """Return the log density of a normal distribution at `x`. `scipy.stats` has it, and takes half a second to import."""
    return -0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)
