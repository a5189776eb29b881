"""How one column of a table becomes numbers, and how predictions return to the column's units."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from bmaml.errors import InputError, in_a_row
from bmaml.likelihoods.censored import NOWHERE
from bmaml.tables import cells as of_cells
from bmaml.tables import dates
from bmaml.tables.table import Table, listed

# In standard deviations of the fitted rows. Farther away, single precision is too coarse, and a model knows nothing.
_FURTHEST = 1e6
# Long tails are linear up to here, in standard deviations, and logarithmic beyond.
_LINEAR = 10.0
BEYOND = 3.0
"""How far beyond the range of the fitted rows a value may lie, in widths of this range. An input farther away counts as if it
lay there, since a model knows nothing of it and one such row would outweigh all others.
"""

Form = Literal[
    "number",
    "positive",
    "limited",
    "limited-positive",
    "reach",
    "error",
    "trials",
    "boolean",
    "date",
    "clock",
    "two",
    "ordered",
    "class",
    "count",
]


@dataclass(frozen=True)
class Column:
    """The encoding of one column: a standardised number, or a one-hot category.

    - `name`: name of the column.
    - `kind`: `"number"` or `"category"`.
    - `mean`, `scale`: mean and standard deviation of a number, in the column's units (in nats with `log`).
    - `log`: whether the logarithm is taken first.
    - `levels`: the levels of a category, in order.
    - `form`: how a cell is written that becomes a number: `"date"` (in days) and `"clock"` (in hours) are texts or times. An
      outcome may be `"two"`, one of two levels, `"ordered"`, one of several, a `"class"`, which is encoded as an indicator
      for each of the `levels`, a `"count"`, or `"positive"`. Cells of a
      `"limited"` one may be limits, such as <0.1, and `"reach"` is how far the truth may lie from them. An `"error"` is a
      number from 0 on, and `"trials"` a whole number from 1 on.
    - `day_first`: whether the date 03/04/2024 is the third of April (None: no fitted cell shows the order).
    - `decimal`: the mark that fitted texts have in front of decimals, for texts of new tables that leave it open.
    - `origin`: what is subtracted first, exactly (a date's in microseconds since 1970).
    - `gaps`: whether cells may be empty. An empty cell is encoded as 0, and a further encoded column is 1 there.
    - `ordered`: whether the levels have an order. Their encoding then counts how many levels lie below.
    - `level`: mean and standard deviation of the tasks' own levels, if tasks differ far more than their rows. An encoded number
      is then the distance to a row of the task, and an input has a further encoded column for this row's value.
    - `long_tails`: whether far values are encoded by their logarithm.
    - `rest`: whether the rarest levels were fitted as none of the known ones.
    - `low`, `high`: range of the fitted rows, standardised.
    - `note`: how the column was read, for people.
    """

    name: str
    kind: Literal["number", "category"] = "number"
    mean: float = 0.0
    scale: float = 1.0
    log: bool = False
    levels: tuple[str, ...] = ()
    form: Form = "number"
    day_first: bool | None = False
    decimal: Literal["", ".", ","] = ""
    origin: float | int = 0
    gaps: bool = False
    ordered: bool = False
    level: tuple[float, float] | None = None
    long_tails: bool = False
    rest: bool = False
    low: float = -np.inf
    high: float = np.inf
    note: str = ""

    @property
    def width(self) -> int:
        """Number of encoded columns of an input."""
        own = len(self.levels) - self.ordered if self.kind == "category" else 1 + (self.level is not None)
        return own + self.gaps

    def encode(self, table: Table, reference: np.ndarray | float | None = None) -> np.ndarray:
        """Return the column of `table` as float64 of shape `(rows, width)`. An unknown level becomes a row of zeros, with one
        warning.

        `reference` is the task's reference value (see `raw`), one or one for each row, if the column has a `level`.
        Raises: InputError that names the cell that does not fit.
        """
        if self.kind == "category":
            codes, levels = table.coded(self.name, missing=self.gaps)
            return self._with_gaps(self._one_hot(codes, levels), codes < 0)
        values, none = self.raw(table), self._missing(table)
        if self.level is None:
            return self._with_gaps(self._nearer(self._standardised(table, values))[:, None], none)
        away = self._nearer(self._standardised(table, values - reference))
        own = np.broadcast_to((np.asarray(reference) - self.level[0]) / self.level[1], away.shape)
        return self._with_gaps(np.stack([away, np.nan_to_num(own)], 1), none)

    def target(self, table: Table, reference: np.ndarray | float | None = None) -> np.ndarray:
        """Return the outputs of `table` in this column as float64 of shape `(rows, 1)`, standardised. A class has an output
        for each level. `reference` is as in `encode`.
        """
        values = self.raw(table)
        if self.form == "reach":
            return np.clip(values / self.scale, -NOWHERE, NOWHERE)[:, None]
        if self.form in ("two", "ordered", "count"):
            return values[:, None]
        if self.form == "class":
            return self.encode_levels(values.astype(int))
        return self._standardised(table, values if self.level is None else values - reference)[:, None]

    def raw(self, table: Table) -> np.ndarray:
        """Return the column of `table` as float64 of shape `(rows,)`: numbers minus `origin`, in the column's units; NaN where
        a cell is empty.

        Raises: InputError that names the cell that does not fit.
        """
        if self.form in ("date", "clock"):
            return self._time(table)
        if self.form in ("two", "ordered", "class"):
            return self._level(table)
        if self.form == "reach":  # A row to predict may have no column of outcomes.
            return table.limits(self.name, missing=True)[1] if self.name in table.columns else np.zeros(len(table))
        if self.form in ("limited", "limited-positive"):
            values = table.limits(self.name, missing=self.gaps)[0]
            self._check_range(table, values)
            return values
        if self.form == "boolean":
            return booleans(table, self.name, missing=self.gaps)
        if self.origin and isinstance(self.origin, int):
            values = of_cells.shifted(table.column(self.name), self.origin, table.reading.of(self.name))
            if values is not None and (self.gaps or not np.isnan(values).any()):
                return values
        values = table.numbers(self.name, missing=self.gaps)
        values = values - self.origin if self.origin else values
        self._check_range(table, values)
        bad = np.flatnonzero(values <= 0) if self.log else []
        if len(bad):
            raise InputError(
                f"{table.cell(self.name, bad[0])} is {values[bad[0]]:g} which has no logarithm: "
                "give a positive number, or do not take the log of this column."
            )
        return np.log(values) if self.log else values

    def _level(self, table: Table) -> np.ndarray:
        """Return the number of the level of each cell, the first of which is 0."""
        codes, levels = table.coded(self.name, missing=self.gaps)
        values = np.array([*(float(self.levels.index(level)) if level in self.levels else np.inf for level in levels), np.nan])
        bad = np.flatnonzero(np.isinf(values[codes]))
        if len(bad):
            cell = table.cell(self.name, bad[0])
            raise InputError(f"{cell} is {levels[codes[bad[0]]]!r}: give {in_a_row(self.levels)}.")
        return values[codes]

    def _check_range(self, table: Table, values: np.ndarray) -> None:
        """Check that the numbers are such as the form has.

        Raises: InputError that names the first cell that is not.
        """
        if self.form == "count":
            wrong, right = (values < 0) | (values != np.floor(values)), "a count is a whole number from 0 on"
        elif self.form == "trials":
            wrong, right = (values < 1) | (values != np.floor(values)), "a number of trials is a whole number from 1 on"
        elif self.form in ("positive", "limited-positive"):
            wrong, right = values <= 0, "an outcome of this family is above 0"
        elif self.form == "error":
            wrong, right = values < 0, "the error of a measurement is its standard deviation, a number from 0 on"
        else:
            return
        bad = np.flatnonzero(wrong)
        if len(bad):
            raise InputError(
                f"{table.cell(self.name, bad[0])} is {values[bad[0]]:g}: {right}, so give such a number, or leave the row out."
            )

    def _time(self, table: Table) -> np.ndarray:
        if self.form == "clock":
            values = dates.hours(table, self.name)
        else:
            stamps, none = dates.microseconds(table, self.name, self.is_day_first(table))
            values = np.where(none, np.nan, (stamps - int(self.origin)) / dates.DAY)
        missing = np.flatnonzero(np.isnan(values))
        if len(missing) and not self.gaps:
            raise InputError(f"{table.cell(self.name, missing[0])} is empty: fill it in, or remove the row.")
        return values

    def is_day_first(self, table: Table) -> bool:
        """Return whether the date 03/04/2024 of `table` is the third of April: as it was asked for, fitted, or is seen.

        Raises: InputError if it could be either.
        """
        said = table.reading.day_first if table.reading.day_first is not None else self.day_first
        return bool(dates.is_day_first(table, self.name) if said is None else said)

    def _missing(self, table: Table) -> np.ndarray:
        return table.empty(self.name) if self.gaps else np.zeros(len(table), bool)

    def _with_gaps(self, encoded: np.ndarray, none: np.ndarray) -> np.ndarray:
        if not self.gaps:
            return encoded
        return np.concatenate([np.where(none[:, None], 0.0, encoded), none[:, None]], 1)

    def _standardised(self, table: Table, values: np.ndarray) -> np.ndarray:
        values = values - self.mean
        values /= self.scale
        if self.long_tails:
            size = np.abs(values)
            return np.where(
                size > _LINEAR, np.sign(values) * _LINEAR * (1 + np.log(np.maximum(size, _LINEAR) / _LINEAR)), values
            )
        margin, (low, high) = BEYOND * (self.high - self.low), _ends(values)
        # Which cell is too far away is looked for where one is.
        if max(-low, high) <= _FURTHEST and not (low < self.low - margin or high > self.high + margin):
            return values
        size = np.abs(values)
        far = np.flatnonzero(size > _FURTHEST)
        if len(far):
            raise InputError(
                f"{table.cell(self.name, far[0])} is {size[far[0]]:.1g} deviations from the mean of the rows fitted on: "
                "check its unit, or remove the row."
            )
        beyond = np.flatnonzero((values < self.low - margin) | (values > self.high + margin)) if np.isfinite(margin) else []
        if len(beyond):
            more = f" (and {len(beyond) - 1} more)" if len(beyond) > 1 else ""
            far_away = f"{size[beyond[0]]:,.0f} deviations from the mean of the rows fitted on"
            warnings.warn(
                f"{table.cell(self.name, beyond[0])}{more} is {far_away}: check its unit, since the model knows nothing there; "
                "an input counts as if it lay at the edge of what the model knows.",
                stacklevel=2,
            )
        return values

    def _nearer(self, values: np.ndarray) -> np.ndarray:
        """Return standardised inputs with those far outside of the rows fitted on moved to the edge."""
        margin, (low, high) = BEYOND * ((self.high - self.low) or 1.0), _ends(values)
        within = not np.isfinite(margin) or not (low < self.low - margin or high > self.high + margin)
        return values if within else np.clip(values, self.low - margin, self.high + margin)

    def _one_hot(self, codes: np.ndarray, levels: list[str]) -> np.ndarray:
        place = {level: i for i, level in enumerate(self.levels)}
        unknown = sorted(set(levels) - set(place))
        if unknown and not self.rest:
            warnings.warn(
                f"column {self.name!r} has levels that training did not see ({listed(unknown, 5)}): "
                "they are encoded as none of the known ones.",
                stacklevel=2,
            )
        codes = np.array([*(place.get(level, -1) for level in levels), -1])[codes]
        return self.encode_levels(codes)

    def encode_levels(self, codes: np.ndarray) -> np.ndarray:
        """Return the levels with the numbers `codes` (-1 for none) as float64 of shape `(rows, width)`, without the encoded
        column of empty cells.
        """
        if self.ordered:
            return (codes[:, None] > np.arange(len(self.levels) - 1)).astype(np.float64)
        return (codes[:, None] == np.arange(len(self.levels))).astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the encoding as values that JSON can hold."""
        ends = {name: value if np.isfinite(value) else None for name, value in (("low", self.low), ("high", self.high))}
        return asdict(self) | {"levels": list(self.levels), "level": None if self.level is None else list(self.level)} | ends

    @staticmethod
    def from_json(values: dict[str, Any]) -> Column:
        """Return the encoding from `values`, which `to_json` wrote. Older versions wrote fewer of them."""
        ends: dict[str, Any] = {name: end for name, end in (("low", -np.inf), ("high", np.inf)) if values.get(name) is None}
        level = None if values.get("level") is None else tuple(values["level"])
        changed: dict[str, Any] = {"levels": tuple(values["levels"]), "level": level}
        return Column(**(values | changed | ends))


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest of `values` that are there."""
    return float(np.fmin.reduce(values, initial=np.inf)), float(np.fmax.reduce(values, initial=-np.inf))


def booleans(table: Table, name: str, *, missing: bool) -> np.ndarray:
    """Return the column `name` of `table`, true and false (in any case, or 1 and 0), as 1 and 0. With `missing`, an empty cell
    is NaN.

    Raises: InputError that names the first cell that is neither.
    """
    codes, levels = table.coded(name, missing=missing)
    values = np.array([*(BOOLEANS.get(level.lower(), np.inf) for level in levels), np.nan])[codes]
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise InputError(f"{table.cell(name, bad[0])} is {levels[codes[bad[0]]]!r}: give true or false.")
    return values


BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def side_by_side(rows: int, width: int, parts: Iterable[np.ndarray]) -> np.ndarray:
    """Return columns as one array of shape `(rows, width)` in single precision.

    They come one by one (`parts`), so that only one is held in double precision.
    """
    found, start = np.empty((rows, width), np.float32), 0
    for part in parts:
        found[:, start : start + part.shape[1]] = part
        start += part.shape[1]
    return found
