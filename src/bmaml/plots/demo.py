"""The demo's picture."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from bmaml.experiments.demo import GRID, NewTask, View
from bmaml.plots.style import COLOURS, panels


def draw(task: NewTask, rows: dict[str, list[View]], optimal: dict[int, tuple]) -> Figure:
    """Return a row of panels for each method: functions, mean and 90% band against the truth and the Bayes-optimal band.

    - `task`: the new task.
    - `rows`: what each method predicts, by the method's name.
    - `optimal`: the Bayes-optimal band by the number of points given.
    """
    columns = max(len(views) for views in rows.values())
    figure, axes = panels(len(rows), columns, width=3.1, height=2.5, sharex=True, sharey=True)
    truth = np.asarray(task.wave(jnp.asarray(GRID)))
    reach = 1.9 * max(np.abs(truth).max(), 1.5)
    for row, (method, views) in enumerate(rows.items()):
        for axis, view in zip(axes[row * columns :], views, strict=False):
            _panel(axis, view, truth, optimal, COLOURS[method])
            axis.set_ylim(-reach, reach)
    for axis in axes[::columns]:
        axis.set_ylabel("y", fontsize=9)
    for axis in axes[-columns:]:
        axis.set_xlabel("x", fontsize=9)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _panel(axis, view: View, truth: np.ndarray, optimal: dict[int, tuple], colour: str) -> None:
    axis.fill_between(GRID, view.low, view.high, color=colour, alpha=0.18, lw=0, label="90% band")
    axis.plot(GRID, np.asarray(view.functions).T, color=colour, lw=0.5, alpha=0.5)
    axis.plot(GRID, view.mean, color=colour, lw=1.8, label="mean")
    axis.plot(GRID, truth, "--", color="black", lw=1, label="truth")
    count = int(view.support.count)
    if count in optimal:
        for i, end in enumerate(optimal[count]):
            axis.plot(GRID, end, ":", color="black", lw=1, label=None if i else "Bayes-optimal 90%")
    if not view.title.endswith(" 0 steps"):
        axis.plot(view.support.x[:count, 0], view.support.y[:count, 0], "o", color="black", ms=4)
    axis.set_title(view.title, fontsize=10)
