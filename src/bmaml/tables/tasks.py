"""Tasks from an encoded table, and the split of tasks into training, validation and test."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.io.files import digest
from bmaml.tables.limits import with_limits
from bmaml.tables.schema import Schema
from bmaml.tables.table import Table, listed
from bmaml.tasks.base import FixedTasks, Selection
from bmaml.tasks.shots import Shots, shot_counts

# A task with more rows is thinned. Every task is padded to the longest one, which costs memory and time.
_MOST_ROWS = 512
_MOST_SHOTS = 10
_MOST_JUDGED = 4
# A forecast must also predict far rows. Rows beyond its queries would never be trained on.
_QUERIES = {"random": 20, "first": 32}


def split_tasks(
    groups: Sequence[str] | np.ndarray,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    by: Sequence[str] | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three boolean masks over rows (training, validation, test). All rows of a task fall on one side.

    Labels are ordered by a hash of seed and label. So the split depends neither on the order of the rows nor on the version of
    NumPy.

    - `groups`: the task of each row.
    - `shares`: shares of the three sides.
    - `seed`: seed of the split.
    - `by`: a coarser label of each row. All tasks that share a label fall on one side.

    Raises: InputError for fewer than three tasks (or labels), or a task that has rows of two labels.
    """
    groups = np.asarray(groups).astype(str)
    units = groups if by is None else _coarse(groups, np.asarray(by).astype(str))
    labels = sorted(set(units.tolist()), key=lambda label: digest(f"{seed}:{label}"))
    if min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
        raise InputError(f"the shares of train, validation and test are {shares}: give three that add to 1.")
    if len(labels) < 3:
        what = "tasks" if by is None else "groups to split by"
        raise InputError(
            f"there are {len(labels)} {what} ({listed(labels)}): give at least 3, since a prior is learned over tasks."
        )
    counts = _counts(len(labels), shares)
    cuts = np.split(np.array(labels), np.cumsum(counts)[:-1])
    train, validation, test = (np.isin(units, cut) for cut in cuts)
    return train, validation, test


def _counts(total: int, shares: tuple[float, float, float]) -> list[int]:
    """Return how many labels each side gets: at least one if its share is above 0. Training gets the rest from rounding."""
    held = [max(1, round(total * share)) if share else 0 for share in shares[1:]]
    return [total - sum(held), *held]


def _coarse(groups: np.ndarray, by: np.ndarray) -> np.ndarray:
    pairs = np.unique(np.stack([groups, by], 1), axis=0)
    twice = pairs[1:, 0][pairs[1:, 0] == pairs[:-1, 0]]
    if len(twice):
        raise InputError(
            f"task {str(twice[0])!r} has rows of several labels to split by: give a column that is constant in a task."
        )
    return by


def task_rows(table: Table, schema: Schema) -> dict[str, np.ndarray]:
    """Return the row numbers of each task of `table`, in the order that `schema` gives them (`Schema.rows`)."""
    return schema.rows(table)


def measured(
    table: Table, outputs: Sequence[str], levels: Sequence[str] = (), upper: str | None = None, partial: bool = False
) -> Table:
    """Return the rows of `table` that have a value in each of the columns `outputs`, with one warning if others are left out.

    With `partial` a row with a value in one of the columns is enough.

    `levels` are those of an ordered outcome: a text such as "none" is then no missing value. `upper` is the column with the
    upper ends of the outcome, if there is one.
    Raises: InputError if no row has, or with `partial` if one of the columns has no value.
    """
    if upper is not None:
        table = with_limits(table, outputs[0], upper)
    if levels:
        words, own = {level.strip().lower() for level in levels}, table.reading
        kept = {name: tuple(text for text in own.of(name) if text not in words) for name in outputs}
        table = replace(table, reading=replace(own, columns=dict(own.columns) | kept))
    if partial:
        return _partly_measured(table, outputs)
    counts = {name: table.empty(name) for name in outputs}
    none = np.any(list(counts.values()), axis=0)
    if not none.any():
        return table
    if none.all():
        raise InputError(f"{table.name} has no row with a value in {listed(list(outputs))}: give the column with the outcomes.")
    warnings.warn(f"{table.name} has no outcome {_gaps(counts)} of {len(none)} rows: these rows are left out.", stacklevel=2)
    return table.take(~none)


