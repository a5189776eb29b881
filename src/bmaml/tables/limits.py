"""Outcomes that are only known up to limits: two columns with the ends as one, and how far the truth may lie from a cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.tables.cells import coded, is_text, limits
from bmaml.tables.table import Table

_MARKS = ("<", ">", "\u2264", "\u2265")


def with_limits(table: Table, lower: str, upper: str) -> Table:
    """Return `table` with both ends of an outcome in its column `lower`: a number, or a limit such as <0.1, >100 or 0.1..0.5.

    A row is known if both ends are equal. An empty end in `lower` means below `upper`, and one in `upper` above `lower`. Rows
    with two empty ends stay empty. Cells that are limits already stay as they are.
    Raises: InputError that names the row where the ends are the wrong way round.
    """
    for name in (lower, upper):
        table.column(name)
    low, reach = table.limits(lower, missing=True)
    high = table.numbers(upper, missing=True)
    known = reach == 0
    wrong = np.flatnonzero(known & (high < low))
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{table.cell(upper, row)} is {high[row]:g} and column {lower!r} has {low[row]:g}: give the lower end of each "
            f"outcome in {lower!r} and the upper one in {upper!r}."
        )
    # The new cells are read with the column's own mark, as those that stay.
    mark, shown = table.decimal(lower), table.shown(lower) if is_text(table.column(lower)) else None

    def number(value: float) -> str:
        return repr(float(value)).replace(".", mark)

    def cell(row: int) -> str | None:
        if not known[row] or low[row] == high[row]:
            return number(low[row]) if shown is None else shown[row]
        if np.isnan(low[row]):
            return None if np.isnan(high[row]) else f"<{number(high[row])}"
        return f">{number(low[row])}" if np.isnan(high[row]) else f"{number(low[row])}..{number(high[row])}"

    if not (np.isnan(low) & np.isnan(high)).all() and (known & (low != high)).any():
        cells = pa.array([cell(row) for row in range(len(table))], pa.large_string())
        return replace(table.with_columns({lower: cells}), marks=table.marks)
    return table


def has_limits(table: Table, name: str) -> bool:
    """Whether most cells of the column `name` of `table` are numbers or limits, and some are limits. Others are mistakes."""
    column = table.column(name)
    if not is_text(column):
        return False
    if not any(".." in text or text.startswith(_MARKS) for text in coded(column, table.reading.of(name))[1]):
        return False
    mark = table.mark(name).decimal
    found, reach = limits(table.ungrouped(name), table.reading.of(name), "." if mark == "?" else mark)
    known = len(found.missing) - int(found.missing.sum())
    return bool((reach[~found.wrong] != 0).any()) and 2 * int(found.wrong.sum()) < known


def shown_limits(reach: np.ndarray) -> str:
    """Return how many rows are only known up to a limit, for people. `reach` says how far the truth may lie."""
    counts = {
        "below a limit": reach == -np.inf,
        "above a limit": reach == np.inf,
        "between two": (reach > 0) & (reach < np.inf),
    }
    parts = [f"{int(rows.sum())} {what}" for what, rows in counts.items() if rows.any()]
    return f"of {len(reach)} rows {', '.join(parts)}" if parts else "every row is known"
