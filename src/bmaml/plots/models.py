"""What a fitted table model learned, and how well it predicted tasks left out. Each function draws one panel.

Every function takes `ax`, the axes to draw into (None makes a new figure), and returns the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bmaml.estimators.description import Curve, Parts
from bmaml.estimators.left_out import Example, LeftOut
from bmaml.estimators.scores import Score
from bmaml.estimators.stacking import Report
from bmaml.evaluation.metrics import LEVEL
from bmaml.plots.style import BLUE, GREEN, GREY, ORANGE, PALETTE, SUPPORT, YELLOW, axes_for, label, shortened

_PARTS = {"inputs": "the inputs", "level": "level of the task", "shape": "shape of the task", "noise": "noise"}


def plot_prior(curve: Curve, *, ax: Axes | None = None) -> Axes:
    """Draw what a model expects of any task: the mean, where 90% of tasks and of measurements lie, and a few tasks at random.

    `curve` is one of `model.describe().curves`, and `ax` the axes to draw into.
    """
    axis, x = axes_for(ax), curve["x"]
    if curve["levels"]:
        return _plot_levels(axis, curve)
    places = _places(x)
    axis.fill_between(places, curve["wide_low"], curve["wide_high"], color=BLUE, alpha=0.1, lw=0, label="90% of measurements")
    axis.fill_between(places, curve["low"], curve["high"], color=BLUE, alpha=0.2, lw=0, label="90% of tasks")
    for i, line in enumerate(curve["lines"]):
        axis.plot(places, line, color=GREY, lw=0.7, alpha=0.7, label=None if i else "a task at random")
    axis.plot(places, curve["centre"], color=BLUE, lw=2, label="mean of tasks")
    _date_axis(axis, x)
    label(axis, x=curve["axis"], y=curve["output"])
    return axis


def _plot_levels(axis: Axes, curve: Curve) -> Axes:
    """Draw what is expected at each level of a category."""
    places, centre = np.arange(len(curve["x"])), np.array(curve["centre"])
    for low, high, width, name in (("wide_low", "wide_high", 2, "90% of measurements"), ("low", "high", 6, "90% of tasks")):
        axis.vlines(places, curve[low], curve[high], color=BLUE, alpha=0.35, lw=width, label=name)  # pyright: ignore
    axis.plot(places, centre, "o", color=BLUE, label="mean of tasks")
    # A turned name ends at its place.
    turned: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if len(places) > 5 else {}
    axis.set_xticks(places, [shortened(str(level)) for level in curve["x"]], parse_math=False, **turned)
    axis.set_xlim(-0.6, len(places) - 0.4)
    label(axis, x=curve["axis"], y=curve["output"])
    return axis


def plot_parts(variance: dict[str, Parts], *, ax: Axes | None = None) -> Axes:
    """Draw the parts of each outcome's variance as a bar. `variance` is `model.describe().variance`, and `ax` the axes."""
    axis = axes_for(ax, height=0.9 + 0.5 * len(variance))
    left = np.zeros(len(variance))
    for (part, name), colour in zip(_PARTS.items(), (BLUE, ORANGE, YELLOW, "#BBBBBB"), strict=True):
        share: list[Any] = [parts[part] for parts in variance.values()]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        axis.barh(range(len(variance)), share, left=left, color=colour, label=name, height=0.6)
        left = left + share
    axis.set_yticks(range(len(variance)), [shortened(name) for name in variance], parse_math=False)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, fontsize=8, frameon=False, columnspacing=1.0)
    label(axis, x="share of the variance over the range of the inputs")
    return axis


def plot_weights(folds: Report, *, ax: Axes | None = None) -> Axes:
    """Draw the weights of a mixture's candidates by the number of given rows. `folds` is `model.folds_`, `ax` the axes."""
    axis, places = axes_for(ax), np.arange(len(folds["given"]))
    weights = np.array(folds["weights"])
    below = np.zeros(len(places))
    for i, name in enumerate(folds["candidates"]):
        axis.bar(places, weights[:, i], bottom=below, color=PALETTE[i % len(PALETTE)], label=name, width=0.7)
        below = below + weights[:, i]
    axis.set_xticks(places, [str(count) for count in folds["given"]])
    axis.set_ylim(0, 1)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    label(axis, x="given rows", y="weight in the mixture")
    return axis


def plot_scores(scores: Sequence[Score], output: str, *, ax: Axes | None = None) -> Axes:
    """Draw the error of each method by the number of given rows, with 95% intervals.

    - `scores`: scores of several methods, the first of them the model's.
    - `output`: name of the outcome.
    - `ax`: the axes to draw into.
    """
    axis = axes_for(ax)
    names = list(dict.fromkeys(score.method for score in scores))
    counts = sorted({score.shots for score in scores})
    for i, name in enumerate(names):
        rows = sorted((score for score in scores if score.method == name), key=lambda score: score.shots)
        found = [score.rmse[output] for score in rows]
        places = np.array([counts.index(score.shots) for score in rows]) + 0.16 * (i - (len(names) - 1) / 2)
        ends = [[e.value - (e.value if e.low is None else e.low) for e in found]]
        ends += [[(e.value if e.high is None else e.high) - e.value for e in found]]
        colour = (BLUE, GREY, ORANGE, GREEN)[i % 4]
        axis.errorbar(places, [e.value for e in found], ends, fmt="o-", color=colour, ms=4, lw=1.2, capsize=2, label=name)
    axis.set_xticks(range(len(counts)), [str(count) for count in counts])
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    label(axis, x="given rows", y=f"root mean squared error of {output}")
    return axis


