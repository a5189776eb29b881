"""Reading tables: CSV and TSV (plain or gzip), Parquet, and tables already in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.io.files import free_memory, open_plain
from bmaml.tables.number_marks import marks_of, notes_of
from bmaml.tables.table import Reading, Table
from bmaml.tables.text_files import read_text

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
_PARQUET = (".parquet", ".pq")


@runtime_checkable
class DataFrame(Protocol):
    """A table of another library (pandas, polars, Arrow): its columns' names, and a column by its name."""

    @property
    def columns(self) -> Iterable[Any]:
        """Return the columns' names."""
        ...

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column."""
        ...


# All that `read_table` reads.
TableLike: TypeAlias = Table | DataFrame | Mapping[str, ArrayLike] | str | PathLike[str]


def read_table(source: TableLike, name: str = "the table", reading: Reading | None = None) -> Table:
    """Return a table from a file or from columns in memory.

    - `source`: a path (.csv, .tsv, either with .gz, or .parquet), a mapping of names to arrays, or a data frame of pandas,
      polars or Arrow.
    - `name`: how messages call a table in memory. A file is called by its path.
    - `reading`: how cells are read where this is a choice.

    Raises: InputError for anything that cannot be read. The message names the file and the line.
    """
    table = source if isinstance(source, Table) else _read(source, name)
    return table if reading is None else replace(table, reading=reading)


def _read(source: Any, name: str) -> Table:
    if isinstance(source, str | PathLike):
        return _read_file(Path(source))
    if isinstance(source, pa.Table | pa.RecordBatch):
        return marked(checked_table(name, source.column_names, source.columns))
    if _is_lazy(source):
        raise InputError(
            f"{name} is a {type(source).__name__}, whose rows are not there yet: give it after collect() or compute()."
        )
    names = list(source) if isinstance(source, Mapping) else list(getattr(source, "columns", ()))
    if not names or not hasattr(source, "__getitem__"):
        raise InputError(f"{name} is a {type(source).__name__}: give a path, a mapping of columns, or a data frame.")
    _check_once(name, [str(n) for n in names])
    return marked(checked_table(name, [str(n) for n in names], [source[n] for n in names]))


def _is_lazy(source: Any) -> bool:
    from narwhals.stable.v2 import dependencies

    return dependencies.is_polars_lazyframe(source) or dependencies.is_dask_dataframe(source)


def _read_file(path: Path) -> Table:
    lower = path.name.lower()
    if not path.exists():
        raise InputError(f"there is no file {path}: check the path.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a CSV or Parquet file.")
    if is_parquet(path):
        return marked(_read_parquet(path))
    if lower.endswith(_TEXT):
        text = read_text(path)
        table = checked_table(str(path), text.names, text.columns, text.lines)
        return replace(table, notes=text.notes, marks=text.marks)
    raise InputError(f"{path} has an extension this does not read: give one of {', '.join(_TEXT + _PARQUET)}.")


def is_parquet(path: Path) -> bool:
    """Whether `path` has the ending of a Parquet file."""
    return path.name.lower().endswith(_PARQUET)


@contextmanager
def parquet_file(path: Path) -> Iterator[ParquetFile]:
    """Open a Parquet file at `path` (Arrow's `ParquetFile`), and turn what goes wrong while it is read into a sentence.

    Raises: InputError if the file is damaged, or has two columns of one name.
    """
    import pyarrow.parquet

    try:
        # Opened here, because Arrow takes no path that is not UTF-8.
        with open_plain(path) as stream:
            file = pyarrow.parquet.ParquetFile(stream)
            _check_once(str(path), file.schema_arrow.names)
            yield file
    except InputError:
        raise
    except Exception as error:  # Arrow's errors, and any of Python's where damaged bytes are converted.
        raise InputError(f"{path} is not a readable Parquet file: write it again, or give a CSV.") from error


def _read_parquet(path: Path) -> Table:
    with parquet_file(path) as file:
        groups = range(file.metadata.num_row_groups)
        size, free = sum(file.metadata.row_group(group).total_byte_size for group in groups), free_memory()
        if size > free:
            raise InputError(
                f"{path} holds {size / 1e9:.1f} GB of cells and {free / 1e9:.1f} GB of memory are free: fit on whole tasks "
                "that are drawn from it by --rows (bmaml.tables.read_sample in Python), or give a part of it."
            )
        table = file.read()
        return checked_table(str(path), table.column_names, table.columns)


def _check_once(name: str, names: list[str]) -> None:
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{name} has {names.count(twice[0])} columns named {twice[0]!r}: give each its own name.")


def marked(table: Table) -> Table:
    """Return `table`, which is not of a text file, with the marks of decimals that its texts show."""
    marks = marks_of(table.columns)
    return replace(table, marks=marks, notes=(*table.notes, *notes_of(marks)))


def checked_table(name: str, names: list[str], columns: Sequence[object], line_of: Callable[[int], int] | None = None) -> Table:
    """Return the table of these columns.

    - `name`: how messages call the table.
    - `names`, `columns`: the columns, of any library.
    - `line_of`: gives the line of a row's number in a text file.

    Raises: InputError for two columns of one name, columns of different lengths, or no row.
    """
    from bmaml.tables.cells import as_cells

    _check_once(name, names)
    cells = {n: as_cells(column, f"{name}, column {n!r}") for n, column in zip(names, columns, strict=True)}
    lengths = {len(column) for column in cells.values()}
    if len(lengths) > 1:
        raise InputError(f"{name} has columns of {min(lengths)} and of {max(lengths)} rows: make them equally long.")
    if lengths == {0} or not lengths:
        raise InputError(f"{name} has a header and no rows: give at least one row.")
    return Table(name, cells, np.arange(lengths.pop()), "row" if line_of is None else "line", line_of=line_of)
