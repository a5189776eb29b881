"""Figure 1 of BMAML: error against meta-training progress."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import colour, panels, plain_counts, plain_log, shared_legend, title

_STYLES = {"ensemble": "-", "members": ":"}


def draw(numbers: Numbers) -> Figure:
    """Return a panel for each kind of settings, number of shots and of tasks in `numbers`.

    Lines are the squared errors of ensemble means, dotted ones those of the members, with 95% bands over test tasks,
    after the method's own number of inner steps. Each seed has a line.
    """
    tasks = numbers.distinct("tasks")
    lines = [(kind, shots) for kind in numbers.distinct("settings") for shots in numbers.distinct("shots")]
    figure, axes = panels(len(lines), len(tasks), width=3.9, height=2.8, sharex="row", sharey=True)
    places = [{"settings": kind, "shots": shots, "tasks": total} for kind, shots in lines for total in tasks]
    for axis, place in zip(axes, places, strict=True):
        for method in numbers.distinct("method", **place):
            _curve(axis, numbers, place | {"method": method})
        plain_log(axis)
        plain_counts(axis)
        axis.set_title(f"{place['settings']} settings, {place['shots']}-shot, {place['tasks']:,} training tasks", fontsize=9)
    shared_legend(figure, axes)
    figure.supxlabel("meta-steps", fontsize=10)
    figure.supylabel("squared error on new tasks", fontsize=10)
    return figure


def _curve(axis: Axes, numbers: Numbers, where: dict) -> None:
    """Draw the lines of one method: each score, each seed."""
    shade = colour(where["method"])
    for score, style in _STYLES.items():
        if score == "members" and where["method"] != "emaml":
            continue  # Of the others the two are close, or the same.
        name = title(where["method"]) + (", its members" if score == "members" else "")
        for seed in numbers.distinct("seed", **where):
            found = numbers.where(**where, score=score, seed=seed)
            rows = [row for row in found if row["inner_steps"] == row["own_steps"]]
            step = [row["step"] for row in rows]
            low = [max(row["low"], 1e-4) for row in rows]
            axis.fill_between(step, low, [row["high"] for row in rows], color=shade, alpha=0.15, lw=0)
            axis.plot(step, [row["mean"] for row in rows], style, color=shade, lw=1.2, label=name)
            name = None
