"""Dates and times that are written as text: which form a column has, and its cells as numbers."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.tables.cells import by_level, coded, pc, without_missing
from bmaml.tables.table import Table

DAY = 86_400_000_000
"""Microseconds of a day."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = r"(?:[T ]+(?P<time>\d{1,2}:\d{2}.*))?"
_PARTS = re.compile(r"(?P<a>\d{1,2})(?P<mark>[/.-])(?P<b>\d{1,2})(?P=mark)(?P<year>\d{4})" + _TIME)
_MONTHS = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_SHORT = re.compile(r"(?:\d{1,2}([/.-])\d{1,2}\1|\d{1,2}[- ]" + _MONTHS + r"[a-z]*[- ])\d{2}(?:[T ]+\d{1,2}:\d{2}.*)?", re.I)
_ISO = re.compile(r"\d{4}-(?:\d\d-\d\d|W\d\d(?:-\d)?)(?:[T ].+)?")
# A date, and a time of day as people write it, with a zone.
_WITH_TIME = re.compile(
    r"(?P<date>.+?)(?:T| +)(?P<time>\d{1,2}:[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?)"
    r"(?P<half> ?(?i:[ap]m))?(?P<zone> ?(?:UTC|GMT|Z))?"
)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})[/.](?P<a>\d{1,2})[/.](?P<b>\d{1,2})" + _TIME)
# A month or a quarter is its first day. A lot or a season such as 2019-20 is no month.
_MONTH = re.compile(r"(?P<year>(?:19|20|21)\d\d)[-/](?P<month>0?[1-9]|1[0-2])")
_QUARTER = re.compile(r"(?P<year>\d{4})[ -]?Q(?P<quarter>[1-4])|Q(?P<early>[1-4])[ /-]?(?P<later>\d{4})", re.IGNORECASE)
_WORDS = (
    "%b %Y",
    "%B %Y",
    "%b-%Y",
    "%B-%Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d/%b/%Y",
    "%d%b%Y",
)
_CLOCK = re.compile(
    r"(?:(?P<d>\d+) days?,? )?(?P<h>\d{1,5}):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:\.\d+)?))? ?(?P<half>[ap]m)?", re.IGNORECASE
)
_NONE = -(2**63)


def are_dates(texts: Sequence[str]) -> bool:
    """Whether most of the different `texts` of a column look like dates, with or without a time of day."""
    some = list(texts[:1000])
    looks = sum(
        bool(_SHORT.fullmatch(text)) or _date(text, True) is not None or _date(text, False) is not None for text in some
    )
    return bool(some) and 2 * looks > len(some)


def say_compact(table: Table, name: str) -> None:
    """Warn if the numbers of the column `name` of `table` are all like 20240131, since as numbers months lie far apart."""
    values = table.numbers(name, missing=True)
    some = np.unique(values[np.isfinite(values)])
    if len(some) < 2 or some[0] < 19000101 or some[-1] > 21991231 or np.any(some % 1):
        return
    month, day = some // 100 % 100, some % 100
    if ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
        text = f"{some[0]:.0f}"
        warnings.warn(
            f"column {name!r} holds numbers such as {text}, which are taken as plain numbers: if they are dates, write them as "
            f"{text[:4]}-{text[4:6]}-{text[6:]}.",
            stacklevel=3,
        )


def are_clocks(texts: Sequence[str]) -> bool:
    """Whether most of the different `texts` of a column look like 14:30 or 2:30 pm."""
    some = list(texts[:1000])
    return bool(some) and 2 * sum(not math.isnan(_hours(text)) for text in some) > len(some)


def is_day_first(table: Table, name: str) -> bool | None:
    """Return whether 03/04/2024 is the third of April in the column `name`, or None if it has no such dates.

    Raises: InputError if neither the column nor the table's reading says so, or if years have two digits.
    """
    cells = table.column(name)
    if pa.types.is_temporal(cells.type):
        return table.reading.day_first
    texts = coded(cells, table.reading.of(name))[1]
    short = next((text for text in texts if _SHORT.fullmatch(text)), None)
    if short is not None:
        raise InputError(
            f"{table.name}, column {name!r} has dates such as {short!r}: give years four digits, best as 2024-03-31."
        )
    if table.reading.day_first is not None:
        return table.reading.day_first
    found = [match for text in texts if (match := _PARTS.fullmatch(text))]
    first, second = (any(int(match[part]) > 12 for match in found) for part in "ab")
    if found and first == second and found[0]["mark"] != ".":
        what = "could be day or month first" if not first else "are day first in some rows and month first in others"
        raise InputError(
            f"{table.name}, column {name!r} has dates such as {found[0][0]!r}, which {what}: give --dayfirst or --no-dayfirst "
            "(Reading(day_first=...) in Python)."
        )
    return not second if found else None


