"""Rows of new tasks: which rows are measured, and which rows are to be predicted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.tables.columns import Column
from bmaml.tables.schema import Schema
from bmaml.tables.table import Table, listed

# Tasks and rows that are taken out of a table together. Both bound the memory that answers take.
_TASKS, _ROWS = 2048, 65_536


@dataclass(frozen=True)
class NewTask:
    """A task's measured rows (`given`) and the rows to predict (`asked`); either may be empty.

    `name` is the task's label, or "" in a table without a task column. `labels` are its texts in the columns that name it.
    """

    name: str
    given: Table
    asked: Table
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewBatch:
    """Some tasks, the rows of all of them together.

    - `tasks`: the tasks' places among all tasks.
    - `given`, `given_by`: measured rows, and the place in `tasks` of the task of each. Rows of a task stand together.
    - `asked`, `asked_by`: the same of the rows to predict.
    """

    tasks: np.ndarray
    given: Table
    given_by: np.ndarray
    asked: Table
    asked_by: np.ndarray


@dataclass(frozen=True)
class NewRows:
    """The rows of all new tasks, which `new_rows` finds.

    - `table`, `at`: the tables, as the schema reads them.
    - `schema`: says what the columns mean.
    - `names`: the tasks' names in order of appearance ("" in a table without a task column).
    - `given`, `open`: the numbers of the rows of `table` that are measured, and of those that are not, task by task.
    - `given_ends`, `open_ends`: where each task ends in them.
    - `wanted`, `wanted_ends`: the same of the rows of `at`; None without `at`, or if it asks every task for all of its rows.
    - `first`: number of a row of each task.
    """

    table: Table
    at: Table | None
    schema: Schema
    names: list[str]
    given: np.ndarray
    given_ends: np.ndarray
    open: np.ndarray
    open_ends: np.ndarray
    wanted: np.ndarray | None
    wanted_ends: np.ndarray | None
    first: np.ndarray

    @property
    def asked_counts(self) -> np.ndarray:
        """How many rows each task is asked for."""
        if self.at is None:
            return np.diff(self.open_ends, prepend=0)
        if self.wanted_ends is None:
            return np.full(len(self.names), len(self.at))
        return np.diff(self.wanted_ends, prepend=0)

    @property
    def given_counts(self) -> np.ndarray:
        """How many measured rows each task has."""
        return np.diff(self.given_ends, prepend=0)

    @property
    def others(self) -> list[str]:
        """Names of the columns of the rows to predict that the schema does not know."""
        return self.schema.others(self.table if self.at is None else self.at)

    def labels(self, tasks: np.ndarray) -> list[pa.Array]:
        """Return the texts of the columns that name a task, column by column, for the tasks of these places."""
        if not self.schema.names_task(self.table):
            return []
        rows = self.table.take(self.first[tasks])
        return [rows.written(name) for name in self.schema.task_columns]

    def one(self, place: int) -> NewTask:
        """Return the task of that place by itself."""
        tasks = np.array([place])
        labels = tuple(texts[0].as_py() for texts in self.labels(tasks))
        own = self.table.take(_rows_of(self.given, self.given_ends, tasks)[0])
        return NewTask(self.names[place], own, self._asked(tasks, 0, None)[0], labels)

    def batches(self) -> Iterator[NewBatch]:
        """Yield the tasks that are asked for rows, in order. A task with very many rows comes several times, each time with
        some of them.
        """
        counts = self.asked_counts
        sizes = counts + self.given_counts
        start, asking = 0, np.flatnonzero(counts)
        while start < len(asking):
            within = np.searchsorted(np.cumsum(sizes[asking[start : start + _TASKS]]), _ROWS, side="right")
            tasks = asking[start : start + max(1, int(within))]
            given, given_by = _rows_of(self.given, self.given_ends, tasks)
            rows = self.table.take(given)
            # Only a task that comes alone can be asked for more rows than a batch has.
            for piece in range(0, int(counts[tasks].sum()), _ROWS) if len(tasks) == 1 else (0,):
                asked, asked_by = self._asked(tasks, piece, _ROWS if len(tasks) == 1 else None)
                yield NewBatch(tasks, rows, given_by, asked, asked_by)
            start += len(tasks)

    def _asked(self, tasks: np.ndarray, start: int, most: int | None) -> tuple[Table, np.ndarray]:
        """Return the rows that `tasks` are asked for, from `start` on and at most `most`, and the place of the task of each."""
        if self.at is None:
            rows, by = _rows_of(self.open, self.open_ends, tasks)
        elif self.wanted is None or self.wanted_ends is None:
            rows, by = np.tile(np.arange(len(self.at)), len(tasks)), np.repeat(np.arange(len(tasks)), len(self.at))
        else:
            rows, by = _rows_of(self.wanted, self.wanted_ends, tasks)
        cut = slice(start, None if most is None else start + most)
        rows, by = rows[cut], by[cut]
        if self.at is None:
            return self.table.take(rows), by
        asked = self.at.take(rows)
        for column in self.schema.needed:
            if column.name not in asked.columns:
                asked = asked.borrow(self.table, column.name, self.first[tasks][by])
        return asked, by


def new_rows(table: Table, schema: Schema, at: Table | None = None) -> NewRows:
    """Return the rows of the tasks of `table` in order of appearance. Rows with empty outputs are to be predicted, and the
    others are given. A row that lacks some of several outputs is both, if the model was fitted on such rows.

    `schema` says what the columns mean. With `at`, the rows of `at` are to be predicted instead: for every task, or for the
    task that the row's task column names. If `at` lacks an input that is constant within a task, the value comes from the
    task's own rows. A table without a task column is one task.
    Raises: InputError for a row with some outputs and not others, a missing column, or a task that only `at` has.
    """
    table, at = schema.as_read(table), None if at is None else schema.as_read(at)
    given_, open_ = _parted(table, schema)
    codes, names = schema.tasks(table) if schema.names_task(table) else (np.zeros(len(table), np.int64), [""])
    given, given_ends = _by_task(np.flatnonzero(given_), codes, len(names))
    free, open_ends = _by_task(np.flatnonzero(open_), codes, len(names))
    first = np.unique(codes, return_index=True)[1]
    wanted = None if at is None else _asked_codes(at, table, schema, names)
    if at is not None:
        for column in schema.needed:
            if column.name not in at.columns:
                _check_constant(at, table, column.name, codes, first, names)
    asked, ends = (None, None) if wanted is None else _by_task(np.arange(len(wanted)), wanted, len(names))
    return NewRows(table, at, schema, names, given, given_ends, free, open_ends, asked, ends, first)


def new_tasks(table: Table, schema: Schema, at: Table | None = None) -> list[NewTask]:
    """Return the tasks of `table`, one by one. `schema` and `at` are as in `new_rows`.

    Raises: InputError as `new_rows` does.
    """
    rows = new_rows(table, schema, at)
    return [rows.one(place) for place in range(len(rows.names))]


def moving_inputs(tasks: list[NewTask], schema: Schema) -> list[Column]:
    """Return the inputs of `schema` that change within one of the `tasks`. The other inputs (such as a patient's age)
    tell tasks apart.
    """
    return [column for column in schema.inputs if any(len(_values(task, column.name)) > 1 for task in tasks)]


def _values(task: NewTask, name: str) -> set[str]:
    return {text for part in (task.given, task.asked) for text in part.coded(name, missing=True)[1]}


def _rows_of(rows: np.ndarray, ends: np.ndarray, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the `rows` of some tasks, task by task, and the place in `tasks` of the task of each; `ends` is where each task
    ends in `rows`.
    """
    start = np.where(tasks > 0, ends[tasks - 1], 0)
    counts = ends[tasks] - start
    shift = np.repeat(start - (np.cumsum(counts) - counts), counts)
    return rows[shift + np.arange(len(shift))], np.repeat(np.arange(len(tasks)), counts)


def _by_task(rows: np.ndarray, codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `rows` task by task, in their order within a task, and where each of `count` tasks ends."""
    own = codes[rows]
    return rows[np.argsort(own, kind="stable")], np.cumsum(np.bincount(own, minlength=count))


def _parted(table: Table, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have outputs, and which have none yet or lack some."""
    names = [column.name for column in schema.outputs]
    without = [name for name in names if name not in table.columns]
    if without:
        raise InputError(
            f"{table.name} has no column {without[0]!r}, the outcome: add it, with what was measured, and empty in the rows to "
            "predict."
        )
    empty = np.stack([table.empty(name) for name in names])
    if schema.partial:
        return np.asarray(~empty.all(0)), np.asarray(empty.any(0))
    mixed = np.flatnonzero(empty.any(0) & ~empty.all(0))
    if len(mixed):
        without = names[int(empty[:, mixed[0]].argmax())]
        raise InputError(
            f"{table.name}, {table.place(mixed[0])} has no {without!r} but another output: "
            f"fill in all of {listed(names)}, or leave all empty to have them predicted."
        )
    return ~empty[0], empty[0]


def _asked_codes(at: Table, table: Table, schema: Schema, names: list[str]) -> np.ndarray | None:
    """Return the place in `names` of the task that each row of `at` asks for, None if each row asks for every task."""
    if not schema.names_task(at) or not schema.names_task(table):
        return None
    codes, asked = schema.tasks(at)
    unknown = sorted(set(asked) - set(names))
    if unknown:
        raise InputError(
            f"{at.name} asks for task {unknown[0]!r}, which {table.name} does not have: "
            f"add a row of it there (with empty outputs where nothing is measured yet)."
        )
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[name] for name in asked])[codes]


def _check_constant(at: Table, table: Table, column: str, codes: np.ndarray, first: np.ndarray, names: list[str]) -> None:
    """Check that the input `column`, which `at` lacks, is constant within each task of `table`."""
    if column not in table.columns:
        at.column(column)
    values = table.coded(column, missing=True)[0]
    changed = codes[values != values[first][codes]]
    if len(changed):
        task = names[changed.min()]
        where = f"task {task!r} of {table.name}" if task else table.name
        raise InputError(f"{at.name} has no column {column!r}, and it is not constant in {where}: add the column.")
