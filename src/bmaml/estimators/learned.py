"""What a table model learned of its tasks: what it expects before any point, how much tasks differ, and the noise."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.estimators.left_out import axis_values, spelled
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.evaluation.metrics import LEVEL
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.tables import Column, Schema

_POINTS, _DRAWS, _ROWS, _LINES = 41, 400, 128, 8
# An input without a known range is drawn over so many standard deviations.
_REACH = 2.0


class Curve(TypedDict):
    """What is expected of an outcome along one input, the other inputs held, in the table's units.

    - `input`, `output`: names of the columns.
    - `x`: values of the input: numbers, or levels.
    - `centre`, `low`, `high`: the mean over tasks, and between which ends 90% of tasks lie.
    - `wide_low`, `wide_high`: between which ends 90% of measurements lie.
    - `lines`: the functions of a few tasks, drawn at random.
    """

    input: str
    output: str
    x: list[Any]
    centre: list[float]
    low: list[float]
    high: list[float]
    wide_low: list[float]
    wide_high: list[float]
    lines: list[list[float]]


class Parts(TypedDict):
    """The variance of an outcome over the range of the inputs, in parts that add up to it.

    `inputs` is that of the mean over tasks along the inputs, `level` how much tasks differ in their mean, `shape` how much they
    differ otherwise, and `noise` what no model of the task would tell. `deviations` are the roots of the parts, in units.
    """

    inputs: float
    level: float
    shape: float
    noise: float
    deviations: dict[str, float]


class Learned(TypedDict):
    """What a model learned: the `curves` by input and output, the `variance` of each output in parts, and the `held` values
    of the other inputs of a curve.
    """

    curves: list[Curve]
    variance: dict[str, Parts]
    held: dict[str, str]


class _Prior(NamedTuple):
    """Functions of random tasks (draws, rows, outputs), and mean, variance and 90% ends of a measurement, standardised."""

    functions: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learned(model: FewShotRegressor, seed: int = 0) -> Learned:
    """Return what a fitted `model` learned. `seed` is that of the random tasks.

    The variance is that over inputs drawn evenly and independently from the range of the rows fitted on.
    Raises: InputError before `fit`.
    """
    schema = model.schema_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        prior = AdaptedTask.prior(model.fitted(), schema, seed)
    curves = [curve for place, column in _places(schema) for curve in _curves(prior, column, place, seed)]
    rows = _random_rows(schema, seed)
    variance = _parts(_asked(prior.posterior, rows, seed), schema)
    return {"curves": curves, "variance": variance, "held": {column.name: _usual(column) for column in schema.inputs}}


def _places(schema: Schema) -> list[tuple[int, Column]]:
    """Return the inputs, each after the number of its first encoded column."""
    widths = [column.width for column in schema.inputs]
    return list(zip(np.cumsum([0, *widths])[:-1].tolist(), schema.inputs, strict=True))


def _range(column: Column) -> tuple[float, float]:
    return (column.low, column.high) if np.isfinite(column.high - column.low) else (-_REACH, _REACH)


def _usual(column: Column) -> str:
    """Return the value at which an input is held: the mean, or the first level."""
    if column.kind == "category":
        return column.levels[0] if column.levels else ""
    own = {column.name: 0.0 if column.level is None else column.level[0]}
    (value,) = spelled(column, axis_values(column, np.zeros((1, 2)), own))
    return value if isinstance(value, str) else f"{value:.3g}"


def _base(schema: Schema, count: int) -> np.ndarray:
    """Return `count` encoded rows at which every input is held."""
    rows = np.zeros((count, schema.width), np.float32)
    for place, column in _places(schema):
        if column.kind == "category" and not column.ordered:
            rows[:, place] = 1.0
    return rows


def _levels(column: Column) -> np.ndarray:
    """Return the encoded columns of each level of a category."""
    own = column.encode_levels(np.arange(len(column.levels)))
    return np.pad(own.astype(np.float32), ((0, 0), (0, int(column.gaps))))


def _curves(prior: AdaptedTask, column: Column, place: int, seed: int) -> list[Curve]:
    """Return what is expected along one input, for each output."""
    schema = prior.schema
    if column.kind == "category":
        encoded, x = _levels(column), list(column.levels)
    else:
        low, high = _range(column)
        if column.form == "boolean":
            grid = (np.array([0.0, 1.0]) - column.mean) / column.scale
        else:
            grid = np.linspace(low, high, _POINTS)
        encoded = np.zeros((len(grid), column.width), np.float32)
        encoded[:, 0] = grid
        own = {column.name: 0.0 if column.level is None else column.level[0]}
        x = spelled(column, axis_values(column, encoded, own))
    rows = _base(schema, len(encoded))
    rows[:, place : place + column.width] = encoded
    asked = _asked(prior.posterior, rows, seed)
    tail = (1 - LEVEL) / 2
    ends = np.quantile(asked.functions, [tail, 1 - tail], 0)
    parts = (asked.functions.mean(0), *ends, asked.low, asked.high, *asked.functions[:_LINES])
    values = [schema.decode_value(part) for part in parts]

    def of(number: int, output: int) -> list[float]:
        return [float(f"{value:.5g}") for value in values[number][:, output]]

    return [
        {
            "input": column.name,
            "output": output.name,
            "x": x,
            "centre": of(0, i),
            "low": of(1, i),
            "high": of(2, i),
            "wide_low": of(3, i),
            "wide_high": of(4, i),
            "lines": [of(number, i) for number in range(5, len(values))],
        }
        for i, output in enumerate(schema.outputs)
    ]


def _random_rows(schema: Schema, seed: int) -> np.ndarray:
    """Return encoded rows whose inputs are drawn evenly and independently."""
    rng, rows = np.random.default_rng(seed), np.zeros((_ROWS, schema.width), np.float32)
    for place, column in _places(schema):
        if column.kind == "category":
            levels = _levels(column)
            rows[:, place : place + column.width] = levels[rng.integers(len(levels), size=_ROWS)]
        elif column.form == "boolean":
            rows[:, place] = (rng.integers(2, size=_ROWS) - column.mean) / column.scale
        else:
            rows[:, place] = rng.uniform(*_range(column), size=_ROWS)
    return rows


def _parts(asked: _Prior, schema: Schema) -> dict[str, Parts]:
    """Return the parts of each output's variance."""
    functions = asked.functions
    centre, own = functions.mean(0), functions.mean(1)
    noise = np.maximum(asked.variance - functions.var(0), 0.0).mean(0)
    level = own.var(0)
    parts = (centre.var(0), level, np.maximum(functions.var(0).mean(0) - level, 0.0), noise)
    found: dict[str, Parts] = {}
    for i, column in enumerate(schema.outputs):
        names = dict(zip(("inputs", "level", "shape", "noise"), (float(part[i]) for part in parts), strict=True))
        total = sum(names.values()) or 1.0
        shares = {name: round(value / total, 4) for name, value in names.items()}
        deviations = {name: float(f"{np.sqrt(value) * column.scale:.4g}") for name, value in names.items()}
        found[column.name] = {**shares, "deviations": deviations}  # pyright: ignore[reportArgumentType]
    return found


def _asked(posterior: AbstractPosterior, rows: np.ndarray, seed: int) -> _Prior:
    """Return what a model expects of random tasks at encoded `rows`. The rows of one call belong to the same tasks."""
    key = jax.random.key(seed)
    functions, variance, low, high = _expected(posterior, jnp.asarray(rows), key)
    return _Prior(*(np.asarray(part, np.float64) for part in (functions, variance, low, high)))


@eqx.filter_jit
def _expected(posterior: AbstractPosterior, x: Array, key: PRNGKeyArray) -> tuple[Array, Array, Array, Array]:
    predictive: Any = posterior.predict(x)
    return posterior.sample_functions(x, key=key, count=_DRAWS), predictive.variance, *predictive.interval(LEVEL)
