"""What a report is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Grid:
    """A table of texts: `header` and `rows`, each as long as the header. `caption` says what it shows."""

    caption: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Picture:
    """A picture: `draw` makes it, `caption` says what it shows, and `width` is its width on the page in pixels."""

    caption: str
    draw: Callable[[], Figure]
    width: int = 640


@dataclass(frozen=True)
class Section:
    """A part of a report: `title`, sentences (`lines`), `pictures`, `tables`, and `code` to copy."""

    title: str
    lines: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)
    code: str = ""


@dataclass(frozen=True)
class ModelReport:
    """A report on a model: its `title`, what it says `in_short`, its `warnings`, its `sections`, and the `numbers` for JSON."""

    title: str
    in_short: list[str]
    warnings: list[str]
    sections: list[Section]
    numbers: dict[str, Any]


def number(value: float | None) -> str:
    """Return `value` with three digits, a dash for None."""
    return "-" if value is None else f"{value:.3g}"


def share(value: float | None) -> str:
    """Return the share `value` in percent, a dash for None."""
    return "-" if value is None else f"{value:.0%}"


def percent(value: float, low: float | None, high: float | None) -> str:
    """Return the share `value` in percent, with its interval from `low` to `high` if it has one."""
    return share(value) if low is None or high is None else f"{share(value)} [{share(low)}, {share(high)}]"


def named(names: Sequence[str]) -> str:
    """Return `names` in a sentence: one, two and three. There is at least one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def interval(value: float, low: float | None, high: float | None) -> str:
    """Return `value` with its interval from `low` to `high`, if it has one."""
    return number(value) if low is None or high is None else f"{number(value)} [{number(low)}, {number(high)}]"
