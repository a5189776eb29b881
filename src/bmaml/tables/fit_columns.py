"""What a column is, found from its rows: its kind, its form, and the numbers of its encoding."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.tables import dates
from bmaml.tables.cells import label, shifted, whole
from bmaml.tables.columns import BOOLEANS, Column, Form
from bmaml.tables.number_marks import number_among
from bmaml.tables.table import Table, as_text, listed

# Rarer levels of a category are one level together: an encoded column for each would cost more than it tells.
_MOST_LEVELS = 256
# A column with only larger or only smaller numbers has no variance in double precision.
_LARGEST, _SMALLEST = 1e100, 1e-100
# Whole numbers above have neighbours that double precision cannot tell apart.
_EXACT = 2.0**53
# Where values vary by less than this share of their size, their least is subtracted first.
_NARROW = 1e-6
# The standard deviation of long tails, in deviations that the middle half of the rows suggests.
_LONG = 100.0
# How many times more tasks differ than rows of one, where the difference to a row of the task is encoded.
INPUT_RATIO, OUTPUT_RATIO = 100.0, 1000.0
_FEW = 10
NORMAL_QUARTILES = 1.349
"""Distance between the quartiles of a standard normal."""


@dataclass(frozen=True)
class Wanted:
    """What the user said of an input: whether it is `categorical`, and whether its logarithm is taken (`log`)."""

    categorical: bool = False
    log: bool = False


def fit_input(table: Table, name: str, tasks: np.ndarray, wanted: Wanted) -> Column:
    """Return the encoding of an input column, fitted on rows.

    Text columns become dates, times, booleans or categories, unless most of their cells are numbers.

    - `table`: the rows.
    - `name`: name of the column.
    - `tasks`: the task of each row, as a number.
    - `wanted`: what the user said of the column.

    Raises: InputError for a cell that does not fit, or for a category that is an id.
    """
    if wanted.log and wanted.categorical:
        raise InputError(f"column {name!r} is listed as categorical and for its logarithm: choose one.")
    none = table.empty(name)
    if none.all():
        raise InputError(f"{table.name}, column {name!r} is empty in every row: leave it out.")
    gaps = bool(none.any())
    form: Form | Literal["category"] = "category" if wanted.categorical else form_of(table, name)
    if wanted.log and form != "number":
        raise InputError(f"column {name!r} is a {form} and is listed for its logarithm: take it out of that list.")
    if form == "category":
        said = wanted.categorical or pa.types.is_dictionary(table.column(name).type)
        some = None if said else number_among(table.coded(name, missing=True)[1])
        column = _fit_category(table, name, tasks, gaps, some)
    else:
        column = _fit_number(table, Column(name, form=form, log=wanted.log, gaps=gaps))
        if form == "number":
            dates.say_compact(table, name)
    if gaps:
        warnings.warn(
            f"column {name!r} is empty in {int(none.sum())} of {len(none)} rows: "
            "these rows are used, and the model sees which they are.",
            stacklevel=2,
        )
    return column if form == "category" else replace(column, decimal=table.shown_mark(name))


def fit_output(table: Table, name: str) -> Column:
    """Return the standardisation of the output column `name`, fitted on the rows of `table`.

    Raises: InputError for a cell that is not a finite number, or a column that never changes.
    """
    form: Form = "boolean" if form_of(table, name) == "boolean" else "number"
    column = _origin(table, Column(name, form=form))
    raw = column.raw(table)
    values = np.sort(raw)
    _check_size(table, name, values, column.origin)
    scale = _std(values)
    if not scale:
        raise InputError(
            f"{table.name}, output column {name!r} is {values[0] + column.origin:g} in every training row: "
            "there is nothing to learn; give a column that varies."
        )
    middle, narrow = _middle(values)
    if scale > _LONG * narrow > 0:
        warnings.warn(_outlier(table, name, raw - middle, narrow), stacklevel=2)
    return replace(column, mean=float(values.mean()), scale=scale, note=_number_note(column, values))


def form_of(table: Table, name: str) -> Form | Literal["category"]:
    """Return what the cells of column `name` of `table` are: a `Form`, or "category"."""
    kind = table.column(name).type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "date"
    if pa.types.is_temporal(kind):
        return "clock"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_dictionary(kind):
        return "category"
    if table.is_numeric(name):
        return "number"
    texts = table.coded(name, missing=True)[1]
    if {text.lower() for text in texts} <= BOOLEANS.keys():
        return "boolean"
    if dates.are_dates(texts):
        return "date"
    return "clock" if dates.are_clocks(texts) else "category"


def spread(values: np.ndarray, tasks: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Return how far rows lie from the mean of their task, the means of the tasks, and how far these lie from each other.

    - `values`: shape (rows,), NaN where a cell is missing.
    - `tasks`: the task of each row, as a number.

    Both distances are standard deviations, 0 if they are no larger than rounding errors.
    """
    there = np.isfinite(values)
    if not there.all():
        values, tasks = values[there], tasks[there]
    count = np.bincount(tasks)
    means = np.bincount(tasks, values) / np.maximum(count, 1)
    free = max(1, len(values) - int((count > 0).sum()))
    within = float(np.sqrt(np.sum((values - means[tasks]) ** 2) / free))
    within = within if within > 1e-12 * float(np.abs(values).max(initial=0.0)) else 0.0
    means = means[count > 0]
    return within, means, float(means.std())


