"""Which tasks or classes a model was fitted on, as short sketches, so that it is not recalibrated on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bmaml.errors import InputError

# Digits of a standardised number that count, so that a copy in single precision is the same.
_DIGITS = 3
# Rows of which a sketch is made, those with the smallest hashes, and the share of them that two sketches of one task have in
# common at least (the bottom-k sketch of Broder, 1997, https://doi.org/10.1109/SEQUEN.1997.666900).
_ROWS, _SHARE = 8, 0.5
_LETTERS = 8
# Tasks that hold a row are looked at, at most. A row that more tasks hold says little of which it is.
_MOST_ALIKE = 50


def sketch(rows: np.ndarray) -> str:
    """Return a sketch of `rows` of numbers, whatever their order. A few rows more or less change it little."""
    whole = np.rint(np.asarray(rows, np.float64) * 10**_DIGITS) + 0.0  # Minus zero becomes zero.
    hashes = np.zeros(len(whole), np.uint64)
    for column in whole.T:
        hashes = _mixed(hashes + np.ascontiguousarray(column).view(np.uint64))
    return "".join(f"{value >> 32:0{_LETTERS}x}" for value in np.unique(hashes)[:_ROWS].tolist())


def check_unseen(new: Sequence[str], seen: Sequence[str], what: str) -> None:
    """Check that a model was not fitted on what it is to be recalibrated on.

    Tasks of a few rows of yes or no can be equal by chance. As many as the fitted ones equal each other, twice over, are.

    - `new`, `seen`: sketches of the tasks or classes to recalibrate on, and of those that the model was fitted on.
    - `what`: "tasks" or "classes".

    Raises: InputError that says how many it was fitted on.
    """
    old = [_pieces(one) for one in seen]
    places: dict[str, list[int]] = {}
    for place, pieces in enumerate(old):
        for piece in pieces:
            places.setdefault(piece, []).append(place)

    def has_twin(pieces: set[str], own: int | None = None) -> bool:
        near = {place for piece in pieces for place in places.get(piece, ())[:_MOST_ALIKE]} - {own}
        return any(_are_one(pieces, old[place]) for place in near)

    known = sum(has_twin(_pieces(one)) for one in new)
    if known and known > 2 * len(new) * _share(has_twin(pieces, place) for place, pieces in enumerate(old)):
        raise InputError(
            f"the model was fitted on {known} of these {len(new)} {what}, where its errors are smaller than on new ones: give "
            f"{what} that it has not seen."
        )


def _share(found: Iterable[bool]) -> float:
    every = list(found)
    return sum(every) / max(len(every), 1)


def _pieces(text: str) -> set[str]:
    return {text[start : start + _LETTERS] for start in range(0, len(text), _LETTERS)}


def _are_one(one: set[str], other: set[str]) -> bool:
    """Return whether two sketches are of the same task, by the share of the rows that both have."""
    least = sorted(one | other)[:_ROWS]
    return sum(piece in one and piece in other for piece in least) >= _SHARE * len(least)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return hashes of 64-bit `values` (the finaliser of splitmix64: Steele et al., 2014,
    https://doi.org/10.1145/2660193.2660195).
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
