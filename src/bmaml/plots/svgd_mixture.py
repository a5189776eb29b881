"""The panels of SVGD's mixture."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from bmaml.experiments.numbers import Numbers
from bmaml.experiments.svgd_mixture import log_mixture
from bmaml.plots.style import COLOURS, panels


def draw(numbers: Numbers) -> Figure:
    """Return one panel for each recorded step in `numbers`: the target, the particles, and their smoothed density."""
    steps = numbers.distinct("step")
    figure, axes = panels(2, (len(steps) + 1) // 2, width=3.0, height=2.3, sharex=True, sharey=True)
    grid = np.linspace(-14, 8, 400)
    for axis, step in zip(axes, steps, strict=False):
        x = np.asarray(numbers.values("x", step=step))
        axis.plot(grid, np.exp(np.asarray(log_mixture(jnp.asarray(grid)))), "--", color="black", lw=1, label="target")
        axis.plot(grid, _smooth(x, grid), color=COLOURS["experts"], label="particles, smoothed")
        axis.plot(x, np.full_like(x, -0.012), "|", color=COLOURS["bmaml"], ms=6)
        axis.set_title(f"step {step}", fontsize=10)
        axis.set_ylim(-0.03, 0.45)
    axes[0].legend(fontsize=8, frameon=False, loc="upper right")
    figure.supxlabel("x", fontsize=10)
    figure.supylabel("density", fontsize=10)
    return figure


def _smooth(x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Gaussian kernel density with Silverman's width, held at 0.5 or less so that two modes stay two."""
    deviation = x.std(ddof=1)
    return gaussian_kde(x, min(0.5 / deviation, 1.06 * len(x) ** -0.2))(grid)
