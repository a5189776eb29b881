"""The picture of a leaderboard."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bmaml.experiments.board.run import OPTIMAL
from bmaml.experiments.board.standings import honest, ranked
from bmaml.experiments.numbers import Numbers
from bmaml.methods import METHODS
from bmaml.methods.spec import OTHER, Group
from bmaml.plots.style import panels

# The axis turns from linear to logarithmic here, in nats.
_LINEAR = 0.1


def draw(numbers: Numbers) -> Figure:
    """Return a panel for each number of shots in `numbers`: the distance of each method's NLL from the best.

    The best is the Bayes-optimal NLL if it is known, else that of the best method. Filled marks are methods whose 90% intervals
    are honest.
    """
    shots = numbers.distinct("shots")
    names = [name for name in ranked(numbers) if name != OPTIMAL][::-1]
    marks = _marks(names, intervals="coverage" in numbers.distinct("metric"))
    # A legend must not be wider than the panels below it.
    columns = min(3, len(shots))
    height = 0.9 + 0.24 * len(names) + 0.2 * math.ceil(len(marks) / columns)
    figure, axes = panels(1, len(shots), width=2.9, height=height, sharey=True)
    for axis, count in zip(axes, shots, strict=True):
        rows = _gaps(numbers, names, count)
        for place, name in enumerate(names):
            colour, (mean, low, high) = _group(name).colour, rows[name]
            axis.plot([max(low, 0), high], [place, place], color=colour, lw=1.5)
            filled = colour if honest(numbers, name) else "white"
            # The best method lies on the axis if no better NLL is known. Its mark is drawn whole.
            axis.plot(mean, place, "o", color=colour, mfc=filled, ms=6, clip_on=False, zorder=3)
        axis.set_xscale("symlog", linthresh=_LINEAR)
        axis.set_xlim(left=0)
        axis.grid(axis="x", lw=0.3)
        axis.set_title(f"{count}-shot", fontsize=10)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(-0.6, len(names) - 0.4)
    known = OPTIMAL in numbers.distinct("method")
    figure.supxlabel(f"NLL above {'the Bayes-optimal' if known else 'the best'} (nats a point)", fontsize=10)
    figure.legend(handles=marks, loc="outside upper center", ncols=columns, fontsize=8, frameon=False)
    return figure


def _gaps(numbers: Numbers, names: list[str], shots: int) -> dict[str, tuple[float, float, float]]:
    """Return regrets if they are known, else NLL minus that of the best method."""
    known = {row["method"]: row for row in numbers.where(shots=shots, metric="regret_nll")}
    rows = known or {row["method"]: row for row in numbers.where(shots=shots, metric="nll")}
    floor = 0.0 if known else min(row["mean"] for row in rows.values())
    return {name: tuple(rows[name][end] - floor for end in ("mean", "low", "high")) for name in names}  # type: ignore[misc]


def _group(name: str) -> Group:
    return METHODS[name].group if name in METHODS else OTHER


def _marks(names: list[str], *, intervals: bool) -> list[Line2D]:
    groups = dict.fromkeys(_group(row) for row in [*METHODS, *names] if row in names)
    marks = [Line2D([], [], marker="o", ls="", color=group.colour, label=group.label) for group in groups]
    if intervals:
        label = "its 90% intervals do not hold 87-93%"
        marks.append(Line2D([], [], marker="o", ls="", color="#555555", mfc="white", label=label))
    return marks
