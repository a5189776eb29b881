"""A table in memory that knows where each row came from, so that an error can name the place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat", "?"})


@dataclass(frozen=True)
class Table:
    """Columns of equal length, as read, and the place of each row.

    - `name`: the file's path, or the name that messages use.
    - `columns`: arrays by column name.
    - `places`: the line of each row in a text file (`unit="line"`), else its number counted from 0 (`unit="row"`).
    - `unit`: what `places` counts.
    """

    name: str
    columns: Mapping[str, np.ndarray]
    places: np.ndarray
    unit: Literal["line", "row"] = "row"

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    def place(self, row: int | np.integer) -> str:
        """Return the place of row number `row`, for a message."""
        return f"{self.unit} {self.places[row]}" + (" (counted from 0)" if self.unit == "row" else "")

    def column(self, name: str) -> np.ndarray:
        """Return the column `name` as it was read.

        Raises: InputError that lists the columns, if there is none of that name.
        """
        if name in self.columns:
            return self.columns[name]
        near = difflib.get_close_matches(name, self.columns, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"{self.name} has no column {name!r}: {hint}its columns are {listed(list(self.columns))}.")

    def texts(self, name: str) -> np.ndarray:
        """Return the column `name` as stripped strings; whole numbers have no decimal point.

        Raises: InputError that names the first empty cell.
        """
        cells = self.column(name)
        texts = np.array([as_text(cell) for cell in cells.tolist()], dtype=object)
        for row, text in enumerate(texts):
            if text.lower() in _MISSING:
                raise InputError(f"{self.cell(name, row)} is {_shown(text)}: fill it in, or remove the row.")
        return texts

    def numbers(self, name: str) -> np.ndarray:
        """Return the column `name` as float64.

        Raises: InputError that names the first cell that is empty, not a number, or not finite.
        """
        cells = self.column(name)
        values = _fast_numbers(cells)
        if values is None:
            values = np.array([self._number(name, row, cell) for row, cell in enumerate(cells.tolist())])
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            what = _shown(as_text(cells[bad[0]]))
            raise InputError(f"{self.cell(name, bad[0])} is {what}: give a finite number, or remove the row.")
        return values

    def is_numeric(self, name: str) -> bool:
        """Whether most cells of the column `name` are numbers. The other cells are then mistakes to report, not levels."""
        cells = self.column(name)
        if cells.dtype.kind in "biuf":
            return True
        if _fast_numbers(cells) is not None:
            return True
        return 2 * sum(_parse(cell) is not None for cell in cells.tolist()) > len(cells)

    def empty(self, name: str) -> np.ndarray:
        """Return which cells of the column `name` are empty or marked as missing (NA, null, ...)."""
        return np.array([as_text(cell).lower() in _MISSING for cell in self.column(name).tolist()], dtype=bool)

    def take(self, rows: np.ndarray) -> Table:
        """Return the table of some `rows` (indices or a boolean mask). The rows keep their places."""
        kept = {name: column[rows] for name, column in self.columns.items()}
        return Table(self.name, kept, self.places[rows], self.unit)

    def cell(self, name: str, row: int | np.integer) -> str:
        """Return the place of the cell in column `name` and row number `row`, for a message."""
        return f"{self.name}, {self.place(row)}, column {name!r}"

    def _number(self, name: str, row: int, cell: Any) -> float:
        value = _parse(cell)
        if value is None:
            text = as_text(cell)
            if text.lower() in _MISSING:
                raise InputError(f"{self.cell(name, row)} is {_shown(text)}: give a finite number, or remove the row.")
            raise InputError(
                f"{self.cell(name, row)} is {_shown(text)}, which is not a number: "
                "correct it (a decimal point, no separators), or list an input as categorical when fitting."
            )
        return value


def as_array(values: ArrayLike, name: str) -> np.ndarray:
    """Return `values` as an array; `name` is the column's name in messages.

    Raises: InputError if rows have different lengths.
    """
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths: give as many numbers in each.") from None


def listed(names: Sequence[object], most: int = 12) -> str:
    """Return `names` as a quoted list of at most `most` names, for a message."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def as_text(cell: object) -> str:
    """Return `cell` as a stripped string. 3.0 becomes 3, because a missing value elsewhere makes integers floats."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _shown(text: str) -> str:
    if not text:
        return "empty"
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _parse(cell: Any) -> float | None:
    """Return a cell as a float, or None. An underscore is a mistake here, not a digit separator as in Python."""
    try:
        return None if isinstance(cell, str) and "_" in cell else float(cell)
    except (TypeError, ValueError):
        return None


def _fast_numbers(cells: np.ndarray) -> np.ndarray | None:
    """Return a whole column as float64 in one conversion, or None if a cell prevents that."""
    if cells.dtype.kind == "M":
        return None
    try:
        if cells.dtype.kind in "OU" and any(isinstance(c, str) and "_" in c for c in cells.tolist()):
            return None
        return cells.astype(np.float64)
    except (TypeError, ValueError):
        return None
