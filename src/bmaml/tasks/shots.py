"""How many points of a task are given: one number or several, in one form for the whole library."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import numpy as np

from bmaml.errors import InputError

Shots = int | Sequence[int]


def shot_counts(shots: Shots, *, least: int = 0, name: str = "shots") -> tuple[int, ...]:
    """Return numbers of shots as a tuple, in the order given: of one whole number, or of several.

    `least` is the smallest number that makes sense, and `name` is what the message calls the numbers.
    Raises: InputError for no number at all, for what is not a whole number, or for a number below `least`.

    >>> shot_counts(5), shot_counts([3, 5, 10])
    ((5,), (3, 5, 10))
    """
    try:
        counts = (index(shots),) if np.ndim(shots) == 0 else tuple(map(index, shots))  # pyright: ignore[reportArgumentType]
    except TypeError:
        counts = ()
    return _checked(counts, shots, least, name)


def read_counts(text: str, *, least: int = 0, name: str = "shots") -> tuple[int, ...]:
    """Return the numbers in text such as "3,5,10", as `shot_counts` does.

    `least` is the smallest number that makes sense, and `name` is what the message calls the numbers.
    Raises: InputError for text that holds something else, or a number below `least`.
    """
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    return _checked(counts, text, least, name)


def _checked(counts: tuple[int, ...], given: object, least: int, name: str) -> tuple[int, ...]:
    if not counts or min(counts) < least:
        raise InputError(f"{name} is {given!r}: give whole numbers of at least {least}, such as 5 or 3,5,10.")
    return counts
