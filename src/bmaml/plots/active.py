"""Active learning: error against points measured, one panel for each method."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import panels, plain_log, shared_legend, title

_STYLE = {
    "random": ("#999999", "random"),
    "variance": ("#0072B2", "largest predictive variance"),
    "information": ("#D55E00", "most information about the task"),
    "reduction": ("#009E73", "expected reduction of variance"),
}


def draw(numbers: Numbers) -> Figure:
    """Return a panel for each method in `numbers`: errors on a logarithmic axis with 95% bands over tasks.

    Each seed has a line, and a line marks the final error of random choice.
    """
    methods = numbers.distinct("method")
    columns = min(len(methods), 3)
    # An interval may reach below 0, which a logarithmic axis cannot show.
    floor = 0.5 * min(numbers.values("mse"))
    figure, axes = panels(-(-len(methods) // columns), columns, width=5.2, height=3.8, sharex=True, sharey=True)
    for axis, method in zip(axes, methods, strict=False):
        for by, seed in itertools.product(numbers.distinct("by", method=method), numbers.distinct("seed")):
            rows, (colour, label) = numbers.where(method=method, by=by, seed=seed), _STYLE[by]
            points = [r["points"] for r in rows]
            low = [max(r["low"], floor) for r in rows]
            axis.fill_between(points, low, [r["high"] for r in rows], color=colour, alpha=0.2, lw=0)
            axis.plot(points, [r["mse"] for r in rows], "o-", color=colour, ms=3, label=label)
        last = max(numbers.values("points"))
        end = np.mean(numbers.values("mse", method=method, by="random", points=last))
        axis.axhline(end, color="#999999", lw=0.8, ls=":", label="last error of random choice")
        plain_log(axis)
        axis.set_ylim(bottom=floor)
        axis.set_title(title(method), fontsize=10)
    for axis in axes[len(methods) :]:
        axis.set_visible(False)
    shared_legend(figure, axes)
    figure.supxlabel("points measured", fontsize=10)
    figure.supylabel("squared error of the mean", fontsize=10)
    return figure