def with_level(column: Column, away: np.ndarray, levels: np.ndarray) -> Column:
    """Return the encoding `column` for distances `away` from a row of the task (NaN where a cell is missing). `levels` are the
    tasks' means.
    """
    away = np.sort(away[np.isfinite(away)])
    mean, scale = float(away.mean()), float(away.std()) or 1.0
    note = f"{column.note}; each task's own level is taken out, since tasks differ far more than their rows"
    ends = (float(away[0]) - mean) / scale, (float(away[-1]) - mean) / scale
    own = float(np.sort(levels).mean()), float(levels.std()) or 1.0
    return replace(column, mean=mean, scale=scale, low=ends[0], high=ends[1], level=own, note=note)


def first_known(values: np.ndarray) -> float:
    """Return the first of `values` that is there, or NaN."""
    there = np.flatnonzero(np.isfinite(values))
    return float(values[there[0]]) if len(there) else float("nan")


def _fit_number(table: Table, column: Column) -> Column:
    name = column.name
    column = _origin(table, column)
    values = column.raw(table)
    # Sorted, so that nothing depends on the order of the rows.
    there = np.sort(values[np.isfinite(values)])
    if column.form == "number":
        _check_size(table, name, there, 0 if column.log else column.origin)
    mean, scale = float(there.mean()), _std(there) or 1.0
    middle, narrow = _middle(there)
    tails = bool(scale > _LONG * narrow > 0)
    if tails:
        warnings.warn(_outlier(table, name, values - middle, narrow), stacklevel=2)
        mean, scale = middle, narrow
    low, high = (float(end - mean) / scale for end in (there[0], there[-1]))
    column = replace(column, mean=mean, scale=scale, long_tails=tails, low=low, high=high)
    if column.form == "number":
        several = there[_first_ones(there)]
        _check_digits(table, column, several)
        return replace(column, note=_number_note(column, there) + _label_note(several, len(there)))
    return replace(column, note=_number_note(column, there))


def _origin(table: Table, column: Column) -> Column:
    """Return `column` with what is subtracted from its cells, and with the order of day and month in its dates."""
    if column.form == "date":
        column = replace(column, day_first=dates.is_day_first(table, column.name))
        stamps, none = dates.microseconds(table, column.name, bool(column.day_first))
        return replace(column, origin=int(stamps[~none].min()))
    if column.form != "number" or column.log:
        return column
    values = table.numbers(column.name, missing=column.gaps)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if max(abs(low), abs(high)) > _EXACT and shifted(table.column(column.name), 0, table.reading.of(column.name)) is not None:
        return replace(column, origin=int(low))
    return replace(column, origin=low) if 0 < high - low < _NARROW * max(abs(low), abs(high)) else column


def _check_size(table: Table, name: str, values: np.ndarray, origin: float) -> None:
    """Check that the sorted `values` beyond `origin` are neither too large nor too small to compute with.

    Raises: InputError that names the column.
    """
    largest = float(np.abs(values[[0, -1]] + origin).max())
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        raise InputError(f"{table.name}, column {name!r} has numbers up to {largest:.3g}: give it in another unit.")


def _check_digits(table: Table, column: Column, several: np.ndarray) -> None:
    """Check that values that differ in the table (`several`, sorted) still differ in single precision.

    Raises: InputError that names the column.
    """
    count = 0
    if float(np.abs(several[[0, -1]] + column.origin).max()) > _EXACT:
        integers = whole(table.column(column.name), table.reading.of(column.name))
        count = 0 if integers is None else len(integers.drop_null().unique())
    if column.origin and not count:
        # One number may be written in several ways, such as 1.5 and 1.50.
        count = len(set(table.coded(column.name, missing=True)[1])) // 2 + 1
    if len(several) < count:
        raise InputError(
            f"{table.name}, column {column.name!r} has different numbers that double precision does not tell apart: "
            f"subtract a constant near {several[0] + column.origin:.17g} from all, or leave the column out if they are ids."
        )
    if int(_first_ones(column._standardised(table, several).astype(np.float32)).sum()) < len(several) // 2:
        raise InputError(
            f"{table.name}, column {column.name!r} has numbers that differ by less than single precision tells apart beside "
            "its largest ones: take their logarithm, another unit, or remove the largest."
        )


