"""The cells of one column in memory, as an Arrow array: what is missing, what is a number, and what a cell says."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from bmaml.errors import InputError

# Arrow makes these functions when it is imported, so that a type checker sees none of them.
pc: Any = pyarrow.compute
# Texts that mean "no value" unless the user says otherwise. Compared without case.
MISSING = ("", "na", "n/a", "nan", "null", "none", "<na>", "nat", "?")
_TEXT = pa.large_string()
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_KNOWN = (
    *(pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_dictionary),
    *(pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_duration),
)
_SPACES = " \t\r\n\v\f\u00a0"
# Ways to write a number, and the one that all are brought to where numbers mean that there is no value.
_SAME_NUMBER = (
    ("^\u2212", "-"),
    (r"^(-?[0-9]+),([0-9]{1,2}|[0-9]{4,})$", r"\1.\2"),
    (r"^(-?[0-9]+\.[0-9]*?)0+$", r"\1"),
    (r"^(-?[0-9]+)\.$", r"\1"),
)
# Units of times that Arrow has.
_UNITS = ("s", "ms", "us", "ns")
# Cells that one thread converts at a time.
_AT_ONCE = 2**17


class Numbers(NamedTuple):
    """A column as numbers.

    - `values`: float64, NaN where there is no number.
    - `missing`: which cells are missing.
    - `wrong`: which cells are there and are no number.
    """

    values: np.ndarray
    missing: np.ndarray
    wrong: np.ndarray


def as_cells(values: Any, where: str) -> pa.Array:
    """Return a column of any library as one Arrow array.

    - `values`: an Arrow, NumPy (masked or not), pandas or polars column, or a sequence.
    - `where`: name of table and column, for messages.

    Raises: InputError if it has no single value for each row.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    elif not isinstance(values, pa.Array):
        values = _from_memory(values, where)
    if isinstance(values, pa.ChunkedArray):  # Arrow joins no chunks if it has no chunk, or where they are too long.
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):  # A UUID and the like: what stands in it, or the numbers below.
        written = kind.extension_name == "arrow.uuid"
        values = pa.array([_text(cell) for cell in values.to_pylist()], _TEXT) if written else values.storage
        return as_cells(values, where)
    if pa.types.is_nested(kind):
        raise InputError(f"{where} holds lists or records: give one value for each row.")
    if pa.types.is_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pc.cast(values, _TEXT)
    if pa.types.is_decimal(kind):
        return _from_decimals(values)
    if pa.types.is_float16(kind):
        return pa.array([_widened(cell, np.float16) for cell in values.to_pylist()], pa.float64())
    if any(is_bytes(kind) for is_bytes in _BYTES):
        return pa.array([_text(cell) for cell in values.to_pylist()], _TEXT)
    if not any(is_known(kind) for is_known in _KNOWN):
        raise InputError(f"{where} holds values of the type {kind}: give numbers, texts, dates or times.")
    return values


def _from_decimals(values: pa.Array) -> pa.Array:
    """Return decimal numbers as whole ones where they are, since databases write ids so, else as float64."""
    for kind in (pa.int64(), _TEXT) if values.type.scale <= 0 else (pa.int64(),):
        try:
            return pc.cast(values, kind)
        except pa.ArrowInvalid:
            continue
    return pc.cast(values, pa.float64())


