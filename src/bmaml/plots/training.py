"""The loss along one training."""

from __future__ import annotations

from matplotlib.axes import Axes

from bmaml.plots.style import BLUE, axes_for, label
from bmaml.training.run import Run


def plot_training(run: Run, *, ax: Axes | None = None) -> Axes:
    """Draw the loss of `run` by meta-step, and return the axes. `ax` are the axes to draw into (None makes a new figure)."""
    axis = axes_for(ax, width=5.6)
    records = [record for record in run.history if "loss" in record]
    axis.plot([record["step"] for record in records], [record["loss"] for record in records], color=BLUE, lw=1.4)
    label(axis, x="meta-steps", y="loss")
    return axis
