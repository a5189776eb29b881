"""The marks in front of decimals and between thousands, as texts of numbers show them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa

from bmaml.tables.cells import is_text, pc

# What may stand in front of a number, as Arrow's regular expressions have it: a sign, and the mark of a limit.
SPACE = r"[\s\x{a0}\x{2009}\x{202f}]"
SIGN, LIMIT = r"[+\-\x{2212}]?", r"[<>\x{2264}\x{2265}]=?" + SPACE + "*"
# Stands for the two points of a range, which are no marks between thousands.
_TO = "\x00"

# A number, or a limit such as <0,1 or 0,1..0,5, whose comma marks decimals, and one whose commas could mark thousands instead.
_START, _END = rf"^{SPACE}*({LIMIT}|{SIGN}\d+\.\.)?{SIGN}", rf"(\.\..*)?{SPACE}*$"
_COMMA = _START + r"\d*,\d+([eE][+-]?\d+)?" + _END
_COMMA_THOUSANDS = _START + r"[1-9]\d{0,2}(,\d{3})+" + _END
_POINT = _START + r"\d*\.\d+([eE][+-]?\d+)?" + rf"{SPACE}*$"
_POINT_THOUSANDS = _START + r"[1-9]\d{0,2}(\.\d{3})+" + rf"{SPACE}*$"
_NUMBER = _START + r"[\d.,]*\d([eE][+-]?\d+)?" + _END
# Numbers that show both marks, such as 1,234.5 and 1.234,5. The commas of 1,234,567 are no decimals either.
_COMMAS_PART = _START + r"[1-9]\d{0,2}((,\d{3})+\.\d+|(,\d{3}){2,})" + _END
_POINTS_PART = _START + r"[1-9]\d{0,2}(\.\d{3})+,\d+" + _END
# Cells that are looked at first, since one of them mostly shows what the mark is.
_SOME = 1000


class Mark(NamedTuple):
    """How a column writes numbers.

    - `decimal`: the mark in front of decimals: "." or ","; "?" if its commas could also mark thousands.
    - `grouped`: whether the other mark may stand between thousands.
    - `doubtful`: whether points are in front of three digits alone, so that they could also mark thousands.
    """

    decimal: Literal[".", ",", "?"] = "."
    grouped: bool = False
    doubtful: bool = False


PLAIN = Mark()
_ALONE = re.compile(r"[+\-\u2212]?[\d.,]*\d")
# A number with a limit, a currency or a sign of its own in front, and a unit of a few letters behind.
_WITH_MORE = re.compile(
    r"[<>\u2264\u2265=]*\s*[$\u20ac\u00a3\u00a5]?\s*[+\-\u2212]?\d[\d.,'\u2019\s]*"
    r"([%\u2030*]|[^\W\d_/]{1,3}(/[^\W\d_]{1,3})?)?"
)


def marks_of(columns: Mapping[str, pa.Array], *, commas_part_cells: bool = False) -> dict[str, Mark]:
    """Return how those `columns` write numbers that are texts and do not plainly write 1234.5.

    With `commas_part_cells` points are no doubt: who marks decimals by commas would not part cells by them.
    """
    texts = {name: column for name, column in columns.items() if pa.types.is_large_string(column.type)}
    found = {name: _mark(column) for name, column in texts.items()}
    if not commas_part_cells:
        found |= {name: Mark(doubtful=True) for name, mark in found.items() if mark == PLAIN and _doubtful(texts[name])}
    return {name: mark for name, mark in found.items() if mark != PLAIN}


def _mark(column: pa.Array) -> Mark:
    """Return how a `column` of texts writes numbers. A few cells of another way are mistakes, reported when they are read."""
    if not pc.any(pc.match_substring(column, ",")).as_py() or _are_words(pc.unique(column)):
        return PLAIN
    commas_part, points_part = _count(column, _COMMAS_PART), _count(column, _POINTS_PART)
    if commas_part or points_part:
        return Mark("." if commas_part >= points_part else ",", True)
    comma, point = _count(column, _COMMA), _count(column, _POINT)
    if not comma:
        return PLAIN
    if comma > _count(column, _COMMA_THOUSANDS):  # Some commas can only mark decimals.
        return PLAIN if point > comma else Mark(",")
    # Where points mark decimals, commas mark thousands.
    return Mark(".", True) if point > _count(column, _POINT_THOUSANDS) else Mark("?")


def _are_words(texts: pa.Array) -> bool:
    """Return whether more of the different `texts` are words than numbers."""
    number = pc.match_substring_regex(texts, _NUMBER)
    word = pc.and_(pc.match_substring_regex(texts, r"\pL"), pc.invert(number))
    return pc.sum(word).as_py() > pc.sum(number).as_py()


def _doubtful(column: pa.Array) -> bool:
    """Return whether a `column` has numbers with points, and three digits behind each of them."""
    for some in (column[:_SOME], column):
        point = _count(some, _POINT)
        if point > _count(some, _POINT_THOUSANDS):
            return False
    return point > 0


def _count(column: pa.Array, pattern: str) -> int:
    return pc.sum(pc.match_substring_regex(column, pattern)).as_py() or 0


def without_thousands(cells: pa.Array, decimal: str) -> pa.Array:
    """Return `cells`, where texts such as 1,234 or 1,000..2,000.5 lose the marks between thousands, which are not `decimal`."""
    if not is_text(cells):
        return cells
    texts, other = pc.cast(cells, pa.large_string()), "," if decimal == "." else "."
    end = rf"{SIGN}([1-9]\d{{0,2}}(\{other}\d{{3}})+|\d+)(\{decimal}\d*)?"
    grouped = rf"^{SPACE}*({LIMIT})?{end}(\.\.{end})?{SPACE}*$"
    plain = pc.replace_substring(pc.replace_substring(texts, "..", _TO), other, "")
    return pc.if_else(pc.match_substring_regex(texts, grouped), pc.replace_substring(plain, _TO, ".."), texts)


def remarked(texts: pa.Array, own: str, wanted: str) -> pa.Array:
    """Return `texts`, where numbers and limits with the mark `own` in front of decimals have the `wanted` one, ungrouped."""
    plain = without_thousands(texts, own)
    number = pc.match_substring_regex(plain, rf"^({LIMIT})?{SIGN}\d*\{own}?\d+([eE]{SIGN}\d+)?(\.\..*)?$")
    return pc.if_else(number, pc.replace_substring(plain, own, wanted), texts)


def number_among(texts: Sequence[str]) -> str | None:
    """Return one of the `texts` that is a number with more beside it, such as 5 mg, if at least three texts and most are."""
    some = [text for text in texts if _WITH_MORE.fullmatch(text) and not _ALONE.fullmatch(text)]
    return some[0] if len(some) > max(2, len(texts) // 2) else None


def notes_of(marks: Mapping[str, Mark]) -> tuple[str, ...]:
    """Return sentences on the `marks` of columns that a reader might not expect."""
    ways = {
        Mark(","): "a comma marks decimals",
        Mark(",", True): "a comma marks decimals and a point thousands",
        Mark(".", True): "a comma marks thousands",
    }
    named = {way: [name for name, mark in marks.items() if mark == way] for way in ways}
    return tuple(f"{ways[way]} in {', '.join(map(repr, names))}" for way, names in named.items() if names)
