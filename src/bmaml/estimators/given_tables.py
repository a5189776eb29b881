"""Arrays and tables as `fit` takes them: which columns are the task, the inputs and the outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.estimators.seen import sketch
from bmaml.io.checked import as_tuple
from bmaml.tables import ColumnRoles, Schema, Table, TableLike, fit_schema, measured, read_table
from bmaml.tables.outcomes import say_spikes
from bmaml.tables.read import DataFrame
from bmaml.tables.table import as_array
from bmaml.tasks.base import FixedTasks


def named_table(
    X: TableLike, y: str | Sequence[str] | None, task: str | Sequence[str] | None, x: str | Sequence[str]
) -> tuple[Table, ColumnRoles]:
    """Return the table `X`, and the columns that are named as its `task`, its inputs `x` and its outputs `y`.

    Raises: InputError if the task or the outputs are not named.
    """
    if task is None:
        raise InputError(
            "the task of each row is missing: give groups= with arrays (to scikit-learn's tools params={'groups': ...}, with "
            "sklearn.set_config(enable_metadata_routing=True)) or task= with a table."
        )
    if y is None:
        raise InputError("give y=, the names of the table's output columns, and x=, those of its inputs.")
    inputs, outputs = (found if isinstance(found := as_tuple(names), tuple) else (found,) for names in (x, y))
    return read_table(X), ColumnRoles(as_tuple(task), inputs, outputs)


def sketches(tasks: FixedTasks) -> list[str]:
    """Return a sketch of the rows of each of the `tasks`."""
    x, y, mask = (np.asarray(part) for part in (tasks.rows.x, tasks.rows.y, tasks.rows.mask))
    return [sketch(np.concatenate([x[i], y[i]], 1)[mask[i] > 0]) for i in range(len(mask))]


def array_table(
    X: TableLike | ArrayLike | None, y: ArrayLike | None, groups: ArrayLike, sides: Mapping[str, str | None]
) -> tuple[Table, ColumnRoles]:
    """Return arrays as a table with the columns x0, x1, ... of `X`, y0, y1, ... of `y`, and task. Columns of a data frame and a
    series with a name keep their names.

    `groups` holds the task of each row. `sides` names columns of `X` with what else is known of a row, which are no inputs.
    Raises: InputError if the targets are missing, or a name is taken.
    """
    if y is None:
        raise InputError("y is missing: give the targets of the rows of X.")
    inputs: dict[str, Any] = {}
    if X is not None:
        inputs |= read_table(X, "X").columns if isinstance(X, Table | DataFrame | Mapping | PathLike) else columns_of(X, "x")
    outputs = columns_of(y, "y")
    name = getattr(y, "name", None)
    if isinstance(name, str) and name.strip() and name not in (*inputs, "task") and len(outputs) == 1:
        outputs = dict.fromkeys([name], *outputs.values())
    taken = [name for name in inputs if name in outputs or name == "task"]
    if taken:
        raise InputError(f"X has a column {taken[0]!r}, a name that is kept for targets and tasks: rename it.")
    table = read_table(inputs | outputs | {"task": np.asarray(groups)}, "the data")
    return table, ColumnRoles("task", tuple(name for name in inputs if name not in sides.values()), tuple(outputs))


def measured_rows(table: Table, roles: ColumnRoles, *, assumed: bool) -> tuple[Table, Schema]:
    """Return the rows of `table` with an outcome, and what their columns mean.

    - `roles`: what each column is for.
    - `assumed`: whether the user named no family. If `roles` has one then, it is that of the method, which may not fit.

    Raises: InputError for a column that does not fit, or if no row has an outcome.
    """
    table = measured(table, roles.y, roles.levels, roles.upper, roles.partial)
    schema = fit_schema(table, roles)
    if assumed and roles.family is not None and len(roles.y) == 1:
        say_spikes(table, roles.y[0])
    return table, schema


def as_fitted(table: Table, schema: Schema) -> Table:
    """Return the `table` of some arrays with the columns of `schema`, in order.

    Raises: InputError if there are more or fewer.
    """
    own = [*schema.given, *(column.name for column in schema.outputs), *schema.task_columns]
    if len(own) != len(table.columns):
        given = f"X and y have {len(table.columns) - 1} columns"
        raise InputError(f"{given} and the model {len(own) - 1} ({', '.join(own[:-1])}): give as many, in this order.")
    if set(own) == set(table.columns):
        return table
    return replace(table, columns=dict(zip(own, table.columns.values(), strict=True)))


def columns_of(values: ArrayLike, letter: str) -> dict[str, np.ndarray]:
    """Return the array `values`, of one or two dimensions, as columns named `letter` and a number."""
    array = as_array(values, letter)
    if array.ndim not in (1, 2):
        raise InputError(f"{letter} has shape {array.shape}: give one or two dimensions, rows first.")
    array = array[:, None] if array.ndim == 1 else array
    return {f"{letter}{i}": array[:, i] for i in range(array.shape[1])}


def as_rows(X: TableLike | ArrayLike, schema: Schema) -> Table:
    """Return inputs `X` as a table. The columns of an array are the inputs of `schema` in order.

    Raises: InputError for an array of another shape.
    """
    if isinstance(X, Table | str | Mapping | PathLike | DataFrame):
        return read_table(X, "X")
    array = as_array(X, "X")
    names = schema.given
    array = array[:, None] if array.ndim == 1 and len(names) == 1 else array
    if array.ndim != 2 or array.shape[1] != len(names):
        raise InputError(
            f"X has shape {array.shape} and the model has {len(names)} inputs ({', '.join(names)}): give (rows, {len(names)})."
        )
    if not names and len(array):
        return Table("X", {}, np.arange(len(array)))
    return read_table({name: array[:, i] for i, name in enumerate(names)}, "X")


def with_outputs(table: Table, y: ArrayLike, schema: Schema) -> Table:
    """Return `table` with the targets `y` as the output columns of `schema`.

    Raises: InputError for targets of another shape.
    """
    array = np.asanyarray(y)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape != (len(table), len(schema.outputs)):
        raise InputError(
            f"y has shape {np.shape(y)} and X has {len(table)} rows: give one row of {len(schema.outputs)} for each."
        )
    return table.with_columns({c.name: array[:, i] for i, c in enumerate(schema.outputs)})