def _partly_measured(table: Table, outputs: Sequence[str]) -> Table:
    """Return the rows of `table` that have a value in one of the columns `outputs`, with warnings that say what lacks.

    Raises: InputError if one of the columns has no value.
    """
    counts = {name: table.empty(name) for name in outputs}
    for name, empty in counts.items():
        if empty.all():
            raise InputError(f"{table.name} has no row with a value in {name!r}: give the columns with the outcomes.")
    none = np.all(list(counts.values()), axis=0)
    if none.any():
        lacking = f"has none of the outcomes in {int(none.sum())} of {len(none)} rows"
        warnings.warn(f"{table.name} {lacking}: these rows are left out.", stacklevel=3)
        table, counts = table.take(~none), {name: empty[~none] for name, empty in counts.items()}
    if gaps := _gaps(counts):
        used = "each row is used for the outcomes that it has"
        warnings.warn(f"{table.name} has no outcome {gaps} of {int((~none).sum())} rows: {used}.", stacklevel=3)
    return table


def _gaps(counts: Mapping[str, np.ndarray]) -> str:
    """Return in words in how many rows each outcome is empty, for those that are empty somewhere."""
    return ", ".join(f"{name!r} in {int(empty.sum())}" for name, empty in counts.items() if empty.any())


def default_shots(sizes: Sequence[int], selection: Selection = "random") -> tuple[int, ...]:
    """Return the default shot counts: 0 to 10, or to one less than the median of the tasks' `sizes`.

    A count of 0 trains the prediction before any point. A forecast (`selection="first"`) starts at 1. Tasks of one row have no
    say in the median.
    """
    several = [size for size in sizes if size > 1] or [1]
    return tuple(range(0 if selection == "random" else 1, max(1, min(_MOST_SHOTS, int(np.median(several)) - 1)) + 1))


def informed_shots(schema: Schema, shots: Sequence[int]) -> tuple[int, ...]:
    """Return `shots` without 0 if `schema` takes out the level of an outcome: before any row, the spread of levels answers."""
    if all(column.level is None for column in schema.outputs):
        return tuple(shots)
    return tuple(count for count in shots if count) or (1,)


def some_shots(shots: Sequence[int], longest: int) -> list[int]:
    """Return the shot counts to score at, from the trained `shots`: 0 if trained, and up to four others spread over the range.

    Counts that leave no query in a task of `longest` rows are left out.
    """
    some = sorted({int(count) for count in shots if 0 < count < longest})
    places = np.unique(np.linspace(0, len(some) - 1, _MOST_JUDGED).round().astype(int)) if some else []
    return [0] * (0 in shots) + [some[place] for place in places]


def table_tasks(
    table: Table,
    schema: Schema,
    *,
    shots: Shots | None = None,
    queries: int | None = None,
    selection: Selection = "random",
    training: bool = True,
) -> FixedTasks:
    """Return the tasks of a table, encoded and padded to the longest task.

    Tasks of more than 512 rows are thinned. Tasks of one row tell of the prediction before any row. Tasks with no more rows
    than the smallest shot count are left out with a warning.

    - `table`: the rows.
    - `schema`: says what the columns mean.
    - `shots`: rows in the support, one count or several; None fits a range to the table.
    - `queries`: rows in the query; None takes 20 (32 for a forecast), or as many as there are.
    - `selection`: `"random"` draws the support; `"first"` takes the first rows by the schema's order column, so that the model
      learns to forecast.
    - `training`: False skips the checks of a whole table: at least 3 tasks, and one longer than the largest shot count.

    Raises: InputError if a cell does not fit, or every task has too few rows. The message names the cell or task.
    """
    if selection not in _QUERIES:
        raise InputError(f"unknown selection {selection!r}: use 'random' or 'first'.")
    x, y = schema.encode(table)
    parts = task_rows(table, schema)
    sizes = [len(rows) for rows in parts.values()]
    # A forecast learns from tasks of one row only if it also learns the prediction before any row.
    lone = (0,) if shots is None and min(sizes) == 1 else ()
    shots = (*lone, *default_shots(sizes, selection)) if shots is None else shot_counts(shots)
    shots = informed_shots(schema, tuple(dict.fromkeys(shots)))
    longest = max(sizes)
    queries = max(1, min(_QUERIES[selection], longest - min(shots, default=0))) if queries is None else queries
    parts = _long_enough(table, schema, parts, shots, queries)
    if training:
        _check_whole(table, schema, parts, shots)
        _say_thinned(table, parts)
    thinned = [_thin(rows, max(shots), selection) for rows in parts.values()]
    return FixedTasks(_padded(x, y, thinned), shots, queries, selection)


