"""From an encoded table to tasks, and the split of tasks into train, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bmaml.data import Data, stack
from bmaml.errors import InputError
from bmaml.tables.schema import Schema
from bmaml.tables.table import Table, listed
from bmaml.tasks.base import FixedTasks, Selection
from bmaml.tasks.shots import Shots, shot_counts

# A task of more rows is thinned: every task is padded to the longest, which costs memory and time.
_MOST_ROWS = 512
_MOST_SHOTS = 10
_MOST_JUDGED = 4
# A forecast is asked of far rows too, and those past its queries would never be trained on.
_QUERIES = {"random": 20, "first": 32}


def split_tasks(
    groups: Sequence[str] | np.ndarray,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    by: Sequence[str] | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three boolean masks over rows (train, validation, test); all rows of a task fall on one side.

    `groups` is each row's task; with `by`, a coarser label of each row, all tasks that share it fall on one side.
    Labels are ordered by a hash of seed and label, so neither the rows' order nor a NumPy version changes the split.
    Raises: InputError for fewer than three tasks (or labels), or a task that has rows of two labels.
    """
    groups = np.asarray(groups).astype(str)
    units = groups if by is None else _coarse(groups, np.asarray(by).astype(str))
    labels = sorted(set(units.tolist()), key=lambda label: hashlib.sha256(f"{seed}:{label}".encode()).digest())
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
    """Return how many labels each side gets: at least one where its share is above 0, the rounding to train."""
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
    """Return each task's row numbers, tasks in order of appearance, rows sorted by the schema's order column."""
    labels = table.texts(schema.task)
    rows = np.arange(len(table))
    if schema.order is not None:
        rows = np.argsort(table.numbers(schema.order), kind="stable")
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    parts = np.split(rows[np.argsort(codes[rows], kind="stable")], np.cumsum(np.bincount(codes))[:-1])
    first = np.argsort([part.min() for part in parts])
    return {str(names[i]): parts[i] for i in first}


def default_shots(sizes: Sequence[int], selection: Selection = "random") -> tuple[int, ...]:
    """Return the range of shot counts for tasks of these sizes: 0 to 10, or to one less than the median task has.

    With 0 among them, what is expected of a task before any point of it is learned, too, and not left to chance; a
    forecast (`selection="first"`) starts at 1.
    """
    return tuple(range(0 if selection == "random" else 1, max(1, min(_MOST_SHOTS, int(np.median(sizes)) - 1)) + 1))


def some_shots(shots: Sequence[int], longest: int) -> list[int]:
    """Return the shot counts to judge at: 0 if trained with, and up to four of the others, spread over their range."""
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
    """Return a table's tasks, encoded and padded to the longest (512 rows at most, longer ones thinned).

    `shots` is how many rows are given, one count or several; None fits a range to the table. `queries` is how many rows
    are asked for (None: 20, and 32 of a forecast, or all there are). `selection="first"` gives the first rows of a task
    (by the schema's order column), so that the model learns to forecast. `training=False` leaves out the checks that
    concern a whole table: at least 3 tasks, and one longer than the largest shot count.
    Raises: InputError where a cell does not fit, or a task has too few rows, naming it.
    """
    if selection not in _QUERIES:
        raise InputError(f"unknown selection {selection!r}: use 'random' or 'first'.")
    x, y, _ = schema.encode(table)
    parts = task_rows(table, schema)
    shots = default_shots([len(rows) for rows in parts.values()], selection) if shots is None else shot_counts(shots)
    longest = max(len(rows) for rows in parts.values())
    queries = max(1, min(_QUERIES[selection], longest - min(shots, default=0))) if queries is None else queries
    _check_shortest(table, schema, parts, shots, queries)
    if training:
        _check_whole(table, schema, parts, shots)
    thinned = [_thin(rows, max(shots), selection) for rows in parts.values()]
    return FixedTasks(stack([_data(x[rows], y[rows]) for rows in thinned]), shots, queries, selection)


def _data(x: np.ndarray, y: np.ndarray) -> Data:
    # NumPy leaves: stack joins them on the host, where a copy to the device for each task would make thousands.
    return Data(x, y, np.ones(len(x), np.float32))  # type: ignore[arg-type]


def _thin(rows: np.ndarray, shots: int, selection: Selection) -> np.ndarray:
    """Return at most 512 rows, evenly spaced; a forecast keeps the first rows whole, since they are its support."""
    if len(rows) <= _MOST_ROWS:
        return rows
    head = min(shots, _MOST_ROWS // 2) if selection == "first" else 0
    spaced = np.linspace(head, len(rows) - 1, _MOST_ROWS - head).astype(int)
    return rows[np.concatenate([np.arange(head), spaced])]


def _check_shortest(table: Table, schema: Schema, parts: dict[str, np.ndarray], shots: tuple[int, ...], queries: int) -> None:
    if not shots or min(shots) < 0 or queries < 1:
        raise InputError(f"shots are {list(shots)} and queries {queries}: give counts of at least 0 and 1.")
    name, rows = min(parts.items(), key=lambda item: len(item[1]))
    where = f"{table.name}, task {name!r} (column {schema.task!r}, {table.place(int(rows.min()))}) has {len(rows)}"
    if len(rows) < 2:
        raise InputError(f"{where} row: a task needs one row to adapt to and one to predict; remove it or add rows.")
    if len(rows) <= min(shots):
        raise InputError(
            f"{where} rows and shots are {min(shots)}: use at most {len(rows) - 1} shots, or remove tasks so short."
        )


def _check_whole(table: Table, schema: Schema, parts: dict[str, np.ndarray], shots: tuple[int, ...]) -> None:
    if len(parts) < 3:
        raise InputError(
            f"{table.name} has {len(parts)} tasks in column {schema.task!r} ({listed(list(parts))}): give at least 3, "
            "since a prior is learned over tasks."
        )
    longest = max(len(rows) for rows in parts.values())
    if longest <= max(shots):
        raise InputError(f"{table.name} has no task of over {longest} rows and shots go up to {max(shots)}: use fewer.")
