"""The rows of a pool that are most worth measuring next, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

Adapted = TypeVar("Adapted")


def picks(task: Adapted, n: int, worth: Callable[[Adapted], np.ndarray], told: Callable[[Adapted, int], Adapted]) -> np.ndarray:
    """Return the indices of `n` rows of a pool for `task`, the best first.

    `worth(task)` is what a measurement at each row is worth. After each pick, `told(task, row)` tells the task its own
    prediction at the row, so that the next pick is elsewhere.
    """
    picked: list[int] = []
    for _ in range(n):
        value = worth(task)
        value[picked] = -np.inf
        picked.append(int(value.argmax()))
        if len(picked) < n:
            task = told(task, picked[-1])
    return np.array(picked)
