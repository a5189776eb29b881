"""Figure 2 of BMAML: accuracy on new classes against particles and against training tasks."""

from __future__ import annotations

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import panels, shared_legend

_STYLE = {
    "shared-bmaml": ("#D55E00", "BMAML"),
    "shared-bfa": ("#CC79A7", "Bayesian fast adaptation"),
    "shared-emaml": ("#E69F00", "EMAML (one particle: ANIL)"),
}
_METRICS = {"accuracy": "accuracy", "nll": "NLL (nats an image)", "calibration": "calibration error"}
# Of lines side by side, as a share of the distance between two places.
_APART = 0.3


def draw(numbers: Numbers) -> Figure:
    """Return a row for particles and a row for training tasks, one column for each score in `numbers`, with 95%
    intervals over episodes. Each seed has a line.
    """
    figure, axes = panels(2, len(_METRICS), width=3.4, height=2.7)
    for i, (panel, along) in enumerate((("particles", "particles"), ("tasks", "tasks"))):
        for j, metric in enumerate(_METRICS):
            axis = axes[i * len(_METRICS) + j]
            _panel(axis, numbers, panel, along, metric)
            axis.set_ylabel(_METRICS[metric], fontsize=9)
            axis.set_xlabel("particles" if panel == "particles" else "training tasks", fontsize=9)
    shared_legend(figure, axes)
    return figure


def _panel(axis: Axes, numbers: Numbers, panel: str, along: str, metric: str) -> None:
    places = [value for value in numbers.distinct(along) if numbers.where(panel=panel, metric=metric, **{along: value})]
    # Endless tasks come last.
    places.sort(key=lambda value: float("inf") if value is None else value)
    methods, seeds = numbers.distinct("method"), numbers.distinct("seed")
    lines = list(itertools.product(methods, seeds))
    for k, (name, seed) in enumerate(lines):
        colour, label = _STYLE[name]
        where = {"panel": panel, "method": name, "seed": seed, "metric": metric}
        # Trainings that are yet to come have no point.
        found = [(at, row) for at, place in enumerate(places) for row in numbers.where(**where, **{along: place})]
        rows, mean = [row for _, row in found], [row["mean"] for _, row in found]
        ends = [[m - row["low"] for m, row in zip(mean, rows, strict=True)], [row["high"] - row["mean"] for row in rows]]
        shift = [at + _APART * (k - (len(lines) - 1) / 2) / len(lines) for at, _ in found]
        axis.errorbar(shift, mean, ends, fmt="o-", color=colour, ms=3, lw=1, capsize=2, label=label)
    axis.set_xticks(range(len(places)), ["endless" if place is None else f"{place:,}" for place in places])
