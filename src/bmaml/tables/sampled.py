"""Whole tasks drawn at random from a large table, so that a table larger than memory can be fitted on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.io.checked import Count, Seed, checked
from bmaml.io.files import digest
from bmaml.tables.read import checked_table, is_parquet, marked, parquet_file, read_table
from bmaml.tables.table import Reading, Table
from bmaml.tables.task_labels import task_codes

# Rows of a Parquet file that are looked at together.
_AT_ONCE = 2**17
_DIGITS = 12


@checked
def read_sample(
    path: str | PathLike[str], task: str | tuple[str, ...], rows: Count, seed: Seed = 0, reading: Reading | None = None
) -> Table:
    """Return about `rows` rows of the table at `path`: all rows of tasks that are drawn at random.

    A Parquet file is read piece by piece, and what is not drawn is left at once. So the file may be larger than memory. A task
    is drawn or not by a hash of its name, so its rows may lie anywhere in the file, and their order does not matter.

    - `path`: the file, as for `read_table`.
    - `task`: name of the task column, or several names, the outermost first.
    - `rows`: number of rows that is wanted. The tasks that are drawn have that many in the mean.
    - `seed`: seed of the draw.
    - `reading`: how cells are read where this is a choice.

    Raises: InputError if the file cannot be read, a row names no task, or no task is drawn.
    """
    place, columns = Path(path), (task,) if isinstance(task, str) else task
    whole = None if is_parquet(place) and place.is_file() else read_table(place, reading=reading)
    if whole is not None:
        total = len(whole)
        found = whole.take(_drawn(whole, columns, rows / total, seed))
    else:
        total, kept = 0, []
        for total, piece in _pieces(place, reading):
            kept.append(piece.take(_drawn(piece, columns, rows / total, seed)))
        if not kept:
            return read_table(place)  # It says that there is no row.
        some = [piece for piece in kept if len(piece)] or kept[:1]
        joined = {
            name: pa.chunked_array([piece.columns[name] for piece in some]).unify_dictionaries() for name in some[0].columns
        }
        found = marked(replace(some[0], columns=joined, places=np.concatenate([piece.places for piece in some])))
    if not len(found):
        raise InputError(f"{place} has {total:,} rows and no task was drawn for {rows:,}: ask for more rows.")
    return replace(found, notes=(*found.notes, f"{len(found):,} of {total:,} rows: whole tasks, drawn at random"))


def _pieces(path: Path, reading: Reading | None) -> Iterator[tuple[int, Table]]:
    """Yield a Parquet file in pieces that know the places of their rows, each with the number of rows of the file."""
    start = 0
    with parquet_file(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            if not len(batch):
                continue
            table = checked_table(str(path), batch.schema.names, batch.columns)
            places = start + np.arange(len(table))
            yield file.metadata.num_rows, replace(table, places=places, reading=reading or table.reading)
            start += len(table)


def _drawn(table: Table, columns: tuple[str, ...], share: float, seed: int) -> np.ndarray:
    """Return which rows of `table` are of a task that is drawn with the probability `share`."""
    codes, names = task_codes(table, columns)
    at = [int(digest(f"{seed}:sample:{name}")[:_DIGITS], 16) / 16.0**_DIGITS for name in names]
    return (np.array(at) < share)[codes]
