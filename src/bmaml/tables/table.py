"""A table in memory that knows where each row came from, so that an error can name the place."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.tables import cells as of_cells
from bmaml.tables.cells import MISSING, Numbers
from bmaml.tables.number_marks import PLAIN, Mark, without_thousands

# What is found of a column.
Found = TypeVar("Found")


@dataclass(frozen=True)
class Reading:
    """How the cells of a table are to be read, where this is a choice.

    - `missing`: texts that mean "no value" (in lower case). An empty cell always does.
    - `columns`: other such texts for some columns, by name.
    - `day_first`: whether 03/04/2024 is the third of April (None: as the column shows).
    - `decimal`: mark in front of decimals: "." or "," (None: as the file shows). Then the other may stand between thousands.
    """

    missing: tuple[str, ...] = MISSING
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    day_first: bool | None = None
    decimal: Literal[".", ","] | None = None

    def of(self, name: str) -> tuple[str, ...]:
        """Return the texts that mean "no value" in the column `name`."""
        return self.columns.get(name, self.missing)

    def to_json(self) -> dict[str, Any]:
        """Return the choices as values that JSON can hold."""
        columns = {name: list(texts) for name, texts in self.columns.items()}
        return {"missing": list(self.missing), "columns": columns, "day_first": self.day_first, "decimal": self.decimal}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Reading:
        """Return the choices from `values`, which `to_json` wrote."""
        columns = {name: tuple(texts) for name, texts in values["columns"].items()}
        return Reading(tuple(values["missing"]), columns, values["day_first"], values["decimal"])


@dataclass(frozen=True)
class Table:
    """Columns of equal length, as read, and the place of each row.

    - `name`: the file's path, or the name that messages use.
    - `columns`: Arrow arrays by column name; any other array is converted.
    - `places`: number of each row in its source, counted from 0 (among the rows of a text file that are not blank).
    - `unit`: `"line"` if messages name lines of a text file.
    - `reading`: how cells are read.
    - `line_of`: gives the line of a row's number in a text file.
    - `notes`: sentences on how the file was read.
    - `marks`: how columns write numbers, by name, where their texts show another way than 1234.5.
    - `usual`: the mark in front of decimals that another table's columns have, by name, for those whose own is in doubt.
    """

    name: str
    columns: Mapping[str, Any]
    places: np.ndarray
    unit: Literal["line", "row"] = "row"
    reading: Reading = field(default_factory=Reading)
    line_of: Callable[[int], int] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    usual: Mapping[str, Literal[".", ","]] = field(default_factory=dict)
    _found: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make every column an Arrow array."""
        arrays = {n: of_cells.as_cells(c, f"{self.name}, column {n!r}") for n, c in self.columns.items()}
        object.__setattr__(self, "columns", arrays)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.places)

    def place(self, row: int | np.integer) -> str:
        """Return the place of row number `row`, for a message."""
        number = int(self.places[row])
        if self.unit == "line" and self.line_of is not None:
            return f"line {self.line_of(number)}"
        return f"row {number} (counted from 0)"

    def column(self, name: str) -> pa.Array:
        """Return the column `name` as it was read.

        Raises: InputError that lists the columns, if there is none of that name.
        """
        if name in self.columns:
            return self.columns[name]
        near = difflib.get_close_matches(name, self.columns, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"{self.name} has no column {name!r}: {hint}its columns are {listed(list(self.columns))}.")

    def coded(self, name: str, *, missing: bool = False) -> tuple[np.ndarray, list[str]]:
        """Return the place of each cell of column `name` in the list of its levels, and this list in order of appearance.

        Levels are stripped texts in Unicode's composed form; whole numbers have no decimal point. With `missing`, an empty cell
        has the place -1.
        Raises: InputError that names the first empty cell.
        """
        codes, levels, none, _ = self.once(("coded", name), lambda: self._coded(name))
        if none is not None and not missing:
            there = f"or give --na-values {name}= (Reading(columns={{{name!r}: ()}}) in Python) if it is a value"
            also = f", {there}" if self.take(np.array([none])).shown(name)[0] else f", or {_NA_VALUES}"
            raise InputError(f"{self._missing_cell(name, none)}: fill it in, remove the row{also}.")
        return codes, levels

    def _coded(self, name: str) -> tuple[np.ndarray, list[str], int | None, dict[str, list[str]]]:
        """Return the levels' places, the levels, the first missing cell, and the levels with several spellings."""
        codes, spelled = of_cells.coded(self.column(name), self.reading.of(name))
        levels = of_cells.labels(spelled)
        none = int(np.argmin(codes)) if len(codes) and codes.min() < 0 else None
        if levels is spelled or len(set(levels)) == len(levels):
            return codes, levels, none, {}
        ways: dict[str, list[str]] = {}
        for level, text in zip(levels, spelled, strict=True):
            ways.setdefault(level, []).append(text)
        place = {level: i for i, level in enumerate(ways)}
        codes = np.array([*(place[level] for level in levels), -1])[codes]
        return codes, list(ways), none, {level: texts for level, texts in ways.items() if len(texts) > 1}

    def once(self, what: tuple[str, str], find: Callable[[], Found]) -> Found:
        """Return what `find` finds of a column. It is looked for once, because a table never changes. Nor can the arrays be."""
        if what not in self._found:
            found = self._found[what] = find()
            for part in found if isinstance(found, tuple) else (found,):
                if isinstance(part, np.ndarray):
                    part.flags.writeable = False
        return self._found[what]

    def spellings(self, name: str) -> dict[str, list[str]]:
        """Return the levels of column `name` that are written in several ways, with the ways."""
        return self.once(("coded", name), lambda: self._coded(name))[3]

    def texts(self, name: str) -> np.ndarray:
        """Return the column `name` as the texts of its levels (see `coded`).

        Raises: InputError that names the first empty cell.
        """
        codes, levels = self.coded(name)
        return np.array(levels, dtype=object)[codes]

    def written(self, name: str) -> pa.Array:
        """Return the cells of column `name` as they are written, stripped, as Arrow's texts; "" where a cell is missing."""
        return of_cells.pc.fill_null(of_cells.strings(self.column(name)), "")

    def shown(self, name: str) -> list[str]:
        """Return the cells of column `name` as `written` does, as a list."""
        return self.written(name).to_pylist()

    def parsed(self, name: str) -> Numbers:
        """Return the column `name` as numbers, with the cells that are missing and those that are no number.

        Raises: InputError if its commas could be decimal marks or mark thousands.
        """
        return self.once(("parsed", name), lambda: self._parsed(name))

    def _plain(self, name: str) -> Numbers | None:
        """Return a column of texts that are all numbers or plainly missing, or None."""
        return self.once(("plain", name), lambda: of_cells.plain_numbers(self.column(name), self.reading.of(name)))

    def _parsed(self, name: str) -> Numbers:
        plain = self._plain(name)
        if plain is not None and self.decimal(name) == ".":
            return plain
        return of_cells.numbers(self.ungrouped(name), self.reading.of(name), self.decimal(name))

    def mark(self, name: str) -> Mark:
        """Return how the column `name` writes numbers, if these are texts."""
        known = self.reading.decimal or self.usual.get(name)
        return Mark(known, True) if known else self.marks.get(name, PLAIN)

    def shown_mark(self, name: str) -> Literal["", ".", ","]:
        """Return the mark that texts of the column `name` have in front of decimals, if they show one."""
        cells, mark = self.column(name), self.mark(name)
        if not pa.types.is_large_string(cells.type) or mark.doubtful or mark.decimal == "?":
            return ""
        return mark.decimal if mark != PLAIN or of_cells.pc.any(of_cells.pc.match_substring(cells, ".")).as_py() else ""

    def ungrouped(self, name: str) -> pa.Array:
        """Return the column `name` without marks between thousands."""
        mark, cells = self.mark(name), self.column(name)
        return without_thousands(cells, mark.decimal) if mark.grouped else cells

    def decimal(self, name: str) -> str:
        """Return the mark in front of decimals in the column `name`.

        Raises: InputError if its commas could be decimal marks or mark thousands.
        """
        mark = self.mark(name)
        if mark.decimal != "?" and not (mark.doubtful and self._marks_decimals_by_commas()):
            return mark.decimal
        some = next((text for text in self.shown(name) if "," in text or "." in text), None)
        if some is None:
            return "."
        sign = "," if "," in some else "."
        raise InputError(
            f"{self.name}, column {name!r} has numbers such as {some!r}, whose {_NAMES[sign]} could mark decimals or "
            "thousands: give --decimal , or --decimal . (Reading(decimal=...) in Python) to say which."
        )

    def value(self, name: str, text: str) -> float:
        """Return the number that a cell with this `text` means in the column `name`, or NaN."""
        cell, mark = pa.array([text], pa.large_string()), self.mark(name)
        cell = without_thousands(cell, mark.decimal) if mark.grouped else cell
        return float(of_cells.numbers(cell, (), self.decimal(name)).values[0])

    def _marks_decimals_by_commas(self) -> bool:
        """Whether this is a text file some of whose columns do so. To most people 1.234 is more than a thousand there."""
        commas = [name for name, mark in self.marks.items() if mark.decimal == ","] if self.unit == "line" else []
        return any(self.is_numeric(name) for name in commas)

    def limits(self, name: str, *, missing: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the column `name` as float64, and how far the true number may lie from each: cells such as <0.1 are limits.

        It lies below by infinity, above by infinity, or up to a width above. With `missing`, an empty cell is NaN.
        Raises: InputError that names the first cell that is empty or neither a number nor a limit.
        """
        mark = self.decimal(name)
        (values, none, wrong), reach = self.once(
            ("limits", name), lambda: of_cells.limits(self.ungrouped(name), self.reading.of(name), mark)
        )
        bad = np.flatnonzero(wrong | (none & (not missing)))
        if len(bad):
            fixes = [*self.take(bad[:1])._other_marks(name), "give a number, or a limit such as <0.1, >100 or 0.1..0.5"]
            what = f"{self._missing_cell(name, bad[0])}, which is neither a number nor a limit"
            raise InputError(f"{what}: {', or '.join(fixes)}.")
        return values, reach

    def numbers(self, name: str, *, missing: bool = False) -> np.ndarray:
        """Return the column `name` as float64. With `missing`, an empty cell is NaN.

        Raises: InputError that names the first cell that is empty, not a number, or not finite.
        """
        values, none, wrong = self.parsed(name)
        odd = self.once(("not finite", name), lambda: np.flatnonzero(~np.isfinite(values)))
        bad = odd[~none[odd]] if missing else odd
        if not len(bad):
            return values
        row, what = bad[0], self._missing_cell(name, bad[0])
        if not wrong[row]:
            raise InputError(f"{what}: give a finite number, or remove the row.")
        cell = self.take(np.array([row]))
        if of_cells.is_limit(str(cell.ungrouped(name)[0])):
            raise InputError(f"{what}, which is a limit: use family censored or censored-log for an outcome, or give a number.")
        fixes = ["correct it (a decimal point, no separators)", *cell._other_marks(name), _NOT_MEASURED, _CATEGORICAL]
        raise InputError(f"{what}, which is not a number: {', '.join(fixes)}.")

    def _other_marks(self, name: str) -> list[str]:
        """Return what to give if the only cell of the column `name` is a number by other marks than the column's."""
        for mark, what in ((".", "thousands"), (",", "decimals")):
            cell = without_thousands(self.column(name), mark)
            if not of_cells.limits(cell, (), mark)[0].wrong.any():
                return [f"give --decimal {mark} (Reading(decimal={mark!r}) in Python) if commas mark {what}"]
        return []

    def is_numeric(self, name: str) -> bool:
        """Whether most cells of the column `name` are numbers. The other cells are then mistakes to report, not levels."""
        _, none, wrong = self.parsed(name)
        return 2 * int(wrong.sum()) < len(none) - int(none.sum()) or bool(none.all())

    def empty(self, name: str) -> np.ndarray:
        """Return which cells of the column `name` are empty or marked as missing (NA, null, ...)."""

        def find() -> np.ndarray:
            plain, cells = self._plain(name), self.column(name)
            if plain is None and pa.types.is_large_string(cells.type):
                return self.once(("coded", name), lambda: self._coded(name))[0] < 0
            return of_cells.empty(cells, self.reading.of(name)) if plain is None else plain.missing

        return self.once(("empty", name), find)

    def read_by(self, reading: Reading, decimals: Mapping[str, str]) -> Table:
        """Return the table with another way of reading its cells.

        `decimals` are marks in front of decimals, by column. They are used where a column's own mark is in doubt.
        """
        usual = {} if reading.decimal else {name: mark for name, mark in decimals.items() if self._in_doubt(name, mark)}
        if reading == self.reading and usual == self.usual:
            return self
        known = self._found.get("read")
        if known is None or known.reading != reading or known.usual != usual:
            known = self._found["read"] = replace(self, reading=reading, usual=usual)
            known._say_usual()
        return known

    def _in_doubt(self, name: str, mark: str) -> bool:
        own = self.marks.get(name, PLAIN)
        return (own.decimal == "?" and bool(mark)) or (own.doubtful and mark == ",")

    def _say_usual(self) -> None:
        for name, mark in self.usual.items():
            sign, other = (".", ",") if self.marks[name].doubtful else (",", ".")
            some = next((text for text in self.shown(name) if sign in text), None)
            what, else_ = ("decimals", other) if sign == mark else ("thousands", sign)
            if some is not None:
                warnings.warn(
                    f"{self.name}, column {name!r} has numbers such as {some!r}, whose {_NAMES[sign]} marks {what} as in the "
                    f"fitted table: if it does not, give --decimal {else_} (Reading(decimal={else_!r}) in Python).",
                    stacklevel=2,
                )

    def take(self, rows: np.ndarray) -> Table:
        """Return the table of some `rows` (indices or a boolean mask). The rows keep their places."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        kept = {name: column.take(pa.array(rows)) for name, column in self.columns.items()}
        return replace(self, columns=kept, places=self.places[rows])

    def with_columns(self, columns: Mapping[str, Any]) -> Table:
        """Return the table with further or other `columns`, arrays of the same length by name."""
        marks = {name: mark for name, mark in self.marks.items() if name not in columns}
        return replace(self, columns=dict(self.columns) | dict(columns), marks=marks)

    def borrow(self, other: Table, name: str, rows: np.ndarray) -> Table:
        """Return the table with a column `name` that holds the cells of the table `other` in its `rows`, one for each row."""
        cells = other.column(name).take(pa.array(rows))
        mark = {name: other.marks[name]} if name in other.marks else {}
        return replace(self.with_columns({name: cells}), marks=dict(self.marks) | mark)

    def cell(self, name: str, row: int | np.integer) -> str:
        """Return the place of the cell in column `name` and row number `row`, for a message."""
        return f"{self.name}, {self.place(row)}, column {name!r}"

    def _missing_cell(self, name: str, row: int | np.integer) -> str:
        return f"{self.cell(name, row)} is {_shown(self.take(np.array([row])).shown(name)[0])}"


_NAMES = {",": "comma", ".": "point"}
_NOT_MEASURED = "list it in --na-values (Reading(missing=...) in Python) if nothing was measured"
_CATEGORICAL = "or list an input as categorical when fitting"
_NA_VALUES = "say with --na-values (Reading(missing=...) in Python) what means missing"


def as_array(values: ArrayLike, name: str) -> np.ndarray:
    """Return `values` as an array, masked if they are; `name` is the column's name in messages.

    Raises: InputError if rows have different lengths, or the values are a sparse matrix.
    """
    sparse = sys.modules.get("scipy.sparse")  # Where nobody has imported it, nothing is sparse.
    if sparse is not None and sparse.issparse(values):
        raise InputError(f"{name} is a sparse matrix, and sparse input is not supported: give {name}.toarray().")
    try:
        return np.asanyarray(values)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths: give as many numbers in each.") from None


def listed(names: Sequence[object], most: int = 12) -> str:
    """Return `names` as a quoted list of at most `most` names, for a message."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def is_missing(label: object) -> bool:
    """Return whether a `label` is none: None, or a number that is not one."""
    return label is None or (isinstance(label, float) and label != label)


def as_text(cell: object) -> str:
    """Return one `cell` as a stripped string. 3.0 becomes 3, because a missing value elsewhere makes integers floats."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _shown(text: str) -> str:
    if not text:
        return "empty"
    return repr(text if len(text) <= 40 else text[:37] + "...")