def plot_calibration(record: LeftOut, output: str, *, ax: Axes | None = None) -> Axes:
    """Draw the share of measurements that each interval held against the share that it should hold.

    - `record`: what was predicted of tasks left out.
    - `output`: name of the outcome.
    - `ax`: the axes to draw into.
    """
    axis, levels = axes_for(ax, width=3.6, height=3.4), np.array(record["levels"])
    axis.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="as it should be")
    for i, (count, held) in enumerate(_ends(list(zip(record["given"], record["held"][output], strict=True)))):
        value, low, high = np.array(held, float).T
        axis.fill_between(levels, low, high, color=PALETTE[i], alpha=0.15, lw=0)
        axis.plot(levels, value, "o-", color=PALETTE[i], ms=3, lw=1.2, label=f"after {count} rows")
    for along in (axis.xaxis, axis.yaxis):
        along.set_major_formatter(PercentFormatter(1))
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.legend(loc="upper left", fontsize=8, frameon=False)
    label(axis, x="share an interval should hold", y=f"share it held of {output}")
    return axis


def _ends(rows: list[Any]) -> list[Any]:
    """Return the first, a middle and the last of `rows`."""
    return [rows[i] for i in sorted({0, len(rows) // 2, len(rows) - 1})]


def plot_pit(record: LeftOut, output: str, *, ax: Axes | None = None) -> Axes:
    """Draw where measurements lay in their predictive distributions, after as many rows as the examples have.

    - `record`: what was predicted of tasks left out.
    - `output`: name of the outcome.
    - `ax`: the axes to draw into.
    """
    axis = axes_for(ax, width=3.6, height=3.4)
    shares = record["pit"][output][record["given"].index(record["shown_after"])]
    width = 1 / len(shares)
    axis.bar((np.arange(len(shares)) + 0.5) * width, shares, width * 0.92, color=BLUE, alpha=0.7)
    axis.axhline(width, color=GREY, lw=1, ls=":")
    axis.set_xlim(0, 1)
    axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for along in (axis.xaxis, axis.yaxis):
        along.set_major_formatter(PercentFormatter(1, decimals=0))
    label(axis, x=f"predicted chance of less than the {output}", y="share of rows")
    return axis


def plot_example(record: LeftOut, example: Example, output: int = 0, *, name: str = "", ax: Axes | None = None) -> Axes:
    """Draw the prediction of a task left out: the given rows, and the interval of the others beside what was measured.

    - `record`, `example`: what was predicted, and one of its `examples`.
    - `output`: number of the outcome.
    - `name`: name of the outcome, for the axis.
    - `ax`: the axes to draw into.
    """
    axis = axes_for(ax, width=3.0, height=2.4)
    y, mean, low, high = (np.array(example[part])[:, output] for part in ("y", "mean", "low", "high"))
    given = np.array(example["given_y"])[:, output] if example["given_y"] else np.zeros(0)
    if example["x"] is None or example["given_x"] is None:
        order = np.argsort(mean, kind="stable")
        y, mean, low, high = y[order], mean[order], low[order], high[order]
        x, past = np.arange(1, len(y) + 1), -np.arange(len(given))[::-1]
    else:
        x, past = _places(example["x"]), _places(example["given_x"])
    axis.vlines(x, low, high, color=BLUE, alpha=0.3, lw=4, label=f"{LEVEL:.0%} interval")
    axis.plot(x, mean, "_", color=BLUE, ms=7, mew=1.6, label="predicted mean")
    inside = (low <= y) & (y <= high)
    axis.plot(x[inside], y[inside], "o", ms=3.5, mfc="white", mec="#333333", mew=0.8, label="measured, within")
    axis.plot(x[~inside], y[~inside], "D", ms=4, mfc=ORANGE, mec=ORANGE, label="measured, outside")
    axis.plot(past, given, "o", color=SUPPORT, ms=5, label="given")
    if example["x"] is not None:
        _date_axis(axis, example["x"])
    label(axis, x=record["axis"] or "rows, by prediction", y=name)
    return axis


def _places(x: Sequence[Any]) -> Any:
    if any(isinstance(value, str) for value in x):
        return np.array(list(x), "datetime64[D]")
    return np.array(x, float)


def _date_axis(axis: Axes, x: Sequence[Any]) -> None:
    if any(isinstance(value, str) for value in x):
        place = mdates.AutoDateLocator(maxticks=4)
        axis.xaxis.set_major_locator(place)
        axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(place))
