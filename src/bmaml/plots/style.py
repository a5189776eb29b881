"""Colours and files that all pictures share."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bmaml.io.files import replacing
from bmaml.methods import METHODS, MethodSpec
from bmaml.rows import Rows

# The colours of methods in pictures of few. A method's row gives its colour.
COLOURS = {row.name: row.colour for row in METHODS.known() if row.colour} | {"bayes-optimal": "#000000"}
TRUTH, SUPPORT = "#000000", "#000000"
# Colours that people with any colour vision tell apart (Okabe and Ito, 2008).
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777"
PALETTE = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, "#000000", "#999999", "#F0E442")


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


def axes_for(ax: Axes | None, *, width: float = 4.6, height: float = 3.2) -> Axes:
    """Return `ax`, or without it the axes of a new figure of a `width` and `height` in inches."""
    return panels(1, 1, width=width, height=height)[1][0] if ax is None else ax


def label(axis: Axes, *, x: str | None = None, y: str | None = None, title: str | None = None) -> None:
    """Write the names of the axes and the title of `axis`. Names come from users, so a dollar sign is no formula."""
    for put, text in ((axis.set_xlabel, x), (axis.set_ylabel, y)):
        if text is not None:
            put(text, fontsize=9, parse_math=False)
    if title is not None:
        axis.set_title(title, fontsize=10, parse_math=False)


def shared_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Put one legend above the panels of `figure`, so that no curve runs under it: each label of `axes` once."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    # A legend must not be wider than the figure. A column has a mark and letters, whose sizes in inches are about these.
    column = 0.5 + 0.06 * max(len(name) for name in entries)
    columns = max(1, min(len(entries), int(figure.get_figwidth() / column)))
    figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns, fontsize=8, frameon=False)


def plain_counts(axis: Axes) -> None:
    """Write few numbers with thousands apart on the x axis of `axis`, so that large counts do not run into each other."""
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def shortened(text: str, most: int = 24) -> str:
    """Return `text`, or its beginning and its end if it has over `most` characters: names in a column often begin alike."""
    start = most // 5
    return text if len(text) <= most else f"{text[:start]}…{text[start + 1 - most :]}"


def plain_log(axis: Axes) -> None:
    """Make the y axis of `axis` logarithmic, with ticks that are plain numbers. Draw everything else first."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    # Of a wide range the powers of ten are enough; a narrow one may hold only one of them.
    narrow = (1.0, 2.0, 3.0, 5.0) if high / low > 5 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else narrow))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def title(name: str, table: Rows[MethodSpec] = METHODS) -> str:
    """Return the name of a method in pictures: the title of its row in `table`, or `name` itself without a title."""
    return (table[name].title if name in table else "") or name


def colour(name: str, table: Rows[MethodSpec] = METHODS) -> str:
    """Return the colour of the method `name` in pictures of few: its own in `table`, or its group's; black without a row."""
    if name not in table:
        return COLOURS.get(name, "#000000")
    return table[name].colour or table[name].group.colour


def as_svg(figure: Figure) -> bytes:
    """Return `figure` as SVG, the same bytes for the same figure, and close it. Letters are drawn, so no font is needed."""
    content = BytesIO()
    try:
        with warnings.catch_warnings(), plt.rc_context({"svg.hashsalt": "bmaml", "svg.fonttype": "path"}):
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(content, format="svg", metadata={"Date": None})
    finally:
        plt.close(figure)
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as a PNG at `path`, whole or not at all, and close the figure."""
    try:
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=150)
    finally:
        plt.close(figure)
