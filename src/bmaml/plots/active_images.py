"""Active learning on images: accuracy against labels, one row for each method and one column for each start."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import panels, shared_legend

_STYLE = {
    "random": ("#999999", "random"),
    "entropy": ("#0072B2", "largest entropy"),
    "information": ("#D55E00", "most information about the task"),
}
NAMES = {"ridge": "ridge heads", "shared-bmaml": "BMAML", "shared-bfa": "Bayesian fast adaptation", "shared-emaml": "EMAML"}


def draw(numbers: Numbers) -> Figure:
    """Return accuracies on new classes from `numbers` with 95% bands over episodes. Each seed has a line, and a line marks
    the last accuracy of random choice.
    """
    methods, starts = numbers.distinct("method"), numbers.distinct("start")
    figure, axes = panels(len(methods), len(starts), width=4.2, height=2.9, sharex=True, sharey="col")
    for i, method in enumerate(methods):
        for j, start in enumerate(starts):
            axis = axes[i * len(starts) + j]
            for by, seed in itertools.product(numbers.distinct("by"), numbers.distinct("seed")):
                rows, (colour, label) = numbers.where(method=method, start=start, by=by, seed=seed), _STYLE[by]
                labels = [row["labels"] for row in rows]
                axis.fill_between(labels, [r["low"] for r in rows], [r["high"] for r in rows], color=colour, alpha=0.2, lw=0)
                axis.plot(labels, [r["accuracy"] for r in rows], "-", color=colour, label=label)
            last = max(numbers.values("labels"))
            end = np.mean(numbers.values("accuracy", method=method, start=start, by="random", labels=last))
            axis.axhline(end, color="#999999", lw=0.8, ls=":", label="last accuracy of random choice")
            axis.set_title(f"{NAMES.get(method, method)}, from {start}", fontsize=10)
    shared_legend(figure, axes)
    figure.supxlabel("images labelled", fontsize=10)
    figure.supylabel("accuracy on other images", fontsize=10)
    return figure
