"""How many points of a task are given: one number or several, in one form for the whole library."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import numpy as np

from bmaml.errors import InputError

Shots = int | Sequence[int]


def shot_counts(shots: Shots | str, *, least: int = 0, name: str = "shots") -> tuple[int, ...]:
    """Return numbers of shots as a tuple, in the order given.

    - `shots`: one whole number, several, or text such as "3,5,10".
    - `least`: the smallest valid number.
    - `name`: what the message calls the numbers.

    Raises: InputError for no number, for a value that is not a whole number, or for a number below `least`.
    """
    try:
        if isinstance(shots, str):
            counts = tuple(int(part) for part in shots.split(","))
        else:
            counts = (index(shots),) if np.ndim(shots) == 0 else tuple(map(index, shots))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        counts = ()
    if not counts or min(counts) < least:
        raise InputError(f"{name} is {shots!r}: give whole numbers of at least {least}, such as 5 or 3,5,10.")
    return counts
