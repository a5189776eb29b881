"""Rows of new tasks: which rows are measured, and which rows are to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bmaml.errors import InputError
from bmaml.tables.columns import Column
from bmaml.tables.schema import Schema
from bmaml.tables.table import Table, listed


@dataclass(frozen=True)
class NewTask:
    """A task's measured rows (`given`) and the rows to predict (`asked`); either may be empty.

    `name` is the task's label, or "" in a table without a task column. `labels` are its texts in the columns that name it.
    """

    name: str
    given: Table
    asked: Table
    labels: tuple[str, ...] = ()


def new_tasks(table: Table, schema: Schema, at: Table | None = None) -> list[NewTask]:
    """Return the tasks of `table` in order of appearance. Rows with empty outputs are to be predicted, and the others are
    given.

    `schema` says what the columns mean. With `at`, the rows of `at` are to be predicted instead: for every task, or for the
    task that the row's task column names. If `at` lacks an input that is constant within a task, the value comes from the
    task's own rows. A table without a task column is one task.
    Raises: InputError for a row with some outputs and not others, a missing column, or a task that only `at` has.
    """
    table, at = schema.as_read(table), None if at is None else schema.as_read(at)
    open_ = _open_rows(table, schema)
    named = schema.names_task(table)
    codes, names = schema.tasks(table) if named else (np.zeros(len(table), np.int64), [""])
    asked = None if at is None else _asked_codes(at, table, schema, names)
    tasks = []
    for code, name in enumerate(names):
        own = table.take(codes == code)
        labels = tuple(own.shown(column)[0] for column in schema.task_columns) if named else ()
        here = open_[codes == code]
        wanted = own.take(here) if at is None or asked is None else _asked_at(at, asked, code, name, own, schema)
        tasks.append(NewTask(name, own.take(~here), wanted, labels))
    return tasks


def moving_inputs(tasks: list[NewTask], schema: Schema) -> list[Column]:
    """Return the inputs of `schema` that change within one of the `tasks`. The other inputs (such as a patient's age)
    tell tasks apart.
    """
    return [column for column in schema.inputs if any(len(_values(task, column.name)) > 1 for task in tasks)]


def _values(task: NewTask, name: str) -> set[str]:
    return {text for part in (task.given, task.asked) for text in part.coded(name, missing=True)[1]}


def _open_rows(table: Table, schema: Schema) -> np.ndarray:
    """Return which rows have no outputs yet."""
    names = [column.name for column in schema.outputs]
    empty = np.stack([table.empty(name) for name in names])
    mixed = np.flatnonzero(empty.any(0) & ~empty.all(0))
    if len(mixed):
        without = names[int(empty[:, mixed[0]].argmax())]
        raise InputError(
            f"{table.name}, {table.place(mixed[0])} has no {without!r} but another output: "
            f"fill in all of {listed(names)}, or leave all empty to have them predicted."
        )
    return empty[0]


def _asked_codes(at: Table, table: Table, schema: Schema, names: list[str]) -> np.ndarray:
    """Return the place in `names` of the task that each row of `at` asks for, -1 if a row asks for every task."""
    if not schema.names_task(at) or not schema.names_task(table):
        return np.full(len(at), -1)
    codes, asked = schema.tasks(at)
    unknown = sorted(set(asked) - set(names))
    if unknown:
        raise InputError(
            f"{at.name} asks for task {unknown[0]!r}, which {table.name} does not have: "
            f"add a row of it there (with empty outputs where nothing is measured yet)."
        )
    return np.array([names.index(name) for name in asked])[codes]


def _asked_at(at: Table, asked: np.ndarray, code: int, name: str, task_rows: Table, schema: Schema) -> Table:
    rows = at.take((asked == code) | (asked == -1))
    for column in schema.inputs:
        if column.name not in rows.columns:
            _check_constant(at, task_rows, column.name, name)
            rows = rows.borrow(task_rows, column.name, 0)
    return rows


def _check_constant(at: Table, task_rows: Table, column: str, task: str) -> None:
    if column not in task_rows.columns:
        at.column(column)
    codes = task_rows.coded(column, missing=True)[0]
    if len(set(codes.tolist())) > 1:
        where = f"task {task!r} of {task_rows.name}" if task else task_rows.name
        raise InputError(f"{at.name} has no column {column!r}, and it is not constant in {where}: add the column.")
