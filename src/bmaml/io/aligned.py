"""Tables of texts that fit the terminal: no cell is cut, and an interval stays in one piece."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence
from itertools import groupby, zip_longest

_GAP = 2
# What is never broken: an interval, or a word.
_PIECES = re.compile(r"\[[^\[\]]*\]|\S+")


def aligned(rows: list[list[str]], *, keys: int = 1, width: int | None = None) -> str:
    """Return `rows` of cells, the first of them the header, as lines with aligned columns.

    Cells of a table that is too wide go over several lines. If its columns do not fit even then, the rest of them follows in
    further tables.

    - `keys`: how many of the first columns every further table begins with.
    - `width`: characters of a line (None: those of the terminal, 80 without one).
    """
    width = width or shutil.get_terminal_size((80, 24)).columns
    columns = list(zip(*rows, strict=True))
    least = [max(len(piece) for cell in column for piece in (*_pieces(cell), "")) for column in columns]
    parts, last = [], 0
    while last < len(columns):
        # A further table holds as many columns as fit, and one at least.
        first, head = last, list(range(keys)) if last else []
        last += 1
        while last < len(columns) and _total([least[i] for i in (*head, *range(first, last + 1))]) <= width:
            last += 1
        parts.append(
            _lines([columns[i] for i in (*head, *range(first, last))], [least[i] for i in (*head, *range(first, last))], width)
        )
    return "\n\n".join(parts)


def _pieces(cell: str) -> list[str]:
    return _PIECES.findall(cell)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _lines(columns: list[tuple[str, ...]], least: list[int], width: int) -> str:
    """Return a table whose columns are as wide as their cells, or narrower if all of them would not fit."""
    widths = [max(map(len, column)) for column in columns]
    while _total(widths) > width and widths != least:
        # The widest column that can still be narrower.
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    lines = []
    for row in zip(*columns, strict=True):
        cells = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for texts in zip_longest(*cells, fillvalue=""):
            line = (" " * _GAP).join(text.ljust(size) for text, size in zip(texts, widths, strict=True))
            lines.append(line.rstrip())
    return "\n".join(lines)


def _wrapped(cell: str, width: int) -> list[str]:
    """Return `cell` as lines of at most `width` characters."""
    if len(cell) <= width:
        return [cell]
    lines = [""]
    for piece in _pieces(cell):
        joined = f"{lines[-1]} {piece}" if lines[-1] else piece
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(piece)
    return lines


def fitted(text: str, width: int | None = None) -> str:
    """Return the Markdown `text` for a terminal: its tables aligned, and its other lines no longer than `width` characters.

    `width` is as in `aligned`.
    """
    width = width or shutil.get_terminal_size((80, 24)).columns
    parts = []
    for of_table, lines in groupby(text.splitlines(), lambda line: line.startswith("|")):
        if of_table:
            cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
            parts.append(aligned([row for row in cells if set("".join(row)) - set("-:")], width=width))
        else:
            parts += [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]
    return "\n".join(parts)
