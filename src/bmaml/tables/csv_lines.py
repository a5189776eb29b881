"""Columns as the lines of a CSV file, written by Arrow a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bmaml.tables.cells import pc

_TEXT = pa.large_string()
# A cell with one of these, or with the mark between cells, stands in quotes.
_QUOTED = '"\n\r'


def csv_lines(columns: Sequence[pa.Array | np.ndarray | Sequence[object]], *, comma: bool = False) -> str:
    """Return `columns` of equal length as lines of CSV, without a header.

    Numbers are the shortest texts that read back as the same numbers. With `comma` the lines are as spreadsheets write them
    where a comma marks decimals: semicolons stand between cells.
    """
    if not len(columns):
        return ""
    mark = ";" if comma else ","
    cells = [_cells(column, mark, comma) for column in columns]
    lines = pc.binary_join_element_wise(*cells, pa.scalar(mark, _TEXT))
    ended = pc.binary_join_element_wise(lines, pa.scalar("", _TEXT), pa.scalar("\n", _TEXT))
    return "".join(ended.to_pylist())


def _cells(column: pa.Array | np.ndarray | Sequence[object], mark: str, comma: bool) -> pa.Array:
    """Return the cells of a column as they are written."""
    values: Any = column if isinstance(column, pa.Array) else pa.array(column)
    texts = pc.fill_null(pc.cast(values, _TEXT), "")
    if pa.types.is_floating(values.type):
        return pc.replace_substring(texts, ".", ",") if comma else texts
    special = pc.match_substring_regex(texts, f"[{_QUOTED}{mark}]")
    if not pc.any(special).as_py():
        return texts
    quote = pa.scalar('"', _TEXT)
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise(quote, doubled, quote, pa.scalar("", _TEXT)), texts)
