"""How one column of a table becomes numbers, and how predictions return to the column's units."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.tables.table import Table, listed

# A column with more levels is an id or free text, and the error says so.
_MOST_LEVELS = 256
# In standard deviations of the fitted rows. Farther away, single precision is too coarse, and a model knows nothing.
_FURTHEST = 1e6
# A column with only larger or only smaller numbers has no variance in double precision.
_LARGEST, _SMALLEST = 1e100, 1e-100


@dataclass(frozen=True)
class Column:
    """The encoding of one column: a standardised number, or a one-hot category.

    - `name`: name of the column.
    - `kind`: `"number"` or `"category"`.
    - `mean`, `scale`: mean and standard deviation of a number, in the column's units (in nats with `log`).
    - `log`: whether the logarithm is taken first.
    - `levels`: the levels of a category, in order.
    """

    name: str
    kind: Literal["number", "category"] = "number"
    mean: float = 0.0
    scale: float = 1.0
    log: bool = False
    levels: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return len(self.levels) if self.kind == "category" else 1

    def encode(self, table: Table) -> np.ndarray:
        """Return the column of `table` as float64 of shape `(rows, width)`. An unknown level becomes a row of zeros, with one
        warning.

        Raises: InputError that names the cell that does not fit.
        """
        if self.kind == "category":
            return self._one_hot(*table.coded(self.name))
        values = (_raw(table, self.name, self.log) - self.mean) / self.scale
        far = np.flatnonzero(~(np.abs(values) <= _FURTHEST))
        if len(far):
            raise InputError(
                f"{table.cell(self.name, far[0])} is {abs(values[far[0]]):.1g} deviations from the mean of the rows fitted on: "
                "check its unit, or remove the row."
            )
        return values[:, None]

    def _one_hot(self, codes: np.ndarray, levels: list[str]) -> np.ndarray:
        place = {level: i for i, level in enumerate(self.levels)}
        unknown = sorted(set(levels) - set(place))
        codes = np.array([place.get(level, -1) for level in levels])[codes]
        if unknown:
            warnings.warn(
                f"column {self.name!r} has levels that training did not see ({listed(unknown, 5)}): "
                "they are encoded as none of the known ones.",
                stacklevel=2,
            )
        return (codes[:, None] == np.arange(len(self.levels))).astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the encoding as values that JSON can hold."""
        return asdict(self) | {"levels": list(self.levels)}


def fit_input(table: Table, name: str, *, categorical: bool, log: bool, tasks: Sequence[str]) -> Column:
    """Return the encoding of an input column, fitted on rows.

    Text columns become categories, unless most of their cells are numbers.

    - `table`: the rows.
    - `name`: name of the column.
    - `categorical`: whether a column of numbers is a category too.
    - `log`: whether the logarithm is taken.
    - `tasks`: labels of the tasks.

    Raises: InputError for a cell that does not fit, or for a category that is an id.
    """
    if log and categorical:
        raise InputError(f"column {name!r} is listed as categorical and for its logarithm: choose one.")
    if not categorical and _are_dates(table, name):
        raise InputError(
            f"{table.name}, column {name!r} holds dates: give numbers, such as days since the first, or list it as categorical."
        )
    if categorical or not table.is_numeric(name):
        return _fit_category(table, name, tasks)
    values = _raw(table, name, log)
    _check_size(table, name, values)
    return Column(name, "number", float(values.mean()), _std(values) or 1.0, log)


def fit_output(table: Table, name: str) -> Column:
    """Return the standardisation of the output column `name`, fitted on the rows of `table`.

    Raises: InputError for a cell that is not a finite number, or a column that never changes.
    """
    values = table.numbers(name)
    _check_size(table, name, values)
    scale = _std(values)
    if not scale:
        raise InputError(
            f"{table.name}, output column {name!r} is {values[0]:g} in every training row: "
            "there is nothing to learn; give a column that varies."
        )
    return Column(name, "number", float(values.mean()), scale)


def _are_dates(table: Table, name: str) -> bool:
    if pa.types.is_temporal(table.column(name).type):
        return True
    try:
        return not table.is_numeric(name) and all(datetime.fromisoformat(text) for text in table.coded(name)[1])
    except ValueError:
        return False


def _check_size(table: Table, name: str, values: np.ndarray) -> None:
    largest = float(np.abs(values).max())
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        raise InputError(f"{table.name}, column {name!r} has numbers up to {largest:.3g}: give it in another unit.")


def _std(values: np.ndarray) -> float:
    """Return the standard deviation, or 0 if it is no larger than the rounding error of a constant column."""
    scale = float(values.std())
    return scale if np.isfinite(scale) and scale > 1e-12 * float(np.abs(values).max()) else 0.0


def _fit_category(table: Table, name: str, tasks: Sequence[str]) -> Column:
    codes, found = table.coded(name)
    levels = sorted(found)
    rows, count = len(codes), len(set(tasks))
    where = f"{table.name}, categorical column {name!r} has {len(levels)} levels in {rows} rows"
    if len(levels) > max(2, rows // 2):
        raise InputError(f"{where}: it looks like an id or free text; leave it out.")
    if len(levels) == count > 2 and _one_to_one(codes, tasks):
        raise InputError(f"{where}, one for each task: a new task's level is never known; leave it out.")
    if len(levels) > _MOST_LEVELS:
        raise InputError(f"{where}: at most {_MOST_LEVELS} can be encoded; group the rare ones or leave it out.")
    return Column(name, "category", levels=tuple(levels))


def _one_to_one(codes: np.ndarray, tasks: Sequence[str]) -> bool:
    return len(set(zip(codes.tolist(), tasks, strict=True))) == len(set(tasks))


def _raw(table: Table, name: str, log: bool) -> np.ndarray:
    values = table.numbers(name)
    bad = np.flatnonzero(values <= 0) if log else []
    if len(bad):
        raise InputError(
            f"{table.cell(name, bad[0])} is {values[bad[0]]:g} which has no logarithm: "
            "give a positive number, or do not take the log of this column."
        )
    return np.log(values) if log else values
