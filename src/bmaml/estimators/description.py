"""What a fitted table model has learned, in the table's units: how tasks are alike and differ, and what each input does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import length_class
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.inference.posteriors import AbstractPosterior, knows_noise, noise_entropy
from bmaml.io.aligned import aligned
from bmaml.likelihoods import FAMILIES, NORMAL
from bmaml.tables import Column, Schema
from bmaml.tables.outside import in_units

# Draws of a task, rows with random inputs, and places along an input.
_DRAWS, _ROWS, _PLACES = 256, 96, 5
# An input's effect is that of going from its lowest tenth to its highest.
_TENTH = 1.2816
_TAILS = (0.05, 0.95)


@dataclass(frozen=True)
class Place:
    """What is expected of a new task at one place of an input, the other inputs in their middle.

    - `at`: the place, as it is written in a table.
    - `mean`: mean over tasks.
    - `low`, `high`: where the middle 90% of tasks lie, without the deviation of single rows.
    """

    at: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """What an input does to the mean of an outcome, the other inputs in their middle.

    - `start`, `end`: the places that are compared: the ends of the middle 80% of a number, or two levels.
    - `change`: how much higher the mean is at `end` than at `start`.
    - `between`: standard deviation of this change between tasks, with what is not known of it.
    """

    start: str
    end: str
    change: float
    between: float


@dataclass(frozen=True)
class Learned:
    """What was learned of one outcome, in its units.

    - `mean`: mean over tasks and inputs.
    - `between`: standard deviation between tasks at the same inputs.
    - `within`: standard deviation of rows of a task around its own curve.
    - `shares`: shares of the variance: of the `inputs`, `between` tasks, and `within` them.
    - `curves`: what is expected along each number.
    - `effects`: what each input does.
    """

    mean: float
    between: float
    within: float
    shares: dict[str, float]
    curves: dict[str, list[Place]] = field(default_factory=dict)
    effects: dict[str, Effect] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What a fitted model has learned. Everything is what the model expects of a new task before any of its rows is given.

    - `tasks`: number of tasks that it was fitted on.
    - `family`: name of the family of the outcomes.
    - `outcomes`: what was learned of each outcome, by name.
    """

    tasks: int
    family: str
    outcomes: dict[str, Learned]

    def to_json(self) -> dict[str, Any]:
        """Return the description as values that JSON can hold."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the description as lines of text."""
        lines = [f"Learned from {self.tasks} tasks. Before any row of a new task is given:"]
        what = FAMILIES.find(self.family).mean
        for name, learned in self.outcomes.items():
            lines += ["", *_text(name, learned, what)]
        return lines


def describe(task: AdaptedTask, tasks: int) -> Description:
    """Return what a fitted model has learned.

    Functions of new tasks are drawn from it. Inputs vary over the range that was fitted on: numbers as normals, levels alike
    often.

    - `task`: the model before any row of a task.
    - `tasks`: how many tasks it was fitted on.
    """
    schema = task.schema
    random = _random_rows(schema)
    probes = [_probes(schema, i) for i in range(len(schema.inputs))]
    every = [row for _, rows in probes for row in rows]
    x = np.concatenate([random, np.stack(every)]) if every else random
    padded = jnp.asarray(x[np.arange(length_class(len(x))) % len(x)], jnp.zeros(()).dtype)
    found = _drawn(task.posterior, padded, jax.random.key(task.seed))
    drawn, deviation, noise = (np.asarray(part, np.float64) for part in found)
    drawn, deviation = schema.decode_value(drawn[:, : len(x)]), schema.decode_std(deviation[: len(x)])
    within = float((schema.decode_std(noise[:_ROWS]) ** 2).mean()) if schema.family == NORMAL.name else None
    if len(schema.outputs) > 1 or (within is not None and not np.isfinite(within)):
        within = None
    # Tasks whose own level is taken out of an outcome differ by that, too.
    level = np.random.default_rng(task.seed).normal(size=(len(drawn), 1, drawn.shape[-1])) * task._unknown
    deviation = np.hypot(deviation, task._unknown)
    outcomes = {
        column.name: _learned((drawn + level)[..., i], deviation[:, i], within, [labels for labels, _ in probes], schema)
        for i, column in enumerate(schema.outputs)
    }
    return Description(tasks, schema.family, outcomes)


