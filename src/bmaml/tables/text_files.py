"""CSV and TSV files: Arrow reads them, and what it refuses is looked up line by line to name the place."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from bmaml.errors import InputError
from bmaml.io.files import free_memory, open_plain
from bmaml.tables.cells import pc
from bmaml.tables.number_marks import Mark, marks_of, notes_of

_HEAD = 1 << 16
_SAMPLE = 50
# Bytes of memory that a byte of text takes while it is read.
_GROWTH = 4
_DELIMITERS = ",;\t|"
_NAMED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class TextFile:
    """The cells of a text file, all as texts.

    - `names`: the header's cells.
    - `columns`: Arrow arrays of texts.
    - `marks`: how each column that has commas in numbers writes them, by name.
    - `lines`: gives the line of a row.
    - `notes`: sentences on how the file was read.
    """

    names: list[str]
    columns: list[pa.Array]
    marks: dict[str, Mark]
    lines: Lines
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Lines:
    """Finds the line of a row in the text file at `path` with a `delimiter` between cells.

    It reads the file again, so that reading itself need not count lines.
    """

    path: Path
    delimiter: str

    def __call__(self, row: int) -> int:
        """Return the line on which row number `row` starts, counted from 1, the header's included."""
        with _reading(self.path):
            for number, (line, _) in enumerate(_records(self.path, self.delimiter)):
                if number == row + 1:
                    return line
        return row + 2


def read_text(path: Path) -> TextFile:
    """Return the cells of the CSV or TSV file at `path`, plain or compressed by gzip.

    Raises: InputError that names the line that does not fit.
    """
    with _reading(path):
        content = _content(path)
        delimiter, first = _first_rows(path, content)
        if not first:
            raise InputError(f"{path} is empty: give a header line and at least one row.")
        line, header = first[0]
        names = [text.strip() or f"column {i + 1}" for i, text in enumerate(header)]
        none = [pa.nulls(0, pa.large_string())] * len(names)
        columns = none if len(first) == 1 else _parsed(path, content, delimiter, len(names), line - 1)
        quoted, marks = content.find(b'"') >= 0, {}
        if quoted:
            _check_quotes(path, delimiter, columns)
        if delimiter != "," or quoted:  # Where commas part cells, one within a cell needs quotes.
            marks = marks_of(dict(zip(names, columns, strict=True)), commas_part_cells=delimiter == ",")
        return TextFile(names, columns, marks, Lines(path, delimiter), _notes(delimiter, marks))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong when a file is opened and decoded into a sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        how = "save the table as CSV in UTF-8 (spreadsheets call that 'CSV UTF-8')"
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): {how}.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, struct.error) as error:
        raise InputError(f"{path} is damaged or not gzip ({error}): compress it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from error


def _zipped(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _content(path: Path) -> Any:
    """Return the file's bytes, mapped into memory where they are plain."""
    if _zipped(path):
        # A small file can hold any amount of text.
        most = free_memory() // _GROWTH
        with open_plain(path) as file, gzip.GzipFile(fileobj=file) as text:
            content = text.read(most + 1)
        if len(content) > most:
            raise InputError(f"{path} holds over {most} bytes of text, more than fits the memory: give a part of it.")
        return content
    with open_plain(path) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _first_rows(path: Path, content: Any) -> tuple[str, list[tuple[int, list[str]]]]:
    """Return the mark between cells, and the header and the row below it where there are such, each with its line."""
    size = _HEAD
    while True:
        head = _head(path, content, size)
        delimiter = "\t" if ".tsv" in path.name.lower() else _delimiter(head)
        first = list(islice(_rows(path, io.StringIO(head, newline=""), delimiter), 2))
        # A header is whole where another row follows. That of a wide table may be longer than any fixed length.
        if len(first) == 2 or size >= len(content):
            return delimiter, first
        size *= 16


def _head(path: Path, content: Any, size: int) -> str:
    """Return the lines of the first `size` bytes as text, whole lines where there are several."""
    head = codecs.getincrementaldecoder("utf-8-sig")().decode(content[:size])
    if "\0" in head:
        raise InputError(f"{path} is not text but a binary file: save the table as CSV in UTF-8.")
    # Arrow takes a lone carriage return for a line's end, as old spreadsheets write it, and so does `csv`.
    ends = [match.end() for match in re.finditer(r"\r\n|\n|\r", head)]
    return head[: ends[-1]] if len(content) > size and ends else head


def _delimiter(head: str) -> str:
    """Return the mark between cells: the one that gives the first lines equally many cells, and most of them."""
    found: dict[str, list[int]] = {}
    for mark in _DELIMITERS:
        try:
            lines = csv.reader(io.StringIO(head, newline=""), delimiter=mark)
            rows = [len(row) for row in lines if any(cell.strip() for cell in row)]
        except csv.Error:
            continue
        # The last line of a head that was cut may be half a row.
        found[mark] = rows[: max(1, min(len(rows) - 1, _SAMPLE))]
    even = [mark for mark, counts in found.items() if counts and len(set(counts)) == 1 and counts[0] > 1]
    some = even or [mark for mark, counts in found.items() if counts]
    return max(some, key=lambda mark: found[mark][0], default=",")


def _parsed(path: Path, content: Any, delimiter: str, width: int, above: int) -> list[pa.Array]:
    """Return the columns below the header (with `above` blank lines above it). Rows whose cells are all empty are left out."""
    types = {f"f{i}": pa.large_string() for i in range(width)}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(content)),
            pyarrow.csv.ReadOptions(autogenerate_column_names=True, block_size=1 << 24, skip_rows=above),
            pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=content.find(b'"') >= 0,
                invalid_row_handler=lambda row: "skip" if not (row.text or "").strip(" \t" + delimiter) else "error",
            ),
            pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowException as error:
        _explain(path, delimiter, width)
        raise InputError(f"{path} cannot be read as CSV ({str(error).splitlines()[0]}): correct it.") from error
    columns = [column.combine_chunks() for column in table.slice(1).columns]
    columns = [pa.concat_arrays(c.chunks) if isinstance(c, pa.ChunkedArray) else c for c in columns]
    blank = _blank(columns[0])
    if pc.any(blank).as_py():
        for column in columns[1:]:
            blank = pc.and_(blank, _blank(column))
        if pc.any(blank).as_py():
            columns = [column.filter(pc.invert(blank)) for column in columns]
    return columns


