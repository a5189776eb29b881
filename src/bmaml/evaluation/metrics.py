"""Scores of one task's predictive distribution, and their mean with an interval over tasks.

Every score is one number for each task (a mean over unmasked query points). Points of one task depend on each other, so an
interval must be taken over tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import AbstractDistribution, AbstractNumeric, Bernoulli, DiscreteMixture, Mixture, Normal, pit
from bmaml.evaluation.intervals import POSITIVE, REAL, SHARE, Range, bootstrap

LEVEL = 0.9
# Nominal levels at which calibration is measured, besides the quoted interval's own.
LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
# Shares of a task's points that are answered, the surest first, at which accuracy under rejection is measured.
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_DRAWS = 256
# Pairs of components cost their number squared; the draws of more components are cheaper.
_MOST_NORMALS = 128
_BINS = 15


def range_of(metric: str) -> Range:
    """Return where the mean of a metric can lie at all: a squared error is never below 0, a share between 0 and 1."""
    if metric.startswith(("accuracy", "coverage")):
        return SHARE
    return POSITIVE if metric in ("mse", "mse_noisy", "crps", "std", "brier", "calibration") else REAL


def masked_mean(values: Float[Array, " n"], mask: Float[Array, " n"]) -> Float[Array, ""]:
    """Return the mean of the `values` whose `mask` is not 0. The others may hold anything."""
    # 0 times infinity, which padding can cost, would be no number.
    return jnp.where(mask > 0, values * mask, 0.0).sum() / jnp.maximum(mask.sum(), 1.0)


def crps(
    predictive: AbstractNumeric, y: Float[Array, "n outputs"], key: PRNGKeyArray, draws: int = _DRAWS
) -> Float[Array, " n"]:
    """Return the continuous ranked probability score of `predictive` at each target `y`, averaged over outputs.

    The score is E|X - y| - E|X - X'| / 2, in the target's units: Gneiting and Raftery (2007), equation 21,
    https://doi.org/10.1198/016214506000001437. It is exact for a normal, and for a mixture of up to 128 normals by equation 5
    of Grimit et al. (2006), https://doi.org/10.1256/qj.05.235. Of yes or no it is the squared distance of the probability (half
    of a Brier score over both). For other distributions, counts included, it is an unbiased estimate from `draws` draws that
    `key` makes. The draws for a point do not depend on how many points follow it.
    """
    if isinstance(predictive, Normal):
        return (_distance(predictive.loc - y, predictive.scale) - predictive.scale / math.sqrt(math.pi)).mean(-1)
    if isinstance(predictive, Mixture) and isinstance(predictive.components, Normal):
        if len(predictive.log_weights) <= _MOST_NORMALS:
            return _mixed_crps(jax.nn.softmax(predictive.log_weights), predictive.components, y)
    if isinstance(predictive.components if isinstance(predictive, DiscreteMixture) else predictive, Bernoulli):
        return ((predictive.mean - y) ** 2).mean(-1)
    return _drawn_crps(predictive, y, key, draws)


def _distance(loc: Array, scale: Array) -> Array:
    """Return E|X| of normals."""
    z = loc / scale
    return loc * (2 * ndtr(z) - 1) + 2 * scale * jnp.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def _mixed_crps(weights: Float[Array, " particles"], parts: Normal, y: Float[Array, "n outputs"]) -> Float[Array, " n"]:
    loc, scale = jnp.broadcast_arrays(parts.loc, parts.scale)

    def apart(one: tuple[Array, Array]) -> Array:
        """Return the mean distance of one component's draws from the mixture's."""
        return jnp.tensordot(weights, _distance(loc - one[0][None], jnp.hypot(scale, one[1][None])), 1)

    between = jnp.tensordot(weights, jax.lax.map(apart, (loc, scale)), 1)
    return (jnp.tensordot(weights, _distance(loc - y[None], scale), 1) - 0.5 * between).mean(-1)


def _drawn_crps(predictive: AbstractNumeric, y: Float[Array, "n outputs"], key: PRNGKeyArray, draws: int) -> Float[Array, " n"]:
    # One key for each draw. If all were drawn at once, the numbers would depend on the number of points, and so on padding.
    # The second term takes distinct pairs alone (sorted draws), so there is no bias.
    x = jnp.sort(jax.vmap(predictive.sample)(jax.random.split(key, draws)), axis=0)
    rank = (2 * jnp.arange(draws, dtype=x.dtype) - draws + 1).reshape(-1, *[1] * y.ndim)
    distance = 2 * (rank * x).sum(0) / (draws * (draws - 1))
    return (jnp.abs(x - y[None]).mean(0) - 0.5 * distance).mean(-1)


def regression_scores(
    predictive: AbstractDistribution, query: Data, truth: Array, *, key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """Return the scores of one task, given its `predictive` and its `query`.

    - `mse`: squared error against `truth`; `mse_noisy` against the noisy targets.
    - `nll`: nats a point.
    - `crps`: in the targets' units.
    - `coverage`: share of targets in the central 90% interval; `coverage@L` for the levels of calibration.
    - `std`: mean predictive deviation (sharpness).

    Coverage comes from the CDF at the target, so no quantile is computed. For whole numbers it is the randomised probability
    integral transform.
    """
    assert isinstance(predictive, AbstractNumeric)
    mask = query.mask
    inside = jnp.abs(2 * pit(predictive, query.y, jax.random.fold_in(key, 1)) - 1)
    scores = {
        "mse": masked_mean(((predictive.mean - truth) ** 2).mean(-1), mask),
        "mse_noisy": masked_mean(((predictive.mean - query.y) ** 2).mean(-1), mask),
        "nll": -masked_mean(predictive.log_prob(query.y), mask),
        "crps": masked_mean(crps(predictive, query.y, key), mask),
        "std": masked_mean(predictive.std.mean(-1), mask),
        "coverage": masked_mean((inside < LEVEL).mean(-1, dtype=mask.dtype), mask),
    }
    return scores | {f"coverage@{level}": masked_mean((inside < level).mean(-1, dtype=mask.dtype), mask) for level in LEVELS}


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
    count = (mask > 0).sum().astype(mask.dtype)
    # Rounding must not add a point if a share of the count is a whole number.
    kept = jnp.maximum(jnp.ceil(jnp.asarray(COVERAGES, mask.dtype) * count - 1e-4), 1)
    place = jnp.arange(len(mask), dtype=kept.dtype)[None]
    within = ((place < kept[:, None]) & (mask[order] > 0)[None]).astype(right.dtype)
    return (within * right[order][None]).sum(1) / jnp.maximum(within.sum(1), 1)


def reliability(
    scores: dict[str, np.ndarray], draws: int = 200, seed: int = 0
) -> list[tuple[float, float, float, float, float]]:
    """Return the bins of a reliability diagram of pooled tasks: (confidence, accuracy, low, high, share of points).

    `low` and `high` are the 95% bootstrap interval of the accuracy over tasks. Empty bins are left out.

    - `scores`: each task's scores by name.
    - `draws`: bootstrap draws.
    - `seed`: seed of the bootstrap.
    """
    share, right, gap = (np.stack([scores[f"{name}@{i}"] for i in range(_BINS)]) for name in ("share", "right", "gap"))
    held = np.flatnonzero(share.sum(1) > 0)
    share, right, gap = share[held], right[held], gap[held]
    whole = right.mean(1) / share.mean(1)

    def accuracy(sample: np.ndarray) -> np.ndarray:
        right, share = sample.mean(-1)
        # A resample may leave a bin empty, which then says nothing.
        there = share > 0
        among = whole.reshape(-1, *[1] * (share.ndim - 1))
        return np.where(there, right / np.where(there, share, 1.0), among)

    _, low, high = bootstrap(np.stack([right, share]), accuracy, draws=draws, seed=seed)
    confidence = (right + gap).mean(1) / share.mean(1)
    rows = zip(confidence, whole, low, high, share.mean(1), strict=True)
    return [tuple(float(value) for value in row) for row in rows]  # pyright: ignore[reportReturnType]


def calibration_error(scores: dict[str, np.ndarray]) -> float | None:
    """Return the mean gap between observed and nominal coverage of pooled tasks, from their `scores`.

    Regression: the mean over levels 0.05 to 0.95 of |observed - nominal coverage|. Classes: the expected calibration error in
    15 bins. None if the scores hold neither.
    """
    names = _gaps(scores)
    return None if names is None else float(_calibration(names)(np.stack([scores[name] for name in names])))


def _gaps(scores: dict[str, np.ndarray]) -> list[str] | None:
    """Return the names of the scores that a calibration error is made of."""
    if "coverage@0.5" in scores:
        return [f"coverage@{level}" for level in LEVELS]
    return [f"gap@{i}" for i in range(_BINS)] if "gap@0" in scores else None


def _calibration(names: list[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from such scores, of shape (names, ..., tasks), to the calibration error."""
    if names[0].startswith("gap@"):
        return lambda sample: np.abs(sample.mean(-1)).sum(0)

    def of_levels(sample: np.ndarray) -> np.ndarray:
        observed = sample.mean(-1)
        return np.asarray(np.abs(observed - np.reshape(LEVELS, (-1, *[1] * (observed.ndim - 1)))).mean(0))

    return of_levels


def bootstrap_calibration(scores: dict[str, np.ndarray], draws: int = 200, seed: int = 0) -> tuple[float, float, float] | None:
    """Return the calibration error of `scores` with a 95% bootstrap interval over tasks, from `draws` draws."""
    names = _gaps(scores)
    if names is None:
        return None
    whole, low, high = bootstrap(np.stack([scores[name] for name in names]), _calibration(names), draws=draws, seed=seed)
    # Redrawn tasks are noisier than tasks, which adds to a mean of gaps. Near 0 all redrawn errors may be larger than the
    # error itself.
    return float(whole), float(np.minimum(low, whole)), float(high)