def _from_memory(values: Any, where: str) -> pa.Array | pa.ChunkedArray:
    import narwhals.stable.v2 as nw

    kind = getattr(values, "dtype", None)
    if getattr(kind, "name", "").startswith("period["):  # Of pandas: a month or a quarter, by the day that it starts on.
        values = (values.dt if hasattr(values, "dt") else values).to_timestamp()
    categories = getattr(kind, "categories", None)
    # Of pandas: texts, or intervals, of which Arrow has none.
    if getattr(getattr(categories, "dtype", None), "kind", "") == "O":
        values = getattr(values, "cat", values).rename_categories(str)
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        try:
            # Arrow would get the addresses of objects of polars.
            return pa.array(series.to_list()) if series.dtype == nw.Object else series.to_arrow()
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            values = series.to_list()
    if hasattr(values, "dtype") and not isinstance(values, np.ndarray):  # Such as pandas' own arrays.
        try:
            return pa.array(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{where} has rows of different lengths: give one value for each row.") from None
    if array.ndim != 1:
        raise InputError(f"{where} has shape {array.shape}: give one value for each row.")
    if array.dtype.kind == "c":
        raise InputError(f"{where} holds complex numbers: give real and imaginary parts as two columns.")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    if array.dtype.kind == "S":
        array = array.astype(object)
    if array.dtype.kind in "mM" and np.datetime_data(array.dtype.str)[0] not in _UNITS:
        array = array.astype(f"{array.dtype.kind}8[s]")
    try:
        return pa.array(array, mask=mask)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Cells of several types, as in an object column that a spreadsheet filled.
        hidden = np.zeros(len(array), bool) if mask is None else mask
        cells = zip(array.tolist(), hidden, strict=True)
        return pa.array([None if gone else _text(cell) for cell, gone in cells], _TEXT)


def _text(cell: object) -> str | None:
    if _is_nothing(cell):
        return None
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace")  # So that different bytes, such as ids, stay different.
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    return text.encode("utf-8", "replace").decode()


def _is_nothing(cell: Any) -> bool:
    try:
        return cell is None or bool(cell != cell)  # Such as NaN and NaT.
    except TypeError:  # Of pandas: what is missing equals nothing and differs from nothing.
        return True


def _widened(cell: float | None, kind: type[np.floating[Any]]) -> float | None:
    """Return a number that was of a narrower `kind` as people read it: 0.1, and not 0.10000000149011612."""
    return None if cell is None else float(str(kind(cell)))


def is_text(cells: pa.Array) -> bool:
    """Whether `cells` are texts as read, whose meaning is still open."""
    kind = cells.type
    return pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)


def strings(cells: pa.Array) -> pa.Array:
    """Return `cells` as stripped texts, null where a cell is missing. 3.0 becomes 3, because a missing value elsewhere makes
    integers floats.
    """
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = pc.cast(cells, kind.value_type)
        return strings(as_cells(cells, ""))
    if pa.types.is_floating(kind):
        cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, kind), cells)
        whole = pc.and_(pc.equal(cells, pc.round(cells)), pc.less(pc.abs(cells), 1e18))
        if pc.all(pc.fill_null(whole, True)).as_py():
            return pc.cast(pc.cast(cells, pa.int64()), _TEXT)
        if pa.types.is_float32(kind):
            return pa.array([_text(_widened(cell, np.float32)) for cell in cells.to_pylist()], _TEXT)
        return pa.array([_text(cell) for cell in cells.to_pylist()], _TEXT)
    if not pa.types.is_large_string(kind):
        return pc.cast(cells, _TEXT)
    return pc.utf8_trim(cells, _SPACES)


def without_missing(cells: pa.Array, missing: Iterable[str]) -> pa.Array:
    """Return `cells` as texts, null where a text is one of `missing` (in lower case) or there is none."""
    if not is_text(cells):
        return strings(_without_numbers(cells, missing))
    texts = strings(cells)
    lower, gone = pc.utf8_lower(texts), pa.array(["", *missing], _TEXT)
    if _marks(missing):  # -999.0 and -999,0 are -999. With three digits the comma could mark thousands.
        lower, gone = _same_numbers(lower), _same_numbers(gone)
    return pc.if_else(pc.is_in(lower, gone), pa.scalar(None, _TEXT), texts)


def _same_numbers(texts: pa.Array) -> pa.Array:
    for way, same in _SAME_NUMBER:
        texts = pc.replace_substring_regex(texts, way, same)
    return texts


def _marks(missing: Iterable[str]) -> list[float]:
    """Return the numbers among the texts that mean no value, such as -999."""
    return [value for value in (_parse(text, ".") for text in missing) if np.isfinite(value)]


def _without_numbers(cells: pa.Array, missing: Iterable[str]) -> pa.Array:
    """Return `cells`, null where a number is one that means no value: these come as texts, also for a column of numbers."""
    marks = _marks(missing) if pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type) else []
    if not marks:
        return cells
    gone = pc.is_in(pc.cast(cells, pa.float64(), safe=False), pa.array(marks, pa.float64()))
    return pc.if_else(gone, pa.scalar(None, cells.type), cells)


