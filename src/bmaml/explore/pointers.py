"""Which point of a picture a pointer is on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bmaml.explore.axes import Axis

# How near a pointer must be to a point to take it, as a share of the picture.
_NEAR = 0.035


def nearest(places: Sequence[tuple[float, float]], pointer: tuple[float, float], axes: Sequence[Axis]) -> int | None:
    """Return which of some `places` in a picture a `pointer` is on, None if it is on none. `axes` are those of the picture."""

    def shares(place: tuple[float, float]) -> np.ndarray:
        ends = ((np.log(v) if axis.log else v) for v, axis in zip(place, axes, strict=True))
        sizes = ((np.log(axis.high / axis.low) if axis.log else axis.high - axis.low) for axis in axes)
        return np.array([end / size for end, size in zip(ends, sizes, strict=True)])

    away = [float(np.hypot(*(shares(place) - shares(pointer)))) for place in places]
    return int(np.argmin(away)) if away and min(away) < _NEAR else None
