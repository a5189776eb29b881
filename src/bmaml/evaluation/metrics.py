"""Scores of one task's predictive distribution, and their mean with an interval over tasks.

Every score is one number for each task (a mean over unmasked query points). Points of one task depend on each other, so an
interval must be taken over tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import AbstractContinuous, AbstractDistribution

LEVEL = 0.9
# Nominal levels at which calibration is measured, besides the quoted interval's own.
LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
# Shares of a task's points that are answered, the surest first, at which accuracy under rejection is measured.
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_DRAWS = 256
_BINS = 15


def masked_mean(values: Float[Array, " n"], mask: Float[Array, " n"]) -> Float[Array, ""]:
    """Return the mean of the `values` whose `mask` is not 0."""
    return (values * mask).sum() / jnp.maximum(mask.sum(), 1.0)


def crps(
    predictive: AbstractContinuous, y: Float[Array, "n outputs"], key: PRNGKeyArray, draws: int = _DRAWS
) -> Float[Array, " n"]:
    """Return the continuous ranked probability score of each point, averaged over outputs, in the target's units.

    The score is E|X - y| - E|X - X'| / 2, estimated with `draws` draws from `predictive`. The second term uses distinct pairs
    (sorted draws), so it is unbiased. From Gneiting and Raftery (2007), equation 21,
    https://doi.org/10.1198/016214506000001437. The draws for a point do not depend on how many points follow it.
    """
    # One key for each draw. If all were drawn at once, the numbers would depend on the number of points, and so on padding.
    x = jnp.sort(jax.vmap(predictive.sample)(jax.random.split(key, draws)), axis=0)
    rank = (2 * jnp.arange(draws) - draws + 1).reshape(-1, *[1] * y.ndim)
    distance = 2 * (rank * x).sum(0) / (draws * (draws - 1))
    return (jnp.abs(x - y).mean(0) - 0.5 * distance).mean(-1)


def regression_scores(
    predictive: AbstractDistribution, query: Data, truth: Array, *, key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """Return the scores of one task, given its `predictive` and its `query`.

    - `mse`: squared error against `truth`; `mse_noisy` against the noisy targets.
    - `nll`: nats a point.
    - `crps`: in the targets' units.
    - `coverage`: share of targets in the central 90% interval; `coverage@L` for the levels of calibration.
    - `std`: mean predictive deviation (sharpness).

    Coverage comes from the CDF at the target, so no quantile is computed.
    """
    assert isinstance(predictive, AbstractContinuous)
    mask = query.mask
    inside = jnp.abs(2 * predictive.cdf(query.y) - 1)
    scores = {
        "mse": masked_mean(((predictive.mean - truth) ** 2).mean(-1), mask),
        "mse_noisy": masked_mean(((predictive.mean - query.y) ** 2).mean(-1), mask),
        "nll": -masked_mean(predictive.log_prob(query.y), mask),
        "crps": masked_mean(crps(predictive, query.y, key), mask),
        "std": masked_mean(predictive.std.mean(-1), mask),
        "coverage": masked_mean((inside < LEVEL).mean(-1), mask),
    }
    return scores | {f"coverage@{level}": masked_mean((inside < level).mean(-1), mask) for level in LEVELS}


def classification_scores(
    predictive: AbstractDistribution, query: Data, truth: Array, *, key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """Return the scores of one task, given its `predictive` and its `query`; `truth` is not used.

    - `accuracy`, `nll` (nats a point), `brier`.
    - `accuracy_at_90` to `accuracy_at_50`: accuracy on this percentage of the points, the surest first.
    - `accuracy_rejecting`: mean of these and `accuracy`, the area under accuracy against coverage, from 0 to 1.
    - `share@`, `right@`, `gap@`: for bins of confidence, the share of points, of right points, and confidence minus accuracy.
    """
    del truth, key
    p, mask = predictive.mean, query.mask
    target = jax.nn.one_hot(query.y, p.shape[-1], dtype=p.dtype)
    chosen = p.argmax(-1)
    right = (chosen == query.y).astype(p.dtype)
    scores = {
        "accuracy": masked_mean(right, mask),
        "nll": -masked_mean(predictive.log_prob(query.y), mask),
        "brier": masked_mean(((p - target) ** 2).sum(-1), mask),
    }
    # The probability left for the other classes, not 1 - p: near certainty 1 - p rounds to the same number for most points.
    doubt = (p * (1 - jax.nn.one_hot(chosen, p.shape[-1], dtype=p.dtype))).sum(-1)
    under = accuracy_under_rejection(doubt, right, mask)
    scores |= {f"accuracy_at_{round(100 * c)}": value for c, value in zip(COVERAGES, under, strict=True) if c < 1}
    scores["accuracy_rejecting"] = under.mean()
    confidence = p.max(-1)
    bins = jax.nn.one_hot(jnp.minimum((confidence * _BINS).astype(int), _BINS - 1), _BINS, dtype=p.dtype) * mask[:, None]
    parts = {"share": jnp.ones_like(right), "right": right, "gap": confidence - right}
    for name, values in parts.items():
        sums = values @ bins / jnp.maximum(mask.sum(), 1.0)
        scores |= {f"{name}@{i}": sums[i] for i in range(_BINS)}
    return scores


def accuracy_under_rejection(
    doubt: Float[Array, " n"], right: Float[Array, " n"], mask: Float[Array, " n"]
) -> Float[Array, " coverages"]:
    """Return the accuracy on the points with the least `doubt`, at the shares `COVERAGES` of the unmasked points (rounded up).

    `right` is 1 for a right answer, and `mask` says which points are real.
    """
    order = jnp.argsort(jnp.where(mask > 0, doubt, jnp.inf))
    count = (mask > 0).sum()
    # Rounding must not add a point if a share of the count is a whole number.
    kept = jnp.maximum(jnp.ceil(jnp.asarray(COVERAGES) * count - 1e-4), 1)
    within = (jnp.arange(len(mask)) < kept[:, None]) * (mask[order] > 0)
    return (within * right[order]).sum(1) / jnp.maximum(within.sum(1), 1)


def reliability(
    scores: dict[str, np.ndarray], draws: int = 200, seed: int = 0
) -> list[tuple[float, float, float, float, float]]:
    """Return the bins of a reliability diagram of pooled tasks: (confidence, accuracy, low, high, share of points).

    `low` and `high` are the 95% bootstrap interval of the accuracy over tasks. Empty bins are left out.

    - `scores`: each task's scores by name.
    - `draws`: bootstrap draws.
    - `seed`: seed of the bootstrap.
    """
    share, right, gap = (np.stack([scores[f"{name}@{i}"] for i in range(_BINS)], 1) for name in ("share", "right", "gap"))
    rows = np.random.default_rng(seed).integers(0, len(share), (draws, len(share)))
    bins = []
    for i in np.flatnonzero(share.sum(0) > 0):
        total, redrawn = share[:, i].mean(), share[rows, i].mean(1)
        held = redrawn > 0
        low, high = np.quantile(right[rows, i].mean(1)[held] / redrawn[held], [0.025, 0.975])
        accuracy = right[:, i].mean() / total
        bins.append(tuple(float(v) for v in ((right[:, i] + gap[:, i]).mean() / total, accuracy, low, high, total)))
    return bins


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return the mean of `values` over tasks and its 95% normal interval (mean -+ 1.96 standard errors)."""
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return mean, mean - half, mean + half


