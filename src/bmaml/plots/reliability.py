"""How far class probabilities can be trusted: reliability diagrams, and accuracy against the share of images answered."""

from __future__ import annotations

from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import PALETTE, panels


def draw(bins: Numbers, answered: Numbers) -> Figure:
    """Return a column for each number of shots: confidence against accuracy (`bins`) above, accuracy under rejection
    (`answered`) below.

    The area of a mark is its share of the images. Bars are 95% intervals over tasks.
    """
    shots, methods = bins.distinct("shots"), bins.distinct("method")
    figure, axes = panels(2, len(shots), width=4.2, height=3.4)
    for j, count in enumerate(shots):
        above, below = axes[j], axes[len(shots) + j]
        above.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls=":")
        for k, name in enumerate(methods):
            colour = PALETTE[k % len(PALETTE)]
            rows = bins.where(method=name, shots=count)
            x, y = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
            above.vlines(x, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, lw=0.8)
            above.plot(x, y, color=colour, lw=0.8)
            above.scatter(x, y, [3 + 150 * row["share"] for row in rows], color=colour, alpha=0.7, lw=0, label=name)
            rows = answered.where(method=name, shots=count)
            ends = [[row["accuracy"] - row["low"] for row in rows], [row["high"] - row["accuracy"] for row in rows]]
            share, accuracy = [row["answered"] for row in rows], [row["accuracy"] for row in rows]
            below.errorbar(share, accuracy, ends, fmt="o-", color=colour, ms=3, lw=1, capsize=2)
        above.set(title=f"{count}-shot", xlabel="confidence", ylabel="accuracy")
        below.set(xlabel="share of images answered, the surest first", ylabel="accuracy of the answers")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure
