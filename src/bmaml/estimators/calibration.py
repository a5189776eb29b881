"""How often what was predicted came true: the places of outcomes in what was predicted, and probabilities in bins."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from jaxtyping import Float

from bmaml.likelihoods import Family

# Bins of a probability.
_BINS = 5


class Calibration(TypedDict):
    """How often what was said came true, after some number of given rows. Every task has the same weight.

    - `given`: number of given rows.
    - `transform`: shares of the outcomes in each fifth of what was predicted (the probability integral transform, of whole
      numbers a random one). All are near 0.2 if predictions are right.
    - `predicted`, `seen`, `rows`: of yes and no, the mean probability of yes, the share of yes, and the share of all rows, in
      five bins of the probability (None in an empty bin). Of classes each class counts as a yes or no. Empty lists for other
      outcomes.
    """

    given: int
    transform: list[float]
    predicted: list[float | None]
    seen: list[float | None]
    rows: list[float]


def calibration(
    given: int,
    mean: Float[np.ndarray, "questions rows outputs"],
    cdf: Float[np.ndarray, "questions rows outputs"],
    y: Float[np.ndarray, "questions rows outputs"],
    weight: Float[np.ndarray, "questions rows"],
    family: Family,
) -> Calibration:
    """Return how often what was said of some questions came true.

    - `given`: number of given rows.
    - `mean`, `cdf`: predicted mean, and CDF at each outcome (of whole numbers a random one).
    - `y`, `weight`: the outcomes, and the weight of each row.
    - `family`: the family of the outcomes.
    """
    mean, cdf, y = (np.asarray(part, np.float64) for part in (mean, cdf, y))
    each = np.broadcast_to(np.asarray(weight, np.float64)[..., None], cdf.shape)
    real = each > 0

    def binned(place: np.ndarray, values: np.ndarray) -> np.ndarray:
        bins = np.clip((place[real] * _BINS).astype(int), 0, _BINS - 1)
        return np.bincount(bins, (each * values)[real], _BINS)

    transform = binned(cdf, np.ones_like(cdf))
    shares = np.round(transform / transform.sum(), 4).tolist()
    found: Calibration = {"given": given, "transform": shares, "predicted": [], "seen": [], "rows": []}
    if family.shares:
        rows, predicted, seen = (binned(mean, values) for values in (np.ones_like(mean), mean, np.where(real, y, 0.0)))
        found["rows"] = np.round(rows / rows.sum(), 4).tolist()
        sums = zip([*predicted, *seen], [*rows, *rows], strict=True)
        rounded = [round(float(part / count), 4) if count else None for part, count in sums]
        found["predicted"], found["seen"] = rounded[:_BINS], rounded[_BINS:]
    return found


def calibration_lines(found: Calibration, family: Family) -> list[str]:
    """Return the sentences that say what was `found`. `family` is that of the outcomes."""
    shares = ", ".join(f"{share:.0%}" for share in found["transform"])
    after = f"After {rows_in_words(found['given'])} the"
    lines = [f"{after} fifths of what was predicted hold {shares} of the outcomes (20% each is right)."]
    bins = zip(found["predicted"], found["seen"], found["rows"], strict=True)
    pairs = [(p, s, share) for p, s, share in bins if p is not None and s is not None]
    what = "yes, and how often it was yes" if family.cells == "two" else "a class, and how often it was this class"
    if pairs:
        said = ", ".join(f"{p:.0%} ({s:.0%}; {share:.0%} of the rows)" for p, s, share in pairs)
        lines.append(f"{after} mean probabilities of {what}, in fifths of the probability that hold rows: {said}.")
    return lines


def rows_in_words(count: int) -> str:
    """Return a number of rows, `count`, with the word that fits."""
    return f"{count} row{'' if count == 1 else 's'}"
