"""Rows whose inputs lie outside of the rows that a model was fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np

from bmaml.tables import dates
from bmaml.tables.columns import BEYOND, Column
from bmaml.tables.schema import References, Schema
from bmaml.tables.table import Table

MARGIN = 0.05
"""An input may lie this share of the fitted range beyond it: the ends of a range are random."""


def outside(table: Table, schema: Schema, seen: References | None = None) -> dict[str, np.ndarray]:
    """Return which rows of `table` lie outside of the fitted range of a number, by the name of its column.

    - `schema`: says what was fitted.
    - `seen`: what the task is seen from (`Schema.reference`), or the task of each row, for columns whose level is taken out.
    """
    table, found = schema.as_read(table), {}
    for column in _ranged(schema):
        found[column.name] = _beyond(column, _places(table, column, seen), MARGIN)
    return found


def say_outside(table: Table, schema: Schema, seen: References | None = None, but: Collection[str] = ()) -> set[str]:
    """Warn once for each input that has rows of `table` outside of the fitted range, and return the names of these inputs.

    Rows much farther away are named or refused where they are encoded. `schema` and `seen` are as in `outside`. Inputs in
    `but` are passed over.
    """
    table, said = schema.as_read(table), set()
    for column in _ranged(schema):
        if column.name in but:
            continue
        places = _places(table, column, seen)
        rows = _beyond(column, places, MARGIN)
        rows &= column.long_tails | ~_beyond(column, places, BEYOND)
        away = np.flatnonzero(rows)
        if len(away):
            more = f" (and {len(away) - 1} more)" if len(away) > 1 else ""
            value = table.take(away[:1]).shown(column.name)[0]
            warnings.warn(
                f"{table.cell(column.name, away[0])}{more} is {value}, outside of {fitted_range(column)} of the rows fitted "
                "on: the answer there is a guess about a place that no row shows.",
                stacklevel=3,
            )
            said.add(column.name)
    return said


def _ranged(schema: Schema) -> list[Column]:
    """Return the inputs that are numbers with a fitted range."""
    numbers = [column for column in schema.inputs if column.kind == "number" and column.form != "boolean"]
    return [column for column in numbers if np.isfinite(column.high - column.low)]


def _places(table: Table, column: Column, seen: References | None) -> np.ndarray:
    """Return the standardised values of a number, NaN where a cell is empty."""
    level = 0.0 if column.level is None else (seen or {}).get(column.name, np.nan)
    return (column.raw(table) - level - column.mean) / column.scale


def _beyond(column: Column, places: np.ndarray, margin: float) -> np.ndarray:
    """Return which places lie more than `margin` fitted ranges outside of the fitted range."""
    width = margin * (column.high - column.low) + 1e-6
    return (places < column.low - width) | (places > column.high + width)


def fitted_range(column: Column) -> str:
    """Return the range of the number `column` in the rows fitted on, in words."""
    if column.level is not None:
        return "the distances from a task's first row"
    return f"the {in_units(column, column.low)} to {in_units(column, column.high)}"


def in_units(column: Column, value: float) -> str:
    """Return the standardised `value` of the number `column` as people write it: in its units, or as a date."""
    raw = column.mean + column.scale * float(value)
    if column.form == "date":
        day = int(column.origin) + round(raw * dates.DAY)
        return dates.shown_date(day - day % dates.DAY)
    return f"{float(np.exp(raw)) if column.log else raw + column.origin:.4g}"
