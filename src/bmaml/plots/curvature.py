"""Errors of log det of cheaper curvatures by the number of points."""

from __future__ import annotations

from matplotlib.figure import Figure

from bmaml.experiments.curvature import FORMS
from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import COLOURS, panels, shared_legend

_COLOURS = dict(zip(FORMS, ("#000000", COLOURS["experts"], COLOURS["bmaml"], COLOURS["maml"]), strict=True))


def draw(numbers: Numbers) -> Figure:
    """Return a row for each likelihood and a column for each depth in `numbers`: form minus full, in nats, with the
    middle 90% of tasks.
    """
    kinds, depths = numbers.distinct("likelihood"), numbers.distinct("layers")
    figure, axes = panels(len(kinds), len(depths), width=3.3, height=2.6)
    cells = [(kind, depth) for kind in kinds for depth in depths]
    for axis, (kind, depth) in zip(axes, cells, strict=True):
        for form in FORMS:
            rows = [r for r in numbers.where(likelihood=kind, layers=depth, form=form) if r["indefinite"] < 1]
            points = [r["points"] for r in rows]
            axis.fill_between(
                points, [r["low"] for r in rows], [r["high"] for r in rows], color=_COLOURS[form], alpha=0.15, lw=0
            )
            axis.plot(points, [r["error"] for r in rows], "o-", ms=3, lw=1.2, color=_COLOURS[form], label=form)
        axis.set_xscale("log")
        axis.set_xticks(counts := numbers.distinct("points"), [f"{count:g}" for count in counts])
        axis.minorticks_off()
        axis.set_title(f"{kind}, {depth} layer{'s' if depth > 1 else ''}", fontsize=10)
    shared_legend(figure, axes)
    figure.supxlabel("points of the task", fontsize=10)
    figure.supylabel("log det H of the form minus full Gauss-Newton's, nats", fontsize=10)
    return figure
