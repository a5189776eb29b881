"""MAML against pretraining: curves on one task, and the error by steps."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bmaml.experiments.numbers import Numbers
from bmaml.plots.style import colour, panels, shared_legend, title


def draw(results: tuple[Numbers, Numbers]) -> Figure:
    """Return a row for each shot count of `results`: one task under both methods, then the mean error by gradient steps.

    Each seed has a line.
    """
    errors, curves = results
    shots, methods = errors.distinct("shots"), errors.distinct("method")
    figure, axes = panels(len(shots), len(methods) + 1, width=3.6, height=2.7)
    rows = np.array(axes).reshape(len(shots), -1)
    for line, count in zip(rows, shots, strict=True):
        for axis, method in zip(line, methods, strict=False):
            _task(axis, curves, method, count)
        _errors(line[-1], errors, count)
    shared_legend(figure, (rows[0, 0], rows[0, -1]))
    return figure


def _task(axis, curves: Numbers, method: str, shots: int) -> None:
    steps = [s for s in curves.distinct("steps") if s >= 0]
    shades = plt.get_cmap("viridis_r")(np.linspace(0.1, 0.9, len(steps)))
    for step, shade in zip(steps, shades, strict=True):
        line = curves.where(method=method, shots=shots, steps=step)
        axis.plot([r["x"] for r in line], [r["y"] for r in line], color=shade, lw=1.2, label=f"{step} step{'s' * (step != 1)}")
    truth = curves.where(method=method, shots=shots, steps=steps[0])
    axis.plot([r["x"] for r in truth], [r["truth"] for r in truth], "--", color="black", lw=1, label="truth")
    given = curves.where(method=method, shots=shots, steps=-1)
    axis.plot([r["x"] for r in given], [r["y"] for r in given], "o", color="black", ms=4, label="given points")
    axis.set_title(f"{title(method)}, {shots}-shot", fontsize=10)
    axis.set(xlabel="x", ylabel="y")


def _errors(axis, errors: Numbers, shots: int) -> None:
    for method, seed in itertools.product(errors.distinct("method"), errors.distinct("seed")):
        rows = errors.where(method=method, shots=shots, seed=seed)
        steps = [r["steps"] for r in rows]
        axis.fill_between(steps, [r["low"] for r in rows], [r["high"] for r in rows], color=colour(method), alpha=0.2, lw=0)
        axis.plot(steps, [r["mse"] for r in rows], "o-", color=colour(method), ms=4, label=title(method))
    axis.set_title(f"mean over test tasks, {shots}-shot", fontsize=10)
    axis.set_xlabel("gradient steps")
    axis.set_ylabel("squared error")
    axis.set_ylim(0, None)
