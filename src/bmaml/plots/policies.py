"""Policies: return against updates, return against meta-steps, and paths on the plane."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import colour, panels, shared_legend, title
from bmaml.rl import POLICY_METHODS


def draw_returns(returns: Numbers, training: Numbers) -> Figure:
    """Return two panels: mean return in new tasks after each update (`returns`, 95% intervals), and return along `training`."""
    figure, (left, right) = panels(1, 2, width=4.6, height=3.4)
    for method in returns.distinct("method"):
        rows, shade = returns.where(method=method), colour(method, POLICY_METHODS)
        updates, mean = [r["updates"] for r in rows], np.array([r["return"] for r in rows])
        ends = [mean - [r["low"] for r in rows], [r["high"] for r in rows] - mean]
        left.errorbar(updates, mean, ends, fmt="o-", color=shade, ms=4, capsize=3, lw=1.3, label=title(method, POLICY_METHODS))
        for number in training.distinct("run"):
            line = training.where(method=method, run=number)
            right.plot([r["step"] for r in line], [r["return"] for r in line], color=shade, lw=1, alpha=0.8)
    left.set_xticks(returns.distinct("updates"))
    left.set_xlabel("updates")
    left.set_ylabel("mean return in new tasks")
    right.set_xlabel("meta-steps")
    right.set_ylabel("return after adaptation in training")
    shared_legend(figure, (left,))
    return figure


def draw_paths(paths: Numbers) -> Figure:
    """Return a row for each method and a column for each task: `paths` before and after the last update, one shade for
    each particle.
    """
    methods, tasks, last = paths.distinct("method"), paths.distinct("task"), max(paths.distinct("updates"))
    figure, axes = panels(len(methods), len(tasks), width=3.0, height=3.0)
    for axis, (method, task) in zip(axes, ((m, t) for m in methods for t in tasks), strict=True):
        for updates, style in ((0, {"ls": ":", "alpha": 0.7}), (last, {"ls": "-"})):
            _lines(axis, paths.where(method=method, task=task, updates=updates), bool(updates), style)
        goal = paths.where(method=method, task=task)[0]
        axis.plot(goal["goal_x"], goal["goal_y"], "*", color="black", ms=12, zorder=5)
        axis.plot(0, 0, "s", color="black", ms=4, zorder=5)
        axis.set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
        axis.set_title(f"{title(method, POLICY_METHODS)}, task {task + 1}", fontsize=9)
    handles = [Line2D([], [], color="#888888", ls=":"), Line2D([], [], color=_shades(1)[0])]
    handles += [Line2D([], [], color="black", marker=mark, ls="", ms=size) for mark, size in (("*", 10), ("s", 4))]
    names = ["before", f"after {last} update" + "s" * (last > 1)]
    figure.legend(handles, [*names, "goal", "start"], loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _shades(count: int) -> list[tuple[float, float, float, float]]:
    return [plt.get_cmap("viridis")(v) for v in np.linspace(0.1, 0.85, max(count, 1))]


def _lines(axis, rows: list[dict], adapted: bool, style: dict) -> None:
    particles = sorted({r["particle"] for r in rows})
    shades = _shades(len(particles))
    for particle, episode in {(r["particle"], r["episode"]) for r in rows}:
        line = [r for r in rows if (r["particle"], r["episode"]) == (particle, episode)]
        colour = shades[particles.index(particle)] if adapted else "#888888"
        axis.plot([r["x"] for r in line], [r["y"] for r in line], color=colour, lw=1.0, **style)
