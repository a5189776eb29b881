"""The rows of a pool that are worth measuring next, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

Adapted = TypeVar("Adapted")


def picks(task: Adapted, n: int, worth: Callable[[Adapted], np.ndarray], told: Callable[[Adapted, int], Adapted]) -> np.ndarray:
    """Return the indices of `n` rows, the best first.

    `worth(task)` is what a measurement at each row is worth. After each pick the task is told what it predicts there, by
    `told(task, row)`, so that the next pick is elsewhere.
    """
    picked: list[int] = []
    for _ in range(n):
        value = worth(task)
        value[picked] = -np.inf
        picked.append(int(value.argmax()))
        if len(picked) < n:
            task = told(task, picked[-1])
    return np.array(picked)
