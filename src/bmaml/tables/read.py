"""Reading tables: CSV and TSV (plain or gzip), Parquet, and tables already in memory."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.tables.table import Table

_TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
_PARQUET = (".parquet", ".pq")


@runtime_checkable
class DataFrame(Protocol):
    """A table of another library (pandas, polars): its columns' names, and a column by its name."""

    @property
    def columns(self) -> Iterable[Any]:
        """Return the columns' names."""
        ...

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column."""
        ...


# All that `read_table` reads.
TableLike: TypeAlias = Table | DataFrame | Mapping[str, ArrayLike] | str | PathLike[str]


def read_table(source: TableLike, name: str = "the table") -> Table:
    """Return a table from a file or from columns in memory.

    - `source`: a path (.csv, .tsv, either with .gz, or .parquet), a mapping of names to arrays, or an object with `.columns`
      and `[name]` (pandas, polars).
    - `name`: how messages call a table in memory. A file is called by its path.

    Raises: InputError for anything that cannot be read. The message names the file and the line.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | PathLike):
        return _read_file(Path(source))
    names = list(source) if isinstance(source, Mapping) else list(getattr(source, "columns", ()))
    if not names or not hasattr(source, "__getitem__"):
        raise InputError(f"{name} is a {type(source).__name__}: give a path, a mapping of columns, or a data frame.")
    return _checked(name, [str(n) for n in names], [_column(name, n, source[n]) for n in names])


def _read_file(path: Path) -> Table:
    lower = path.name.lower()
    if not path.exists():
        raise InputError(f"there is no file {path}: check the path.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a CSV or Parquet file.")
    if lower.endswith(_PARQUET):
        return _read_parquet(path)
    if lower.endswith(_TEXT):
        return _read_text(path)
    raise InputError(f"{path} has an extension this does not read: give one of {', '.join(_TEXT + _PARQUET)}.")


def _read_text(path: Path) -> Table:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:  # type: ignore[operator]
            return _parse(path, stream)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): save the table as CSV in UTF-8.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged or not gzip ({error}): compress it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from error


def _parse(path: Path, stream: Any) -> Table:
    first = stream.readline()
    if "\0" in first:
        raise InputError(f"{path} is not text but a binary file: save the table as CSV in UTF-8.")
    stream.seek(0)
    rows = _rows(path, csv.reader(stream, delimiter=_delimiter(path, first)))
    header = next(rows, None)
    if header is None:
        raise InputError(f"{path} is empty: give a header line and at least one row.")
    names = [text.strip() or f"column {i + 1}" for i, text in enumerate(header[1])]
    places, cells = [], []
    for line, row in rows:
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {line} has {len(row)} cells and the header has {len(names)} columns: "
                "make them agree (a cell with a comma in it needs quotes)."
            )
        places.append(line)
        cells.append(row)
    columns = [np.array(column, dtype=object) for column in zip(*cells, strict=True)] or [np.array([])] * len(names)
    return _checked(str(path), names, columns, np.array(places, dtype=np.int64))


def _rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each non-blank row starts (quoted cells may span lines), and its cells."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num} is not CSV ({error}): correct the line.") from error
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row


def _delimiter(path: Path, header: str) -> str:
    """Return the delimiter: tab for .tsv, else the one in the header (spreadsheets write ; in many countries)."""
    if ".tsv" in path.name.lower():
        return "\t"
    return next((mark for mark in ",;\t" if mark in header), ",")


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow to be read: pip install 'bmaml[parquet]'.") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: write it again, or give a CSV.") from error
    columns = [_column(str(path), name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    return _checked(str(path), table.column_names, columns)


def _column(name: str, column: Any, values: Any) -> np.ndarray:
    """Return a column of a table in memory as an array of numbers or of objects."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name}, column {str(column)!r} has shape {array.shape}: give one value for each row.")
    if array.dtype.kind in "Mm":
        # As objects, nanosecond dates would become plain integers and look like numbers.
        array = array.astype(str)
    return array if array.dtype.kind in "biuf" else array.astype(object)


def _checked(name: str, names: list[str], columns: list[np.ndarray], places: np.ndarray | None = None) -> Table:
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{name} has {names.count(twice[0])} columns named {twice[0]!r}: give each its own name.")
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise InputError(f"{name} has columns of {min(lengths)} and of {max(lengths)} rows: make them equally long.")
    if lengths == {0}:
        raise InputError(f"{name} has a header and no rows: give at least one row.")
    unit = "row" if places is None else "line"
    places = np.arange(lengths.pop()) if places is None else places
    return Table(name, dict(zip(names, columns, strict=True)), places, unit)
