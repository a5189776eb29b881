"""The axes of a page: what a column's numbers are on the screen, and which cells of a table they stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bmaml.errors import InputError
from bmaml.tables import Column
from bmaml.tables.dates import DAY, clock_texts
from bmaml.tables.outside import MARGIN

# How many deviations around its mean a column without a known range is shown.
_DEVIATIONS = 2.5
Form = Literal["number", "date", "clock"]
# Of a usual amount above 0, the least that a click can mean.
_SMALL = 1e-3


@dataclass(frozen=True)
class Axis:
    """One input or the outcome of a model, as it is drawn.

    - `name`: the column's name.
    - `low`, `high`: the ends that are shown. Dates are in milliseconds since 1970, and times of day in hours.
    - `log`: whether the axis is logarithmic.
    - `form`: what the numbers stand for.
    - `levels`: names of the levels of a category, whose numbers are their places in this list. Empty for numbers.
    - `whole`: whether values are whole numbers (a count, or the place of one of two levels).
    - `least`: the least value that the column can have.
    """

    name: str
    low: float
    high: float
    log: bool = False
    form: Form = "number"
    levels: tuple[str, ...] = ()
    whole: bool = False
    least: float = -np.inf

    def grid(self, count: int) -> np.ndarray:
        """Return `count` values from one end to the other, evenly spread on the screen."""
        return np.geomspace(self.low, self.high, count) if self.log else np.linspace(self.low, self.high, count)

    @property
    def middle(self) -> float:
        """The value in the middle of the axis, rounded to a hundredth of its length."""
        middle = float(self.grid(3)[1])
        size = middle if self.log else self.high - self.low
        digits = 2 - int(np.floor(np.log10(abs(size) or 1.0)))
        return round(middle, digits) + 0.0

    def snapped(self, value: float) -> float:
        """Return the value that a point at `value` stands for: itself, or the nearest one that the column can have."""
        value = float(np.round(value)) if self.whole else float(value)
        if self.levels:
            return float(np.clip(value, 0, len(self.levels) - 1))
        return max(value, 0.0 if self.whole else self.least)

    def cells(self, values: np.ndarray) -> np.ndarray:
        """Return `values` as the cells that a table has in this column."""
        values = np.asarray(values, np.float64)
        if self.levels:
            return np.array(self.levels, dtype=object)[values.astype(int)].astype(str)
        if self.form == "date":
            return (values * 1000).astype("int64").astype("datetime64[us]")
        if self.form == "clock":
            return clock_texts(np.round(values * 3600).astype(int) % 86_400)
        return values

    def text(self, value: float) -> str:
        """Return `value` in words."""
        if self.levels:
            return self.levels[int(value)]
        if self.form == "date":
            return str(self.cells(np.array([value]))[0].astype("datetime64[s]")).replace("T", " ")
        if self.form == "clock":
            return str(self.cells(np.array([value]))[0])
        return f"{value:.4g}"


def input_axis(column: Column) -> Axis:
    """Return the axis of an input `column`: the range of the rows fitted on, and the room around it that needs no warning.

    Raises: InputError for a column that cannot be empty or drawn.
    """
    if column.kind == "category":
        return Axis(column.name, 0.0, len(column.levels) - 1.0, levels=column.levels)
    if column.form == "boolean":
        return Axis(column.name, 0.0, 1.0, levels=("false", "true"))
    low, high = _standardised_ends(column)
    centre = 0.0 if column.level is None else column.level[0]
    low, high = (end * column.scale + column.mean + centre for end in (low, high))
    if column.form == "date":
        low, high = (end * (DAY / 1000) + float(column.origin) / 1000 for end in (low, high))
        return Axis(column.name, low, high, form="date")
    if column.form == "clock":
        return Axis(column.name, max(low, 0.0), min(high, 23.99), form="clock")
    if column.form != "number":
        raise InputError(f"column {column.name!r} is no number, date or category: explore cannot draw it as an input.")
    origin = float(column.origin)
    if column.log:
        return Axis(column.name, float(np.exp(low)) + origin, float(np.exp(high)) + origin, log=True)
    return Axis(column.name, low + origin, high + origin)


def _standardised_ends(column: Column) -> tuple[float, float]:
    if not (np.isfinite(column.low) and np.isfinite(column.high)):
        return -_DEVIATIONS, _DEVIATIONS
    margin = MARGIN * ((column.high - column.low) or 1.0)
    return column.low - margin, column.high + margin


def outcome_axis(column: Column, low: float, high: float) -> Axis:
    """Return the axis of an outcome's `column` that shows `low` to `high`, in the column's units, and some room around."""
    if column.form == "two":
        return Axis(column.name, -0.15, 1.15, levels=column.levels, whole=True)
    if column.form == "count":
        return Axis(column.name, -0.05 * high, 1.3 * high + 1, whole=True)
    axis = numbers_axis(column.name, low, high)
    if column.form in ("positive", "limited-positive"):  # A click beside the axis is a small amount.
        return replace(axis, low=min(0.0, low), least=_SMALL * column.scale)
    return axis


def numbers_axis(name: str, low: float, high: float) -> Axis:
    """Return the axis of an outcome called `name` that shows `low` to `high`, and some room around."""
    room = 0.25 * ((high - low) or 1.0)
    return Axis(name, low - room, high + room)
