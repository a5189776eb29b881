"""Early stopping as a prior: the path with its MAPs, the shrinkage by direction, and the gap between the two."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from bmaml.experiments.early_stopping import RATE, START, surface
from bmaml.experiments.numbers import Numbers
from bmaml.inference.priors import early_stopping_precision
from bmaml.plots.style import COLOURS, panels

_PRIORS = (2, 8)


def draw(results: tuple[Numbers, Numbers], *, seed: int = 0) -> Figure:
    """Return three panels of `results`: weights, shrinkage, and the gap between descent and MAP. `seed` is that of the
    experiment.
    """
    paths, shares = results
    figure, axes = panels(1, 3, width=4.2, height=3.6)
    _weights(axes[0], paths, *surface(seed=seed))
    _shrinkage(axes[1], shares)
    _gap(axes[2], paths)
    return figure


def _weights(axis, paths: Numbers, hessian: np.ndarray, best: np.ndarray) -> None:
    grid = np.stack(np.meshgrid(np.linspace(-2.2, 2.0, 120), np.linspace(-2.4, 3.4, 120)), -1)
    away = grid - best
    loss = 0.5 * np.einsum("abi,ij,abj->ab", away, hessian, away)
    axis.contour(grid[..., 0], grid[..., 1], np.sqrt(loss), 9, colors="#cccccc", linewidths=0.8)
    for steps, style in zip(_PRIORS, ("-", "--"), strict=True):
        axis.add_patch(_ellipse(hessian, steps, style))
    descent = np.array([START] + [[r["descent_bias"], r["descent_weight"]] for r in paths.where()])
    axis.plot(*descent.T, ".-", color=COLOURS["maml"], label="gradient descent")
    axis.plot(paths.values("map_bias"), paths.values("map_weight"), "o", mfc="none", color=COLOURS["bmaml"], ms=8, label="MAP")
    axis.plot(*START, "s", color="black", ms=5, label="start = prior mean")
    axis.plot(*best, "*", color="black", ms=9, label="least squares")
    axis.set(xlabel="bias", ylabel="weight", xlim=(-2.2, 2.0), ylim=(-2.4, 3.4))
    axis.set_title("each step count has its Gaussian prior", fontsize=10)
    axis.legend(fontsize=7, frameon=False, loc="lower right")


def _ellipse(hessian: np.ndarray, steps: int, style: str) -> Ellipse:
    with jax.enable_x64(True):
        precision = np.asarray(early_stopping_precision(jnp.asarray(hessian), RATE, steps))
    values, vectors = np.linalg.eigh(precision)
    angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
    width, height = 2 / np.sqrt(values)
    label = f"prior of {steps} steps, 1 std"
    return Ellipse(
        (START[0], START[1]), width, height, angle=angle, fill=False, ls=style, color=COLOURS["experts"], label=label
    )


def _shrinkage(axis, shares: Numbers) -> None:
    shades = plt.get_cmap("viridis")(np.linspace(0.15, 0.7, 2))
    for value, shade in zip(shares.distinct("eigenvalue"), shades, strict=True):
        rows = shares.where(eigenvalue=value)
        steps = [r["steps"] for r in rows]
        axis.plot(steps, [r["descent"] for r in rows], "o-", ms=4, color=shade, label=f"descent, curvature {value:.3g}")
        axis.plot(steps, [r["ridge"] for r in rows], ":", color=shade, label="ridge of precision 1/(rate steps)")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="gradient steps", ylabel="share of the way to least squares", ylim=(0, 1.03))
    axis.set_title("flat directions stay near the start", fontsize=10)
    axis.legend(fontsize=7, frameon=False, loc="lower right")


def _gap(axis, paths: Numbers) -> None:
    gaps = np.maximum(np.asarray(paths.values("gap")), np.finfo(float).eps / 4)
    axis.plot(paths.values("steps"), gaps, "o", color=COLOURS["bmaml"])
    axis.axhline(np.finfo(float).eps, color="black", lw=0.8, ls="--")
    axis.text(512, np.finfo(float).eps / 2, "float64's epsilon", fontsize=8, ha="right", va="top")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set(xlabel="gradient steps", ylabel="largest |descent - MAP|", ylim=(1e-17, 1e-12))
    axis.set_title("the two are equal to rounding", fontsize=10)
