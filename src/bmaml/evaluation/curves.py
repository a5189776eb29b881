"""Numbers found after several numbers of points, as smooth curves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# Deviations of a log factor before anything is measured: of what all numbers of points share, and of what they do not.
_SHARED, _APART = 1.0, 0.3
# A choice may differ by so much from the next number of points, and from no choice at all, at the cost of half a nat.
_STEP = 0.2


def smoothed(
    counts: Float[np.ndarray, " counts"], found: Float[np.ndarray, " counts"], noise: Float[np.ndarray, "counts counts"]
) -> tuple[Float[np.ndarray, " counts"], Float[np.ndarray, " counts"]]:
    """Return log factors after each number of points, and their standard deviations.

    They are the posterior of a Gaussian process over log(1 + points), so that a count with few tasks borrows from its
    neighbours.

    - `counts`: numbers of points.
    - `found`: what was measured after each of them.
    - `noise`: covariance of its errors. The same tasks are seen after every number of points, so the errors are alike.
    """
    place = np.log1p(counts)
    prior = _SHARED**2 + _APART**2 * np.exp(-np.abs(place[:, None] - place[None]))
    gain = np.linalg.solve(prior + noise, prior).T
    return gain @ found, np.sqrt(np.maximum(np.diag(prior - gain @ prior), 0.0))


def chosen(costs: Float[np.ndarray, "counts choices"], choices: Float[np.ndarray, " choices"]) -> np.ndarray:
    """Return the index of the choice after each number of points: the path of the least cost (Viterbi).

    - `costs`: nats that each choice costs after each number of points, summed over tasks.
    - `choices`: values of the choices. Neighbouring values that differ cost more, and so do values above 0.
    """
    costs = costs + 0.5 * (choices / _STEP) ** 2 / len(costs)
    change = 0.5 * ((choices[:, None] - choices[None]) / _STEP) ** 2
    total, came = costs[0], []
    for cost in costs[1:]:
        through = total[:, None] + change
        came.append(through.argmin(0))
        total = through.min(0) + cost
    path = [int(total.argmin())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])
