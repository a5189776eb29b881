"""The marks in front of decimals and between thousands, as texts of numbers show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import pyarrow as pa

from bmaml.tables.cells import LIMIT, SIGN, pc

# A number, or a limit such as <0,1 or 0,1..0,5, whose comma marks decimals, and one whose commas could mark thousands instead.
_START, _END = rf"^\s*({LIMIT}|{SIGN}\d+\.\.)?{SIGN}", r"(\.\..*)?\s*$"
_COMMA = _START + r"\d*,\d+([eE][+-]?\d+)?" + _END
_THOUSANDS = _START + r"[1-9]\d{0,2}(,\d{3})+" + _END
_POINT = _START + r"\d*\.\d+([eE][+-]?\d+)?\s*$"
_POINTS = _START + r"[1-9]\d{0,2}(\.\d{3})+" + _END
# Numbers that show both marks, such as 1,234.5 and 1.234,5; the commas of 1,234,567 are no decimals either.
_COMMAS_PART = _START + r"[1-9]\d{0,2}((,\d{3})+\.\d+|(,\d{3}){2,})" + _END
_POINTS_PART = _START + r"[1-9]\d{0,2}(\.\d{3})+,\d+" + _END


class Mark(NamedTuple):
    """How a column writes numbers.

    - `decimal`: the mark in front of decimals: "." or ","; "?" if its only mark could also be one of thousands.
    - `grouped`: whether the other mark may stand between thousands.
    """

    decimal: Literal[".", ",", "?"] = "."
    grouped: bool = False


PLAIN = Mark()


def marks_of(columns: Mapping[str, pa.Array], *, commas_part_cells: bool) -> dict[str, Mark]:
    """Return how those `columns` write numbers that are texts with commas in numbers.

    With `commas_part_cells`, as in most CSV files, a cell with a comma is a mistake where other numbers of the column have
    points. The mistake is reported when the cell is read.
    """
    texts = {name: column for name, column in columns.items() if pa.types.is_large_string(column.type)}
    found = {name: _mark(column, commas_part_cells) for name, column in texts.items()}
    marks = {name: mark for name, mark in found.items() if mark != PLAIN}
    if any(mark.decimal == "," for mark in marks.values()):
        # Where commas mark decimals, 1.234 is more than a thousand to most people.
        marks |= {name: Mark("?") for name, column in texts.items() if name not in marks and _may_be_thousands(column)}
    return marks


def _may_be_thousands(column: pa.Array) -> bool:
    """Return whether there are points in the numbers of a `column`, and three digits behind each of them."""
    point = pc.match_substring_regex(column, _POINT)
    thousands = pc.match_substring_regex(column, _POINTS)
    return pc.any(point).as_py() and not pc.any(pc.and_(point, pc.invert(thousands))).as_py()


def _mark(column: pa.Array, commas_part_cells: bool) -> Mark:

    def some(pattern: str) -> bool:
        return bool(pc.any(pc.match_substring_regex(column, pattern)).as_py())

    if not pc.any(pc.match_substring(column, ",")).as_py():
        return PLAIN
    commas_part, points_part = some(_COMMAS_PART), some(_POINTS_PART)
    if commas_part or points_part:
        return PLAIN if commas_part and points_part else Mark("." if commas_part else ",", True)
    comma = pc.match_substring_regex(column, _COMMA)
    if not pc.any(comma).as_py() or (commas_part_cells and some(_POINT)):
        return PLAIN
    thousands = pc.match_substring_regex(column, _THOUSANDS)
    return Mark("," if pc.any(pc.and_(comma, pc.invert(thousands))).as_py() else "?")


def notes_of(marks: Mapping[str, Mark]) -> tuple[str, ...]:
    """Return sentences on the `marks` of columns that a reader might not expect."""
    ways = {
        Mark(","): "a comma marks decimals",
        Mark(",", True): "a comma marks decimals and a point thousands",
        Mark(".", True): "a comma marks thousands",
    }
    named = {way: [name for name, mark in marks.items() if mark == way] for way in ways}
    return tuple(f"{ways[way]} in {', '.join(map(repr, names))}" for way, names in named.items() if names)