def _check_quotes(path: Path, delimiter: str, columns: list[pa.Array]) -> None:
    """Check that no cell in quotes has swallowed rows, as it does where a quote is not closed.

    Raises: InputError that names the line where such a cell begins.
    """
    several = [column for column in columns if any(pc.any(pc.match_substring(column, end)).as_py() for end in "\n\r")]
    rows = rf"[\r\n]([^\r\n{delimiter}]*[{delimiter}]){{{len(columns) - 1}}}"
    if len(columns) < 2 or not any(pc.any(pc.match_substring_regex(column, rows)).as_py() for column in several):
        return
    for line, row in _records(path, delimiter):
        if any(re.search(rows, cell) for cell in row):
            raise InputError(
                f"{path}, line {line} has a quote that is closed lines below, with whole rows in between: close it on its "
                'line, or write a quote that belongs to a text as "" within quotes.'
            )


def _blank(column: pa.Array) -> pa.Array:
    """Return which cells are empty or spaces."""
    return pc.or_(pc.equal(column, ""), pc.utf8_is_space(column))


def _explain(path: Path, delimiter: str, width: int) -> None:
    """Find the line that Arrow refused.

    Raises: InputError that names it.
    """
    for line, row in _records(path, delimiter):
        if len(row) != width:
            raise InputError(
                f"{path}, line {line} has {len(row)} cells and the header has {width} columns: make them agree "
                f"(the header must be the first line, and a cell with {_NAMED[delimiter]} in it needs quotes)."
            )


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    with open_plain(path) as file:
        content: Any = gzip.GzipFile(fileobj=file) if _zipped(path) else file
        with io.TextIOWrapper(content, "utf-8-sig", newline="") as stream:
            yield from _rows(path, stream, delimiter)


def _rows(path: Path, stream: Any, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each non-blank row starts (quoted cells may span lines), and its cells."""
    reader = csv.reader(stream, delimiter=delimiter)
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


def _notes(delimiter: str, marks: dict[str, Mark]) -> tuple[str, ...]:
    parted = () if delimiter == "," else (f"cells are separated by {_NAMED[delimiter]}",)
    return (*parted, *notes_of(marks))
