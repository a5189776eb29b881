"""Colours and files that all pictures share."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bmaml.io.files import replacing
from bmaml.methods import METHODS, MethodSpec
from bmaml.rows import Rows

# The colours of methods in pictures of few. A method's row gives its colour.
COLOURS = {row.name: row.colour for row in METHODS.known() if row.colour} | {"bayes-optimal": "#000000"}
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


def title(name: str, table: Rows[MethodSpec] = METHODS) -> str:
    """Return the name of a method in pictures: the title of its row in `table`, or `name` itself without a title."""
    return (table[name].title if name in table else "") or name


def colour(name: str, table: Rows[MethodSpec] = METHODS) -> str:
    """Return the colour of the method `name` in pictures of few: its own in `table`, or its group's; black without a row."""
    if name not in table:
        return COLOURS.get(name, "#000000")
    return table[name].colour or table[name].group.colour


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as a PNG at `path`, whole or not at all, and close the figure."""
    try:
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=150)
    finally:
        plt.close(figure)