def microseconds(table: Table, name: str, day_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the dates of column `name` of `table` as int64 microseconds since 1970, and which are missing. They are of UTC
    where a zone is written.

    `day_first` says whether 03/04/2024 is the third of April.
    Raises: InputError that names the first cell that is no date.
    """
    cells = table.column(name)
    if pa.types.is_temporal(cells.type):
        stamps = pc.cast(pc.cast(cells, pa.timestamp("us"), safe=False), pa.int64())
        none = pc.is_null(stamps).to_numpy(zero_copy_only=False)
        return pc.fill_null(stamps, 0).to_numpy(zero_copy_only=False), none
    codes, texts = coded(cells, table.reading.of(name))
    levels = [_date(text, day_first) for text in texts]
    stamps = np.array([*(_NONE if level is None else level for level in levels), 0], np.int64)[codes]
    bad = np.flatnonzero(stamps == _NONE)
    if len(bad):
        text = texts[codes[bad[0]]]
        raise InputError(
            f"{table.cell(name, bad[0])} is {text!r} and the column holds dates: give a date like the others, as 2024-03-31."
        )
    return stamps, codes < 0


def hours(table: Table, name: str) -> np.ndarray:
    """Return the times of day (or spans) of column `name` of `table` in hours, NaN where a cell is missing.

    Raises: InputError that names the first cell that is no time.
    """
    cells = table.column(name)
    if pa.types.is_duration(cells.type) or pa.types.is_time(cells.type):
        whole = pa.duration("us") if pa.types.is_duration(cells.type) else pa.time64("us")
        counts = pc.cast(pc.cast(cells, whole, safe=False), pa.int64())
        return pc.cast(counts, pa.float64(), safe=False).to_numpy(zero_copy_only=False) / 3.6e9
    texts = without_missing(cells, table.reading.of(name))
    values = by_level(texts, (), _hours, np.nan)
    bad = np.flatnonzero(np.isnan(values) & pc.is_valid(texts).to_numpy(zero_copy_only=False))
    if len(bad):
        text = texts[int(bad[0])].as_py()
        raise InputError(f"{table.cell(name, bad[0])} is {text!r} and the column holds times: give a time such as 14:30.")
    return values


def clock_texts(seconds: np.ndarray) -> np.ndarray:
    """Return whole `seconds` since midnight as the cells of a column of times, such as 14:30:00."""
    return np.array([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds])


def shown_date(stamp: int) -> str:
    """Return the date of `stamp` (microseconds since 1970), with its time of day if this is not midnight."""
    moment = _EPOCH + timedelta(microseconds=stamp)
    return moment.strftime("%Y-%m-%d" if stamp % DAY == 0 else "%Y-%m-%d %H:%M:%S")


def _date(text: str, day_first: bool) -> int | None:
    """Return a date as microseconds since 1970, or None."""
    try:
        moment = _moment(text, day_first)
    except ValueError:
        return None
    if moment is None:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(text: str, day_first: bool) -> datetime | None:
    parts = _WITH_TIME.fullmatch(text)
    if not parts:
        return _day(text, day_first)
    day, clock = _day(parts["date"].rstrip(","), day_first), _hours(parts["time"] + (parts["half"] or ""))
    if day is None or not clock < 24:
        return None
    moment = day + timedelta(microseconds=round(clock * 3.6e9))
    return moment.replace(tzinfo=UTC) if parts["zone"] else moment


def _day(text: str, day_first: bool) -> datetime | None:
    match = _PARTS.fullmatch(text) or _YEAR_FIRST.fullmatch(text)
    if match:
        month, day = match["a"], match["b"]
        if match.re is _PARTS and (day_first or match["mark"] == "."):
            month, day = day, month
        clock = f"T{match['time'].strip():0>5}" if match["time"] else ""
        return datetime.fromisoformat(f"{match['year']}-{month:0>2}-{day:0>2}{clock}")
    if month := _MONTH.fullmatch(text):
        return datetime(int(month["year"]), int(month["month"]), 1)
    if quarter := _QUARTER.fullmatch(text):
        return datetime(int(quarter["year"] or quarter["later"]), 3 * int(quarter["quarter"] or quarter["early"]) - 2, 1)
    if _ISO.fullmatch(text):
        return datetime.fromisoformat(text)
    for form in _WORDS if any(letter.isalpha() for letter in text) and text[-4:].isdecimal() else ():
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


def _hours(text: str) -> float:
    """Return a time of day in hours, or NaN."""
    match = _CLOCK.fullmatch(text)
    if not match:
        return float("nan")
    whole = int(match["h"])
    if match["half"]:
        if not 1 <= whole <= 12:
            return float("nan")
        whole = whole % 12 + 12 * (match["half"].lower() == "pm")
    return 24 * int(match["d"] or 0) + whole + int(match["m"]) / 60 + float(match["s"] or 0) / 3600