@eqx.filter_jit
def _drawn(posterior: AbstractPosterior, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return draws of functions, the deviation of single rows, and the deviation of a normal with the noise's entropy."""
    deviation = posterior.predict(x).std
    noise = jnp.full_like(deviation, np.nan)
    if knows_noise(posterior):
        noise = jnp.exp(noise_entropy(posterior, x) - 0.5 * np.log(2 * np.pi * np.e))[:, None]
    return posterior.sample_functions(x, key=key, count=_DRAWS), deviation, noise


def _learned(
    drawn: np.ndarray, deviation: np.ndarray, within: float | None, labels: Sequence[list[str]], schema: Schema
) -> Learned:
    """Return what draws of an outcome (draws, rows) and the deviation of single rows say of it.

    `within` is the variance of the noise, or None where it is the part of the variance that draws do not have.
    """
    some = slice(0, _ROWS)
    mean, total = drawn[:, some].mean(0), float((deviation[some] ** 2).mean())
    within = max(total - float(drawn[:, some].var(0).mean()), 0.0) if within is None else min(within, total)
    parts = {"inputs": float(mean.var()), "between": total - within, "within": within}
    total = sum(parts.values()) or 1.0
    shares = {name: value / total for name, value in parts.items()}
    curves, effects, start = {}, {}, _ROWS
    for column, places in zip(schema.inputs, labels, strict=True):
        here = drawn[:, start : start + len(places)]
        start += len(places)
        if len(places) < 2:
            continue
        ends = (0, len(places) - 1)
        if column.kind == "number" and column.form != "boolean":
            ends = (len(places) - 2, len(places) - 1)
            low, high = np.quantile(here[:, :_PLACES], _TAILS, axis=0)
            rows = zip(places, here.mean(0), low, high, strict=False)
            curves[column.name] = [Place(at, *map(float, values)) for at, *values in rows][:_PLACES]
        elif column.kind == "category":
            ends = (int(here.mean(0).argmin()), int(here.mean(0).argmax()))
        change = here[:, ends[1]] - here[:, ends[0]]
        effects[column.name] = Effect(places[ends[0]], places[ends[1]], float(change.mean()), float(change.std()))
    return Learned(float(mean.mean()), parts["between"] ** 0.5, within**0.5, shares, curves, effects)


def _middle(schema: Schema) -> list[np.ndarray]:
    """Return the encoded middle of each input: the mean of a number, and levels in equal parts."""
    return [_encoded(column, 0.0) for column in schema.inputs] or [np.zeros(1)]


def _encoded(column: Column, value: float | None, level: int = 0) -> np.ndarray:
    """Return one encoded cell: a standardised number, or a level (`value` None), or levels in equal parts."""
    cell = np.zeros(column.width)
    if column.kind == "number":
        cell[0] = 0.0 if value is None else float(np.clip(value, column.low, column.high))
        return cell
    every = column.encode_levels(np.arange(len(column.levels)))
    cell[: every.shape[1]] = every[level] if value is None else every.mean(0)
    return cell


def _joined(schema: Schema, cells: list[np.ndarray]) -> np.ndarray:
    # The logarithm of an exposure of 1 is 0.
    return np.concatenate([*cells, np.zeros(int(schema.exposure is not None))])


def _random_rows(schema: Schema) -> np.ndarray:
    rng, rows = np.random.default_rng(0), []
    for _ in range(_ROWS):
        cells = [
            _encoded(c, float(rng.normal())) if c.kind == "number" else _encoded(c, None, int(rng.integers(len(c.levels))))
            for c in schema.inputs
        ]
        rows.append(_joined(schema, cells or [np.zeros(1)]))
    return np.stack(rows)


def _probes(schema: Schema, place: int) -> tuple[list[str], list[np.ndarray]]:
    """Return labels and encoded rows along input number `place`, the other inputs in their middle.

    For a number they are places over its range, then the ends of its middle 80%.
    """
    column, middle = schema.inputs[place], _middle(schema)

    def row(cell: np.ndarray) -> np.ndarray:
        return _joined(schema, [*middle[:place], cell, *middle[place + 1 :]])

    if column.kind == "category":
        return list(column.levels), [row(_encoded(column, None, i)) for i in range(len(column.levels))]
    ends = (column.low, column.high)
    if column.form == "boolean":
        return ["no", "yes"], [row(_encoded(column, end)) for end in ends]
    values = [*np.linspace(*ends, _PLACES), *np.clip([-_TENTH, _TENTH], *ends)]
    label = (lambda z: in_units(column, z)) if column.level is None else (lambda z: f"{column.mean + column.scale * z:+.4g}")
    return [label(z) for z in values], [row(_encoded(column, z)) for z in values]


def _text(name: str, learned: Learned, what: str) -> list[str]:
    shares = learned.shares
    lines = [
        f"{name}: {what} {learned.mean:.4g}",
        f"Tasks differ by {learned.between:.3g} at the same inputs (standard deviation),",
        f"and rows of a task by {learned.within:.3g} around its own curve.",
        f"Of the variance {shares['inputs']:.0%} is due to the inputs, {shares['between']:.0%} to tasks and "
        f"{shares['within']:.0%} to rows.",
    ]
    for column, places in learned.curves.items():
        rows = [[column, what, "90% of tasks"]]
        rows += [[p.at, f"{p.mean:.4g}", f"{p.low:.4g} to {p.high:.4g}"] for p in places]
        lines += ["", *aligned(rows, width=sys.maxsize).split("\n")]
    if learned.effects:
        rows = [["input", "from", "to", "change", "differs by"]]
        for column, e in learned.effects.items():
            rows.append([column, e.start, e.end, f"{e.change:+.3g}", f"{e.between:.3g}"])
    return lines
