"""Colours and files that all pictures share."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Colours of Okabe and Ito, told apart with any kind of colour vision.
COLOURS = {
    "experts": "#0072B2",
    "bmaml": "#D55E00",
    "emaml": "#E69F00",
    "maml": "#009E73",
    "pretrain": "#999999",
    "bfa": "#CC79A7",
    "bayes-optimal": "#000000",
}
NAMES = {"bmaml": "BMAML", "emaml": "EMAML", "maml": "MAML", "experts": "experts (exact heads)"}
TRUTH, SUPPORT = "#000000", "#000000"


def panels(rows: int, columns: int, *, width: float = 3.4, height: float = 2.7, **options) -> tuple[Figure, list]:
    """Return a figure and its axes in reading order.

    - `rows`, `columns`: number of panels.
    - `width`, `height`: size of a panel, in inches.
    - `options`: passed on to Matplotlib's `subplots`.
    """
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False, **options
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as a PNG at `path`, whole or not at all, and close the figure."""
    part = path.with_name(f".{path.stem}.part.png")
    try:
        figure.savefig(part, dpi=150)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        plt.close(figure)
