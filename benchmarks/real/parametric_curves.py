"""Parametric learning curves, fitted to one curve alone: POW4, MMF4 and WBL4 in the words of the learning-curve database.

Error rates after t times the smallest training-set size, with an end value and three more parameters each (Viering and Loog,
2021, https://arxiv.org/abs/2103.10948):

    POW4: a + b (t + d)^-c        MMF4: (a b + c t^d) / (b + t^d)        WBL4: c + b exp(-a t^d)

Each is linear in two of its parameters. So a grid over the other two, with least squares for these, finds the region of the
best fit, and bounded least squares over all four go on from there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from baselines_curves import Prediction
from scipy import optimize


class Family(NamedTuple):
    """f(t) = p u(t; r, s) + q v(t; r, s).

    `parts` returns u and v, `bounds` are those of p and q, and `grids` the values of r and s.
    """

    parts: Callable[[np.ndarray, Any, Any], tuple[Any, Any]]
    bounds: tuple[tuple[float, float], tuple[float, float]]
    grids: tuple[np.ndarray, np.ndarray]

    def at(self, t: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the curve at `t` with parameters (p, q, r, s)."""
        p, q, r, s = parameters
        u, v = self.parts(t, r, s)
        return p * u + q * v


def _mmf(t, b, d):
    share = b / (b + t**d)
    return share, 1 - share


POW4 = Family(
    lambda t, c, d: (np.ones_like(t + c + d), (t + d) ** -c),
    ((0.0, 1.0), (0.0, 20.0)),
    (np.geomspace(0.02, 5, 24), np.concatenate([[-0.9, -0.5, 0.0], np.geomspace(0.1, 100, 13)])),
)
MMF4 = Family(_mmf, ((0.0, 1.5), (0.0, 1.0)), (np.geomspace(1e-3, 1e3, 24), np.geomspace(0.05, 5, 16)))
WBL4 = Family(
    lambda t, a, d: (np.ones_like(t + a + d), np.exp(-a * t**d)),
    ((0.0, 1.0), (0.0, 20.0)),
    (np.geomspace(1e-3, 10, 24), np.geomspace(0.05, 5, 16)),
)


def fitted(family: Family, t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the parameters (p, q, r, s) of the curve of `family` with the least squared error at points (t, y)."""
    r, s = np.meshgrid(*family.grids, indexing="ij")
    u, v = np.broadcast_arrays(*family.parts(t, r[..., None], s[..., None]))
    start = _starts(u, v, y, family.bounds)
    error = ((start[0][..., None] * u + start[1][..., None] * v - y) ** 2).sum(-1)
    best = np.unravel_index(np.argmin(error), error.shape)
    ends = [*family.bounds, *((grid[0], grid[-1]) for grid in family.grids)]
    low, high = (np.array(end, float) for end in zip(*ends, strict=True))
    begin = np.array([start[0][best], start[1][best], r[best], s[best]])
    inside = np.clip(begin, low + 1e-9 * (high - low), high - 1e-9 * (high - low))
    return optimize.least_squares(lambda p: family.at(t, p) - y, inside, bounds=(low, high), x_scale=high - low).x


def _starts(u, v, y, bounds):
    """Least squares for p and q within their bounds, with a trace of ridge for columns that are alike."""
    uu, uv, vv = ((a * b).sum(-1) for a, b in ((u, u), (u, v), (v, v)))
    uu, vv = uu + 1e-6, vv + 1e-6
    uy, vy = (u * y).sum(-1), (v * y).sum(-1)
    q = np.clip((uu * vy - uv * uy) / (uu * vv - uv**2), *bounds[1])
    p = np.clip((uy - uv * q) / uu, *bounds[0])
    return p, np.clip((vy - uv * p) / vv, *bounds[1])


def _method(family: Family) -> Callable[[Any], Callable[[Any, np.ndarray], Prediction]]:
    def fit(train):
        def predict(context, queries):
            first = context.x[0]
            parameters = fitted(family, 2.0 ** (context.x - first), context.y)
            return Prediction(family.at(2.0 ** (queries - first), parameters))

        return predict

    return fit


pow4, mmf4, wbl4 = (_method(family) for family in (POW4, MMF4, WBL4))
