"""Figure 1 of BMAML: error against meta-training progress."""

from __future__ import annotations

from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import colour, panels, plain_log, title


def draw(numbers: Numbers) -> Figure:
    """Return a panel for each number of shots and tasks in `numbers`: errors on a logarithmic axis with 95% bands over
    test tasks.
    """
    shots, tasks = numbers.distinct("shots"), numbers.distinct("tasks")
    figure, axes = panels(len(shots), len(tasks), width=3.9, height=2.8, sharex=True, sharey=True)
    for axis, (count, total) in zip(axes, ((s, t) for s in shots for t in tasks), strict=True):
        for method in numbers.distinct("method"):
            rows = numbers.where(shots=count, tasks=total, method=method)
            step, shade = [r["step"] for r in rows], colour(method)
            low = [max(r["low"], 1e-4) for r in rows]
            axis.fill_between(step, low, [r["high"] for r in rows], color=shade, alpha=0.2, lw=0)
            axis.plot(step, [r["mse"] for r in rows], color=shade, label=title(method))
        plain_log(axis)
        axis.set_title(f"{count}-shot, {total:,} training tasks", fontsize=10)
    axes[0].legend(fontsize=8, frameon=False)
    figure.supxlabel("meta-steps", fontsize=10)
    figure.supylabel("squared error on new tasks", fontsize=10)
    return figure