def calibration_error(scores: dict[str, np.ndarray]) -> float | None:
    """Return the mean gap between observed and nominal coverage of pooled tasks, from their `scores`.

    Regression: the mean over levels 0.05 to 0.95 of |observed - nominal coverage|. Classes: the expected calibration error in
    15 bins. None if the scores hold neither.
    """
    if "coverage@0.5" in scores:
        return float(np.mean([abs(scores[f"coverage@{level}"].mean() - level) for level in LEVELS]))
    if "gap@0" in scores:
        return float(np.sum([abs(scores[f"gap@{i}"].mean()) for i in range(_BINS)]))
    return None


def bootstrap_calibration(scores: dict[str, np.ndarray], draws: int = 200, seed: int = 0) -> tuple[float, float, float] | None:
    """Return the calibration error of `scores` with a 95% bootstrap interval over tasks, from `draws` draws."""
    whole = calibration_error(scores)
    if whole is None:
        return None
    generator, count = np.random.default_rng(seed), len(next(iter(scores.values())))
    redrawn = []
    for _ in range(draws):
        rows = generator.integers(0, count, count)
        redrawn.append(calibration_error({name: values[rows] for name, values in scores.items()}) or 0.0)
    # Redrawn tasks are noisier than tasks, which adds to a mean of gaps. Near 0 all redrawn errors may be larger than the
    # error itself.
    low, high = np.quantile(redrawn, [0.025, 0.975])
    return float(whole), float(min(low, whole)), float(high)
