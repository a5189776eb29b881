"""The banana: the density, and the points of each method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from bmaml.experiments.banana import log_banana
from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import COLOURS, panels

_SHOWN = 1000


def draw(draws: Numbers, scores: Numbers) -> Figure:
    """Return the density alone, and each method's points over its contours (at most 1,000 points, evenly spaced).

    `draws` holds the points, and `scores` the scores in the titles.
    """
    methods = draws.distinct("method")
    figure, axes = panels(1, 1 + len(methods), width=3.2, height=3.2, sharex=True, sharey=True)
    x, y = np.linspace(-3.6, 3.6, 181), np.linspace(-3.2, 8.0, 181)
    grid = jnp.stack(jnp.meshgrid(jnp.asarray(x), jnp.asarray(y)), -1)
    log_density = np.asarray(jax.vmap(jax.vmap(log_banana))(grid))
    axes[0].contourf(x, y, np.exp(log_density), levels=12, cmap="Blues")
    axes[0].set_title("density", fontsize=10)
    levels = log_density.max() - np.array([8.0, 4.5, 2.0, 0.5])
    for axis, method in zip(axes[1:], methods, strict=True):
        axis.contour(x, y, log_density, levels=levels, colors="#999999", linewidths=0.7, linestyles="solid")
        points = np.array([(r["x1"], r["x2"]) for r in draws.where(method=method)])
        shown = points[np.linspace(0, len(points) - 1, min(len(points), _SHOWN)).astype(int)]
        axis.plot(*shown.T, ".", color=COLOURS["bmaml" if method == "SVGD" else "experts"], ms=3 + 2 * (method == "SVGD"))
        axis.set_title(_title(scores.where(method=method)[0]), fontsize=9)
    axes[0].set_ylabel("$x_2$")
    for axis in axes:
        axis.set_xlabel("$x_1$")
    return figure


def _title(row: dict) -> str:
    what = "particles" if row["method"] == "SVGD" else "draws"
    shown = f", {_SHOWN:,} of them shown" if row["points"] > _SHOWN else ""
    return (
        f"{row['method']}, {row['points']:,} {what}{shown}\n"
        f"mean off {row['mean_error']:.1%} sd, covariance {row['covariance_error']:.1%}"
    )
