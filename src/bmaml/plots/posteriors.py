"""The predictive of every inference on one task, over that of NUTS."""

from __future__ import annotations

from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.experiments.one_task import OneTask
from bmaml.experiments.posteriors import TRUTH
from bmaml.plots.style import COLOURS, panels


def draw(task: OneTask, numbers: Numbers, curves: Numbers) -> Figure:
    """Return a panel for each inference: its mean and 90% band in colour, over NUTS as a grey band and a dashed line.

    - `task`: the task.
    - `numbers`: the scores of each inference.
    - `curves`: the predictives on a grid.
    """
    names = [name for name in curves.distinct("inference") if name != TRUTH]
    columns = 4
    figure, axes = panels(-(-len(names) // columns), columns, width=3.3, height=2.5, sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=False):
        _line(axis, curves, TRUTH, "#555555", "--", "NUTS: mean, 90%")
        _line(axis, curves, name, COLOURS["experts"], "-", "the inference")
        axis.plot(task.support.x[:, 0], task.support.y[:, 0], "o", color="black", ms=4, label="given")
        row = numbers.where(inference=name)[0]
        axis.set_title(f"{name}\nerror {row['mean_error']:.2f} sd, variance x {row['variance_ratio']:.2f}", fontsize=9)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("y", fontsize=9)
    for axis in axes[max(len(names) - columns, 0) : len(names)]:
        axis.set_xlabel("x", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _line(axis, curves: Numbers, name: str, colour: str, style: str, label: str) -> None:
    rows = curves.where(inference=name)
    x = [r["x"] for r in rows]
    axis.fill_between(x, [r["low"] for r in rows], [r["high"] for r in rows], color=colour, alpha=0.22, lw=0)
    axis.plot(x, [r["mean"] for r in rows], style, color=colour, lw=1.4, label=label)