def empty(cells: pa.Array, missing: Iterable[str]) -> np.ndarray:
    """Return which of `cells` have no value: null, NaN, or a text of `missing`."""
    cells = without_missing(cells, missing) if is_text(cells) else _without_numbers(cells, missing)
    return pc.is_null(cells, nan_is_null=True).to_numpy(zero_copy_only=False)


def numbers(cells: pa.Array, missing: Iterable[str], decimal: str = ".") -> Numbers:
    """Return `cells` as numbers; `decimal` is the mark in front of decimals, and `missing` the texts that mean no value.

    Dates and times are no numbers here.
    """
    kind = cells.type
    if pa.types.is_temporal(kind):
        none = empty(cells, missing)
        return Numbers(np.full(len(cells), np.nan), none, ~none)
    if not is_text(cells):
        cells = _without_numbers(cells, missing)
        values = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
        return Numbers(values, np.isnan(values), np.zeros(len(values), bool))
    texts = without_missing(cells, missing)
    none = pc.is_null(texts).to_numpy(zero_copy_only=False)
    values = _floats(texts) if decimal == "." else None
    if values is not None:
        return Numbers(values, none, np.zeros(len(none), bool))
    values = by_level(texts, (), lambda text: _parse(text, decimal), np.nan)
    # A text "nan" that does not mean "missing" is no number either.
    return Numbers(values, none, np.isnan(values) & ~none)


def limits(cells: pa.Array, missing: Iterable[str], decimal: str = ".") -> tuple[Numbers, np.ndarray]:
    """Return `cells` as numbers, of which some are limits, and how far the true number may lie from each.

    The latter is 0 for a plain number, minus infinity for `<0.1`, infinity for `>100`, and the width of `0.1..0.5`, whose
    number is the lower one. `missing` and `decimal` are as in `numbers`.
    """
    if not is_text(cells):
        found = numbers(cells, missing, decimal)
        return found, np.zeros(len(found.values))
    texts = without_missing(cells, missing)
    none = pc.is_null(texts).to_numpy(zero_copy_only=False)
    codes, levels = coded(texts, ())
    ends = np.array([*(_limit(level, decimal) for level in levels), (np.nan, 0.0)])[codes]
    return Numbers(ends[:, 0], none, ~np.isfinite(ends[:, 0]) & ~none), ends[:, 1]


def is_limit(text: str) -> bool:
    """Whether a cell's `text` says that a number lies below, above or between others."""
    return any(np.isfinite(_limit(text, mark)[0]) and _limit(text, mark)[1] != 0 for mark in ".,")


def _limit(text: str, decimal: str) -> tuple[float, float]:
    """Return the number of a text that may be a limit (NaN for another text), and how far the true number may lie from it."""
    rest = text.lstrip("<>\u2264\u2265")
    mark, first = text[: len(text) - len(rest)], rest.partition("..")
    value = _parse(rest.removeprefix("=").strip() if mark else first[0], decimal)
    if not mark and first[1]:
        width = _parse(first[2], decimal) - value
        return (value, width) if width > 0 else (np.nan, 0.0)
    if len(mark) > 1:
        return np.nan, 0.0
    return value, {"": 0.0, "<": -np.inf, "\u2264": -np.inf}.get(mark, np.inf)


def plain_numbers(cells: pa.Array, missing: Iterable[str]) -> Numbers | None:
    """Return the texts `cells` as numbers if each is a number, or one of `missing` as people write it, else None.

    Arrow converts them at once. To strip each text and to compare it with all that means no value takes several times as long.
    """
    if not pa.types.is_large_string(cells.type) or any(_parse(text, ".") == _parse(text, ".") for text in missing):
        return None
    values = _floats(cells)
    if values is None:
        gone = {"", *missing}
        written = sorted(gone | {text.upper() for text in gone} | {text.title() for text in gone})
        cells = pc.if_else(pc.is_in(cells, pa.array(written, _TEXT)), pa.scalar(None, _TEXT), cells)
        values = _floats(cells) if cells.null_count else None
    if values is None:
        return None
    none = pc.is_null(cells).to_numpy(zero_copy_only=False) if cells.null_count else np.zeros(len(cells), bool)
    return None if int(np.isnan(values).sum()) > cells.null_count else Numbers(values, none, np.zeros(len(cells), bool))