def _padded(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray]) -> Data:
    """Return the rows of each task, padded to the longest task. The host does the work, with one copy to the device."""
    sizes = np.array([len(rows) for rows in parts])
    rows, task = np.concatenate(parts), np.repeat(np.arange(len(parts)), sizes)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    def column(values: np.ndarray) -> jax.Array:
        out = np.zeros((len(parts), sizes.max(), *values.shape[1:]), values.dtype)
        out[task, place] = values
        return jnp.asarray(out)

    return Data(column(x[rows]), column(y[rows]), column(np.ones(len(rows), np.float32)))


def _say_thinned(table: Table, parts: dict[str, np.ndarray]) -> None:
    sizes = np.array([len(rows) for rows in parts.values()])
    long = int((sizes > _MOST_ROWS).sum())
    if long:
        warnings.warn(
            f"{table.name} has {long} tasks of more than {_MOST_ROWS} rows: {_MOST_ROWS} rows of each are used, spread evenly "
            f"({int(np.minimum(sizes, _MOST_ROWS).sum()):,} of all {len(table):,} rows).",
            stacklevel=2,
        )


def _thin(rows: np.ndarray, shots: int, selection: Selection) -> np.ndarray:
    """Return at most 512 rows, evenly spaced. A forecast keeps all of its first rows, because they are its support."""
    if len(rows) <= _MOST_ROWS:
        return rows
    head = min(shots, _MOST_ROWS // 2) if selection == "first" else 0
    spaced = np.linspace(head, len(rows) - 1, _MOST_ROWS - head).astype(int)
    return rows[np.concatenate([np.arange(head), spaced])]


def _long_enough(
    table: Table, schema: Schema, parts: dict[str, np.ndarray], shots: tuple[int, ...], queries: int
) -> dict[str, np.ndarray]:
    """Return the tasks with more rows than the smallest shot count, with one warning that names the others."""
    if not shots or min(shots) < 0 or queries < 1:
        raise InputError(f"shots are {list(shots)} and queries {queries}: give counts of at least 0 and 1.")
    longest = max(len(rows) for rows in parts.values())
    if longest < 2:
        raise InputError(
            f"{table.name} has one row in every task of column {schema.task!r}: give the column of what several rows share."
        )
    if longest <= min(shots):
        raise InputError(
            f"{table.name}, column {schema.task!r} has no task of more than {longest} rows and shots are {min(shots)}: use at "
            f"most {longest - 1} shots, or give longer tasks."
        )
    short = [name for name, rows in parts.items() if len(rows) <= min(shots)]
    if short:
        warnings.warn(
            f"{table.name} has {len(short)} of {len(parts)} tasks with no more than {min(shots)} rows ({listed(short, 3)}), so "
            "that no row is left to predict: they are left out.",
            stacklevel=3,
        )
    return {name: rows for name, rows in parts.items() if len(rows) > min(shots)}


def _check_whole(table: Table, schema: Schema, parts: dict[str, np.ndarray], shots: tuple[int, ...]) -> None:
    if len(parts) < 3:
        raise InputError(
            f"{table.name} has {len(parts)} tasks in column {schema.task!r} ({listed(list(parts))}): give at least 3, "
            "since a prior is learned over tasks."
        )
    longest = max(len(rows) for rows in parts.values())
    if longest <= max(shots):
        raise InputError(f"{table.name} has no task of over {longest} rows and shots go up to {max(shots)}: use fewer.")