def _first_ones(values: np.ndarray) -> np.ndarray:
    """Return which of the sorted `values` are the first of their kind."""
    return np.concatenate([[True], values[1:] != values[:-1]])


def _std(values: np.ndarray) -> float:
    """Return the standard deviation of sorted `values`, or 0 if it is no larger than the rounding error of a constant."""
    scale = float(values.std())
    return scale if np.isfinite(scale) and scale > 1e-12 * float(np.abs(values[[0, -1]]).max()) else 0.0


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Return the median of sorted `values`, and the standard deviation that their middle half would have as a normal."""
    places = np.array([0.25, 0.5, 0.75]) * (len(values) - 1)
    below = np.floor(places).astype(int)
    lower, upper = values[below], values[np.minimum(below + 1, len(values) - 1)]
    low, middle, high = lower + (places - below) * (upper - lower)
    return float(middle), float(high - low) / NORMAL_QUARTILES


def _outlier(table: Table, name: str, away: np.ndarray, narrow: float) -> str:
    away = np.abs(np.nan_to_num(away))
    row = int(away.argmax())
    return (
        f"{table.cell(name, row)} is {away[row] / narrow:.2g} times the spread of most rows away from them: check its unit, "
        "or remove the row."
    )


def _fit_category(table: Table, name: str, tasks: np.ndarray, gaps: bool, some: str | None) -> Column:
    """Return the encoding of a category. `some` is a level that is a number with more beside it, if most levels are."""
    codes, found = table.coded(name, missing=gaps)
    counts = np.bincount(codes[codes >= 0], minlength=len(found))
    rows, count = len(codes), len(np.unique(tasks))
    where = f"{table.name}, categorical column {name!r} has {len(found)} levels in {rows} rows"
    why = f"most cells hold more than a number, such as {some!r}: write the numbers alone, with their unit in the column's name"
    if some is not None and len(found) > max(2, rows // 2):
        raise InputError(f"{where}, and {why}.")
    if some is not None:
        warnings.warn(f"column {name!r} is taken as words, and {why}, or list it as categorical.", stacklevel=3)
    if len(found) > max(2, rows // 2):
        raise InputError(f"{where}: it looks like an id or free text; leave it out.")
    if len(found) == count > 2 and len(np.unique(np.stack([codes, tasks], 1), axis=0)) == count:
        raise InputError(f"{where}, one for each task: a new task's level is never known; leave it out.")
    order = given_order(table, name, found)
    levels = list(order or sorted(found))
    if len(levels) <= _MOST_LEVELS:
        note = f"{'ordered ' if order else ''}category of {len(levels)} levels: {listed(levels, 6)}"
        return Column(name, "category", levels=tuple(levels), gaps=gaps, ordered=bool(order and len(levels) > 1), note=note)
    often = sorted(range(len(found)), key=lambda i: (-counts[i], found[i]))[: _MOST_LEVELS - 1]
    levels = sorted(found[i] for i in often)
    rare = rows - int(counts[often].sum())
    warnings.warn(
        f"column {name!r} has {len(found)} levels: the {len(levels)} most frequent are told apart, and those of the other "
        f"{rare} rows are one level, 'other'.",
        stacklevel=2,
    )
    note = f"category of {len(found)} levels, of which the {len(levels)} most frequent are told apart"
    return Column(name, "category", levels=tuple(levels), gaps=gaps, rest=True, note=note)


def given_order(table: Table, name: str, found: list[str]) -> tuple[str, ...]:
    """Return the levels `found` in column `name` of `table`, in the order of its type. There are none without an order."""
    kind = table.column(name).type
    if not (pa.types.is_dictionary(kind) and kind.ordered):
        return ()
    levels = [label(as_text(level)) for level in table.column(name).dictionary.to_pylist()]
    return tuple(level for level in levels if level in set(found))


def _number_note(column: Column, values: np.ndarray) -> str:
    if column.form == "boolean":
        return "true or false, as 1 and 0"
    if column.form == "date":
        order = ", day first" if column.day_first else ""
        return f"date, in days since {dates.shown_date(int(column.origin))}{order}"
    if column.form == "clock":
        return "time, in hours"
    ends = values[[0, -1]]
    if column.origin:
        start = column.origin + int(ends[0]) if isinstance(column.origin, int) else column.origin + ends[0]
        return f"number, {start} and up to {np.ptp(ends):.4g} more"
    ends = np.exp(ends) if column.log else ends
    return f"{'logarithm of a ' if column.log else ''}number, {ends[0]:.4g} to {ends[1]:.4g}"


def _label_note(few: np.ndarray, rows: int) -> str:
    """Return a question to the user if the different numbers `few` of an input, in so many `rows`, could be labels."""
    labels = len(few) <= _FEW < rows and not np.any(few % 1)
    return f"; {len(few)} values: list it as categorical if they are labels" if labels else ""