def _floats(texts: pa.Array) -> np.ndarray | None:
    """Return the `texts` as float64, NaN for null, or None if one is no number. Threads convert parts of them."""
    parts = [texts.slice(start, _AT_ONCE) for start in range(0, max(len(texts), 1), _AT_ONCE)]
    try:
        if len(parts) == 1:
            return pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        with ThreadPoolExecutor(pa.cpu_count()) as threads:
            found = list(threads.map(lambda part: pc.cast(part, pa.float64()).to_numpy(zero_copy_only=False), parts))
    except pa.ArrowInvalid:
        return None
    return np.concatenate(found)


def by_level(cells: pa.Array, missing: Iterable[str], convert: Callable[[str], float], none: float) -> np.ndarray:
    """Return `convert` of each of `cells` as float64, computed once for each different text; `none` for a cell of `missing`."""
    codes, levels = coded(cells, missing)
    converted = np.array([*(convert(level) for level in levels), none], np.float64)
    return converted[codes]


def coded(cells: pa.Array, missing: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """Return the place of each of `cells` in the list of different texts, -1 where it is one of `missing`, and this list in
    order of appearance.
    """
    if not pa.types.is_large_string(cells.type):
        return _places(without_missing(cells, missing))
    # What a text says is looked at once for each different text.
    codes, spelled = _encoded(cells)
    own, levels = _places(without_missing(spelled, missing))
    return (codes if len(levels) == len(spelled) else np.append(own, -1)[codes]), levels


def _places(texts: pa.Array) -> tuple[np.ndarray, list[str]]:
    codes, levels = _encoded(texts)
    return codes, levels.to_pylist()


def _encoded(texts: pa.Array) -> tuple[np.ndarray, pa.Array]:
    found = pc.dictionary_encode(texts)
    return pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64), found.dictionary


def shifted(cells: pa.Array, origin: int, missing: Iterable[str]) -> np.ndarray | None:
    """Return whole numbers minus `origin` as float64, exact even where double precision has no such neighbours. The result is
    NaN where a cell is one of `missing`, and None if `cells` are not whole numbers of 64 bits.
    """
    integers = whole(cells, missing)
    if integers is None:
        return None
    ends = pc.min_max(integers).as_py()
    if pa.types.is_int64(integers.type) and max(abs(origin), abs(ends["min"] or 0), abs(ends["max"] or 0)) < 2**62:
        return pc.cast(pc.subtract(integers, origin), pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array([np.nan if cell is None else float(cell - origin) for cell in integers.to_pylist()])


def whole(cells: pa.Array, missing: Iterable[str]) -> pa.Array | None:
    """Return `cells` as integers of 64 bits, null where a cell is one of `missing` (see `without_missing`), or None if they
    are no such.
    """
    for kind in (pa.int64(), pa.uint64()):
        try:
            return pc.cast(without_missing(cells, missing) if is_text(cells) else _without_numbers(cells, missing), kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return None


def labels(texts: list[str]) -> list[str]:
    """Return `label` of each of `texts`. Most are plain, and a look at all of them together is faster than at each."""
    plain = "".join(texts)
    return texts if plain.isascii() and "." not in plain else [label(text) for text in texts]


def label(text: str) -> str:
    """Return the form of the label `text` that all its spellings share: Unicode's composed form, and 3 for 3.0."""
    text = unicodedata.normalize("NFC", text)
    whole, point, rest = text.partition(".")
    return whole if point and not rest.strip("0") and rest and whole.lstrip("-").isdecimal() else text


def _parse(text: str, decimal: str) -> float:
    """Return a text as a number, or NaN. An underscore is a mistake here, not a digit separator as in Python.

    The minus sign that word processors write, U+2212, is one.
    """
    text = text.replace("\u2212", "-")
    if decimal != ".":
        text = text.replace(".", "_").replace(decimal, ".")
    try:
        return float("nan") if "_" in text else float(text)
    except ValueError:
        return float("nan")
