"""Intervals of means: the one place that says how sure a mean over tasks, seeds or both is.

A mean has an interval by Student's t, so three tasks or three seeds get a wide interval. A statistic that is no mean of
tasks (a calibration error, a root of a mean) has an interval by the bootstrap over tasks. All are 95% intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

# A mean (or another statistic) and the ends of its interval.
Ends = tuple[float, float, float]
Range = tuple[float, float]
REAL: Range = (-math.inf, math.inf)
POSITIVE: Range = (0.0, math.inf)
SHARE: Range = (0.0, 1.0)
_LEVEL = 0.95
# Resamples worked on at once. Their scores of many tasks stay within some tens of megabytes.
_AT_ONCE = 50


def interval(values: Sequence[float] | np.ndarray, within: Range = REAL) -> Ends:
    """Return the mean of `values`, a number for each task (or seed), and its interval by Student's t.

    - `within`: where a mean can lie at all; the ends are held there (a squared error is never below 0). A share of 0 or 1 in
      every task has the exact interval of as many successes (`share_ends`).

    One value alone says nothing of how values vary, so its ends are NaN.

    >>> mean, low, high = interval([1.0, 2.0, 3.0])
    >>> print(f"{mean:.2f} [{low:.2f}, {high:.2f}]")
    2.00 [-0.48, 4.48]
    """
    values = np.asarray(values, np.float64)
    count = len(values)
    if count < 2:
        return float(values.mean()), math.nan, math.nan
    ends = _ends(float(values.mean()), float(values.var(ddof=1)) / count, count - 1, within)
    return share_ends(ends, count) if within == SHARE else ends


def share_ends(ends: Ends, count: int) -> Ends:
    """Return a share with the `ends` of its interval, which is exact where all of `count` tasks have a share of 0 or of 1.

    Tasks that do not vary say nothing of how a share varies, and few of them could be all right by chance: 12 of 12 may be 74%
    (Clopper and Pearson, 1934, https://doi.org/10.1093/biomet/26.4.404).
    """
    mean, low, high = ends
    if low < high or mean not in SHARE:
        return ends
    least = (0.5 - _LEVEL / 2) ** (1 / count)
    return (mean, least, 1.0) if mean == 1 else (mean, 0.0, 1 - least)


def as_text(mean: float, low: float, high: float) -> str:
    """Return a `mean` with the ends `low` and `high` of its interval to four digits, without an interval that there is not.

    >>> as_text(0.5, 0.25, 0.75), as_text(0.5, math.nan, math.nan)
    ('0.5 [0.25, 0.75]', '0.5')
    """
    return f"{mean:.4g} [{low:.4g}, {high:.4g}]" if math.isfinite(low) and math.isfinite(high) else f"{mean:.4g}"


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `row` of scores for JSON, which has no number for an interval that there is not: such a value becomes None."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}


def two_way(values: Sequence[np.ndarray] | np.ndarray, *, own_tasks: bool = False, within: Range = REAL) -> Ends:
    """Return the mean of scores, an array over tasks for each seed, and its interval over tasks and seeds.

    The variances of the mean over tasks and over seeds are added, and Satterthwaite's formula gives the degrees of freedom of
    the sum: few seeds that agree widen the interval little, few seeds that disagree widen it much.

    - `values`: an array of each seed's scores, a number for each task.
    - `own_tasks`: whether each seed was scored on tasks of its own; else the tasks are the same for every seed.
    - `within`: where a mean can lie at all.

    Of one task the ends are NaN.
    """
    if min(len(each) for each in values) < 2:
        return float(np.mean([each.mean() for each in values])), math.nan, math.nan
    seeds, means = len(values), np.array([each.mean() for each in values])
    if own_tasks:
        parts = [(each.var(ddof=1) / len(each) / seeds**2, len(each) - 1) for each in values]
    else:
        parts = [(np.mean(values, axis=0).var(ddof=1) / len(values[0]), len(values[0]) - 1)]
    if seeds > 1:
        parts.append((means.var(ddof=1) / seeds, seeds - 1))
    square = float(sum(variance for variance, _ in parts))
    freedom = square**2 / max(sum(variance**2 / df for variance, df in parts), 1e-300)
    return _ends(float(means.mean()), square, freedom, within)


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a statistic of tasks and the ends of its interval, by the bootstrap over tasks (percentiles).

    - `values`: scores of shape `(..., tasks)`. A resample takes the same tasks for all scores.
    - `statistic`: reduces the last axis (and may reduce others). It accepts further axes in front of the last.
    - `draws`: resamples.
    - `seed`: seed of the resamples.

    For a single task the ends are NaN.
    """
    whole = np.asarray(statistic(values), np.float64)
    if values.shape[-1] < 2:
        return whole, np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    from scipy import stats  # It takes half a second to import, and few commands need it.

    found = stats.bootstrap(
        (values,),
        lambda sample, axis: statistic(sample),
        n_resamples=draws,
        batch=_AT_ONCE,
        axis=-1,
        vectorized=True,
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return whole, np.asarray(found.low), np.asarray(found.high)


def _ends(mean: float, square: float, freedom: float, within: Range) -> Ends:
    half = float(stdtrit(freedom, 0.5 + _LEVEL / 2)) * math.sqrt(square) if square else 0.0
    return mean, max(mean - half, min(within[0], mean)), min(mean + half, max(within[1], mean))
