"""What a table's columns mean and how they become arrays: fitted on training tasks, kept with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bmaml.errors import InputError
from bmaml.tables.columns import Column, fit_input, fit_output
from bmaml.tables.table import Table


@dataclass(frozen=True)
class Schema:
    """The task column, the encoded inputs and outputs, and the column that orders a task's rows (or None).

    Everything inside a model is standardised; `decode_*` bring its answers back to the table's units.
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
        """Return `x` (rows, width) and `y` (rows, outputs) as float32, and each row's task label.

        Raises: InputError naming file, column and line of what does not fit.
        """
        return self.encode_x(table), self.encode_y(table), table.texts(self.task)

    def encode_x(self, table: Table) -> np.ndarray:
        """Return the standardised inputs, float32 of shape `(rows, width)`."""
        return np.concatenate([column.encode(table) for column in self.inputs], 1).astype(np.float32)

    def encode_y(self, table: Table) -> np.ndarray:
        """Return the standardised outputs, float32 of shape `(rows, outputs)`."""
        return np.concatenate([column.encode(table) for column in self.outputs], 1).astype(np.float32)

    def decode_value(self, value: Any) -> np.ndarray:
        """Return standardised means, quantiles or draws, shape `(..., outputs)`, in the table's units."""
        return np.asarray(value, np.float64) * self.scales + self.means

    def decode_std(self, std: Any) -> np.ndarray:
        """Return standardised standard deviations in the table's units."""
        return np.asarray(std, np.float64) * self.scales

    def decode_log_prob(self, log_prob: Any) -> np.ndarray:
        """Return log-densities of standardised targets (joint over outputs, nats) as densities in the table's units.

        The Jacobian takes log(scale) off for each output, so a density per metre is not one per centimetre.
        """
        return np.asarray(log_prob, np.float64) - np.log(self.scales).sum()

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON-able values."""
        inputs, outputs = ([column.to_json() for column in part] for part in (self.inputs, self.outputs))
        return {"task": self.task, "inputs": inputs, "outputs": outputs, "order": self.order}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Schema:
        """Return the schema that `to_json` wrote.

        Raises: InputError where the values are not a schema's.
        """
        try:
            inputs, outputs = (tuple(_column(c) for c in values[part]) for part in ("inputs", "outputs"))
            return Schema(values["task"], inputs, outputs, values["order"])
        except (KeyError, TypeError) as error:
            raise InputError(f"the saved schema is damaged ({error}): fit and save the model again.") from error


def _column(values: dict[str, Any]) -> Column:
    fields: dict[str, Any] = values | {"levels": tuple(values["levels"])}
    return Column(**fields)


def fit_schema(
    table: Table,
    *,
    task: str,
    x: Sequence[str],
    y: Sequence[str],
    order: str | None = None,
    categorical: Sequence[str] = (),
    log: Sequence[str] = (),
) -> Schema:
    """Return the schema of a table; standardisation and levels come from its rows, so give those of training tasks.

    `x` and `y` name columns. Inputs of text become categories; `categorical` names further ones, and `log` those
    inputs whose logarithm is taken. `order` sorts each task's rows.
    Raises: InputError for a missing, repeated or unfit column.
    """
    x, y = list(x), list(y)
    _check_names(table, task, x, y, order, [*categorical, *log])
    labels = table.texts(task).tolist()
    inputs = (fit_input(table, name, categorical=name in categorical, log=name in log, tasks=labels) for name in x)
    schema = Schema(task, tuple(inputs), tuple(fit_output(table, name) for name in y), order)
    if order is not None:
        table.numbers(order)
    return schema


def _check_names(table: Table, task: str, x: list[str], y: list[str], order: str | None, options: list[str]) -> None:
    if not x or not y:
        raise InputError(f"{'no input' if not x else 'no output'} column was named: name one for x and one for y.")
    for name in [task, *x, *y, *([] if order is None else [order])]:
        table.column(name)
    named = [task, *x, *y]
    for name in named:
        if named.count(name) > 1:
            raise InputError(f"column {name!r} is named twice among task, inputs and outputs: name it once.")
    for name in options:
        if name not in x:
            raise InputError(f"column {name!r} has an option (categorical or log) and is no input: add it to x.")
