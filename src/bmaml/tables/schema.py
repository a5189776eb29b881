"""What a table's columns mean and how they become arrays. A schema is fitted on training tasks and saved with the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.tables.columns import Column, fit_input, fit_output
from bmaml.tables.table import Table


@dataclass(frozen=True)
class Schema:
    """The columns of a table and their encodings.

    Everything inside a model is standardised. The `decode_*` methods return answers to the table's units.

    - `task`: name of the task column.
    - `inputs`, `outputs`: encodings of the columns.
    - `order`: name of the column that orders a task's rows, or None.
    """

    task: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    order: str | None = None

    @property
    def width(self) -> int:
        """Number of encoded input columns."""
        return sum(column.width for column in self.inputs)

    @property
    def means(self) -> np.ndarray:
        """Mean of each output, in its units."""
        return np.array([column.mean for column in self.outputs])

    @property
    def scales(self) -> np.ndarray:
        """Standard deviation of each output, in its units."""
        return np.array([column.scale for column in self.outputs])

    def encode(self, table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return `x` (rows, width) and `y` (rows, outputs) of `table` as float32, and each row's task label.

        Raises: InputError that names file, column and line of a cell that does not fit.
        """
        return self.encode_x(table), self.encode_y(table), table.texts(self.task)

    def encode_x(self, table: Table) -> np.ndarray:
        """Return the standardised inputs of `table`, float32 of shape `(rows, width)`."""
        return np.concatenate([column.encode(table) for column in self.inputs], 1).astype(np.float32)

    def encode_y(self, table: Table) -> np.ndarray:
        """Return the standardised outputs of `table`, float32 of shape `(rows, outputs)`."""
        return np.concatenate([column.encode(table) for column in self.outputs], 1).astype(np.float32)

    def decode_value(self, value: ArrayLike) -> np.ndarray:
        """Return standardised means, quantiles or draws `value`, of shape `(..., outputs)`, in the table's units."""
        return np.asarray(value, np.float64) * self.scales + self.means

    def decode_std(self, std: ArrayLike) -> np.ndarray:
        """Return standardised standard deviations `std` in the table's units."""
        return np.asarray(std, np.float64) * self.scales

    def decode_log_prob(self, log_prob: ArrayLike) -> np.ndarray:
        """Return log densities `log_prob` of standardised targets (joint over outputs, in nats) as densities in the table's
        units.

        The change of units subtracts log(scale) for each output, so a density per metre differs from one per centimetre.
        """
        return np.asarray(np.asarray(log_prob, np.float64) - np.log(self.scales).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the schema as values that JSON can hold."""
        inputs, outputs = ([column.to_json() for column in part] for part in (self.inputs, self.outputs))
        return {"task": self.task, "inputs": inputs, "outputs": outputs, "order": self.order}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Schema:
        """Return the schema from `values`, which `to_json` wrote.

        Raises: InputError if the values are not those of a schema.
        """
        try:
            inputs, outputs = (tuple(_column(c) for c in values[part]) for part in ("inputs", "outputs"))
            return Schema(values["task"], inputs, outputs, values["order"])
        except (KeyError, TypeError) as error:
            raise InputError(f"the saved schema is damaged ({error}): fit and save the model again.") from error


@dataclass(frozen=True)
class ColumnRoles:
    """What each of a table's columns is for.

    - `task`: name of the task column.
    - `x`, `y`: names of the input and output columns. Inputs of text become categories.
    - `order`: name of the column that sorts each task's rows.
    - `categorical`: further inputs that are categories.
    - `log`: inputs whose logarithm is taken.
    """

    task: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    order: str | None = None
    categorical: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


def _column(values: dict[str, Any]) -> Column:
    fields: dict[str, Any] = values | {"levels": tuple(values["levels"])}
    return Column(**fields)


def fit_schema(table: Table, roles: ColumnRoles) -> Schema:
    """Return the schema of `table` with these `roles` of its columns.

    Standardisation and levels come from the table's rows, so give the rows of training tasks.

    Raises: InputError for a missing, repeated or unfit column.
    """
    _check_names(table, roles)
    labels = table.texts(roles.task).tolist()
    inputs = tuple(
        fit_input(table, name, categorical=name in roles.categorical, log=name in roles.log, tasks=labels) for name in roles.x
    )
    schema = Schema(roles.task, inputs, tuple(fit_output(table, name) for name in roles.y), roles.order)
    if roles.order is not None:
        table.numbers(roles.order)
    return schema


def _check_names(table: Table, roles: ColumnRoles) -> None:
    if not roles.x or not roles.y:
        raise InputError(f"{'no input' if not roles.x else 'no output'} column was named: name one for x and one for y.")
    named = [roles.task, *roles.x, *roles.y]
    for name in [*named, *([] if roles.order is None else [roles.order])]:
        table.column(name)
    for name in named:
        if named.count(name) > 1:
            raise InputError(f"column {name!r} is named twice among task, inputs and outputs: name it once.")
    for name in [*roles.categorical, *roles.log]:
        if name not in roles.x:
            raise InputError(f"column {name!r} has an option (categorical or log) and is no input: add it to x.")
