"""What a fitted table model has learned, in the table's units: its form, and the text that says it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from bmaml.io.aligned import aligned, fitted
from bmaml.likelihoods import FAMILIES

# A table in words has so many rows along a number.
_SHOWN = 5


class Curve(TypedDict):
    """What is expected of an outcome along one input, the other inputs held, in the table's units.

    - `input`, `output`: names of the columns.
    - `axis`: what `x` is, in words: the name of the input, or the distance from a task's first row.
    - `x`, `levels`: values of the input: numbers, dates or levels, and whether they are levels.
    - `centre`, `low`, `high`: the mean over tasks, and between which ends 90% of tasks lie.
    - `wide_low`, `wide_high`: between which ends 90% of measurements lie.
    - `lines`: the functions of a few tasks, drawn at random.
    """

    input: str
    output: str
    axis: str
    x: list[Any]
    levels: bool
    centre: list[float]
    low: list[float]
    high: list[float]
    wide_low: list[float]
    wide_high: list[float]
    lines: list[list[float]]


class Parts(TypedDict):
    """The variance of an outcome over the range of the inputs, in parts that add up to it.

    `inputs` is the variance of the mean over tasks along the inputs. `level` says how much tasks differ in their mean, and
    `shape` how much they differ otherwise. `noise` is what no model of the task would tell. `deviations` are the roots of the
    parts, in units. `mean` is the mean over tasks and inputs.
    """

    inputs: float
    level: float
    shape: float
    noise: float
    deviations: dict[str, float]
    mean: float


class Effect(TypedDict):
    """What an input does to an outcome, the other inputs held.

    - `input`, `output`: names of the columns.
    - `start`, `end`: the places that are compared: the ends of about the middle 80% of a number, or two levels.
    - `change`: how much higher the mean over tasks is at `end` than at `start`.
    - `between`: standard deviation of this change between tasks, with what is not known of it.
    """

    input: str
    output: str
    start: str
    end: str
    change: float
    between: float


@dataclass(frozen=True)
class Learned:
    """What a fitted model learned. Everything is what it expects of a new task before any of its rows is given.

    - `tasks`: number of tasks that it was fitted on.
    - `family`: name of the family of the outcomes.
    - `variance`: the variance of each outcome in parts, for inputs drawn evenly from the range of the rows fitted on.
    - `curves`, `effects`: what is expected along each input, and what each input does.
    - `held`: the values of the other inputs of a curve or an effect.
    """

    tasks: int
    family: str
    variance: dict[str, Parts]
    curves: list[Curve]
    effects: list[Effect]
    held: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return what was learned as values that JSON can hold."""
        return asdict(self)

    def lines(self, width: int | None = None) -> list[str]:
        """Return what was learned as lines of text, each at most `width` characters (None: those of the terminal)."""
        lines = [f"Learned from {self.tasks} tasks. Before any row of a new task is given:"]
        what = FAMILIES.find(self.family).mean
        for name, parts in self.variance.items():
            lines += ["", *fitted(said(name, parts, what), width).split("\n")]
            for curve in (curve for curve in self.curves if curve["output"] == name):
                lines += ["", *aligned(_places_of(curve, what), width=width).split("\n")]
            effects = [effect for effect in self.effects if effect["output"] == name]
            if effects:
                rows = [["input", "from", "to", "change", "tasks differ by"]]
                rows += [[e["input"], e["start"], e["end"], f"{e['change']:+.3g}", f"{e['between']:.3g}"] for e in effects]
                lines += ["", *aligned(rows, width=width).split("\n")]
        if len(self.held) > 1:
            held = ", ".join(f"{name} = {value}" for name, value in self.held.items())
            lines += ["", *fitted(f"Along one input the others are held: {held}.", width).split("\n")]
        return lines


def said(name: str, parts: Parts, what: str) -> str:
    """Return sentences on the variance of the outcome `name`, given its `parts`.

    `what` names its expectation, such as the mean.
    """
    off = parts["deviations"]
    return (
        f"{name}: the {what} is {parts['mean']:.4g} over the range of the inputs. In standard deviations, tasks differ in "
        f"their level by {off['level']:.3g} and besides in their shape by {off['shape']:.3g}. The mean over tasks changes by "
        f"{off['inputs']:.3g} along the inputs, and rows of a task scatter by {off['noise']:.3g} around its own curve, which "
        f"no number of its rows would tell. Of the variance {parts['inputs']:.0%} is due to the inputs, "
        f"{parts['level']:.0%} to the level of a task, {parts['shape']:.0%} to its shape and {parts['noise']:.0%} to noise."
    )


def _places_of(curve: Curve, what: str) -> list[list[str]]:
    """Return a table of a curve, the header first: a few places of a number, or every level."""
    x = curve["x"]
    some = range(len(x)) if curve["levels"] else np.linspace(0, len(x) - 1, _SHOWN).round().astype(int).tolist()
    rows = [[curve["axis"], what, "90% of tasks"]]
    for i in some:
        at = x[i] if isinstance(x[i], str) else f"{x[i]:.4g}"
        rows.append([at, f"{curve['centre'][i]:.4g}", f"{curve['low'][i]:.4g} to {curve['high'][i]:.4g}"])
    return rows
