"""Which rows to measure when something is to be reached: a large or small value, or a target, under limits and costs.

Everything is computed from draws of the task's function at all rows of a pool together. So several rows are chosen jointly: a
row that is good for the same reason as one that was chosen before gains little. Arrays are those of NumPy, because a choice is
a short loop on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bmaml.errors import InputError

Decision = Literal["improvement", "log-improvement", "bound"]
Goal = Literal["max", "min"]

# Width of the smooth step of the log improvement, in deviations of the utilities.
_SMOOTH = 0.02
# An upper bound lies this many deviations above the mean.
_BOUND = 2.0
_LIKELY = 0.5


class Utilities(NamedTuple):
    """Draws of how good rows are.

    - `pool`, `seen`: utilities at the rows of the pool, and at the rows that are measured.
    - `allowed`, `seen_allowed`: in which draws these rows keep all limits.
    """

    pool: Float[np.ndarray, "draws n"]
    seen: Float[np.ndarray, "draws seen"]
    allowed: Bool[np.ndarray, "draws n"]
    seen_allowed: Bool[np.ndarray, "draws seen"]


def utility(values: np.ndarray, goal: Goal | None, target: float | None) -> np.ndarray:
    """Return how good `values` of an outcome are: themselves, with their sign turned, or minus the distance to a target.

    - `goal`: `"max"` or `"min"`; None is `"max"`.
    - `target`: the value to reach. It overrides the goal.
    """
    if target is not None:
        return -np.abs(values - target)
    return -values if goal == "min" else values


def choose(utilities: Utilities, n: int, by: Decision, costs: Float[np.ndarray, " n"] | None = None) -> np.ndarray:
    """Return the numbers of the `n` rows of a pool that are best measured together, in the order in which they were chosen.

    - `utilities`: draws of how good the rows are.
    - `by`: `"improvement"` is how much better the best of the chosen rows is expected to be than the best measured row, where
      both are unknown and lie in one draw (Letham et al., 2019, https://doi.org/10.1214/18-BA1110). Rows outside of the limits
      improve nothing. `"log-improvement"` is its logarithm with a smooth step (Ament et al., 2023,
      https://arxiv.org/abs/2310.20708), which still tells rows apart where no draw improves. `"bound"` is the upper bound of
      the best of the chosen rows, two deviations above the mean (Wilson et al., 2017, https://arxiv.org/abs/1712.00424); rows
      that probably break a limit are left out.
    - `costs`: what a measurement of each row costs. Gains are divided by it.

    Raises: InputError for costs of a bound, which is no gain, or if fewer than `n` rows can keep the limits.
    """
    worth, picked = worths(utilities, by, costs), []
    alone = worth(picked)
    check_able(n, np.isfinite(alone), "probably keep the limits" if by == "bound" else "can keep the limits")
    for _ in range(n):
        value = worth(picked) if picked else alone
        value[picked] = -np.inf
        picked.append(int(value.argmax()))
    return np.array(picked)


def check_able(n: int, able: Bool[np.ndarray, " pool"], what: str) -> None:
    """Check that `n` rows can be chosen of those of a pool that are `able`; `what` says in words what these do.

    Raises: InputError that says how many are able.
    """
    if able.sum() < n:
        raise InputError(f"{n} rows are asked for, and {able.sum()} of the pool {what}: widen the limits, or give other rows.")


def worths(
    utilities: Utilities, by: Decision, costs: Float[np.ndarray, " n"] | None = None
) -> Callable[[list[int]], np.ndarray]:
    """Return a function from the rows chosen so far to what each further row is worth: minus infinity if it breaks the limits.

    `utilities`, `by` and `costs` are as in `choose`.
    Raises: InputError for costs of a bound, which is no gain.
    """
    if costs is not None and by == "bound":
        raise InputError("costs divide what is gained, and an upper bound is no gain: use by improvement.")
    kept = utilities.allowed.mean(0)
    able = kept >= _LIKELY if by == "bound" else kept > 0
    cost = np.ones(utilities.pool.shape[1]) if costs is None else costs
    if by == "bound":
        bound = _bounds(utilities)
        return lambda picked: np.where(able, bound(picked), -np.inf)
    gain = _gains(utilities)

    def worth(picked: list[int]) -> np.ndarray:
        value = gain(picked, False) / cost
        # Where no draw improves, the logarithm still tells rows apart.
        if by == "log-improvement" or not (value[able] > 0).any():
            value = gain(picked, True) - np.log(cost)
        return np.where(able, value, -np.inf)

    return worth


def _gains(utilities: Utilities) -> Callable[[list[int], bool], np.ndarray]:
    """Return a function from the rows chosen so far to what each further row would improve, or the logarithm of that."""
    worst = min(utilities.pool.min(), utilities.seen.min(initial=np.inf))
    pool = np.where(utilities.allowed, utilities.pool, worst)
    seen = np.where(utilities.seen_allowed, utilities.seen, worst)
    # Before any row is measured, the worst utility of all is what there is.
    best = seen.max(1, initial=worst)
    width = _SMOOTH * float(utilities.pool.std()) + 1e-12

    def gain(picked: list[int], log: bool) -> np.ndarray:
        so_far = np.maximum(best, pool[:, picked].max(1, initial=worst))
        above = pool - so_far[:, None]
        if not log:
            return np.maximum(above, 0.0).mean(0)
        return np.logaddexp.reduce(_log_softplus(above / width), 0) - np.log(len(above)) + np.log(width)

    return gain


def _log_softplus(z: np.ndarray) -> np.ndarray:
    # Far below 0 softplus is the exponential.
    return np.where(z < -30.0, z, np.log(np.logaddexp(0.0, np.maximum(z, -30.0))))


def _bounds(utilities: Utilities) -> Callable[[list[int]], np.ndarray]:
    """Return a function from the rows chosen so far to the upper bound of the best of them and each further row."""
    mean = utilities.pool.mean(0)
    # The mean distance of a normal from its mean is sqrt(2 / pi) deviations.
    above = mean[None] + _BOUND * np.sqrt(np.pi / 2) * np.abs(utilities.pool - mean[None])

    def bound(picked: list[int]) -> np.ndarray:
        so_far = above[:, picked].max(1, initial=-np.inf)
        return np.maximum(above, so_far[:, None]).mean(0)

    return bound


__all__ = ["Decision", "Goal", "Utilities", "check_able", "choose", "utility", "worths"]
