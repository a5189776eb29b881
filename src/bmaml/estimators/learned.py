"""How to find out what a table model learned: by the functions of random tasks, before any row of a task is given."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.special import ndtri

from bmaml.data import length_class
from bmaml.estimators.description import Curve, Effect, Learned, Parts
from bmaml.estimators.left_out import axis_values, spelled
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.evaluation.metrics import LEVEL
from bmaml.inference.posteriors import AbstractPosterior, knows_noise, noise_entropy
from bmaml.likelihoods import FAMILIES
from bmaml.tables import Column, Schema

_POINTS, _DRAWS, _ROWS, _LINES = 41, 400, 128, 8
# An input without a known range is drawn over so many standard deviations.
_REACH = 2.0
# An input's effect is that of going from its lowest tenth to its highest, if it is normal.
_TENTH = 1.2816
# Half the width of a normal's interval, in deviations.
_WIDE = float(ndtri((1 + LEVEL) / 2))


class _Asked(NamedTuple):
    """What is expected of random tasks at rows, standardised: draws of their functions (draws, rows, outputs), the variance
    and the 90% ends of a measurement, and the variance of the noise (NaN: what the draws do not have).
    """

    functions: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    noise: np.ndarray


def learned(prior: AdaptedTask, tasks: int) -> Learned:
    """Return what a fitted model learned.

    - `prior`: the model before any row of a task. Random tasks are drawn with its seed.
    - `tasks`: how many tasks it was fitted on.
    """
    schema = prior.schema
    rows = _random_rows(schema, prior.seed)
    curves, effects = [], []
    for place, column in _places(schema):
        along, change = _along(prior, column, place)
        curves += along
        effects += change
    held = {column.name: _usual(column) for column in schema.inputs}
    return Learned(tasks, schema.family, _parts(_asked(prior, rows), schema), curves, effects, held)


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
    return _spelled(column, np.zeros(1))[0]


def _values(column: Column, encoded: np.ndarray) -> list[float] | list[str]:
    """Return standardised numbers as people write them. Where a task's level is taken out, they are distances from its row."""
    if column.form == "boolean":
        return ["yes" if z * column.scale + column.mean > 0.5 else "no" for z in encoded.tolist()]
    if column.level is not None:
        return [float(f"{column.mean + column.scale * z:.5g}") + 0.0 for z in encoded.tolist()]
    return spelled(column, axis_values(column, encoded[:, None], {}))


def _spelled(column: Column, encoded: np.ndarray) -> list[str]:
    """Return standardised numbers as short texts."""
    sign = "" if column.level is None else "+"
    return [value if isinstance(value, str) else f"{value:{sign}.4g}" for value in _values(column, encoded)]


def _axis(column: Column) -> str:
    if column.level is None:
        return column.name
    return f"{'days' if column.form == 'date' else column.name} from the first row of a task"


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


def _probed(column: Column) -> tuple[np.ndarray, list[Any], list[str]]:
    """Return encoded cells along an input with their values, and the names of the ends of its effect.

    The cells of the ends of a number follow those of its values.
    """
    if column.kind == "category":
        return _levels(column), list(column.levels), []
    low, high = _range(column)
    grid = np.linspace(low, high, _POINTS)
    ends = np.clip([-_TENTH, _TENTH], low, high)
    if column.form == "boolean":
        grid = ends = (np.array([0.0, 1.0]) - column.mean) / column.scale
    encoded = np.zeros((len(grid) + len(ends), column.width), np.float32)
    encoded[:, 0] = [*grid, *ends]
    return encoded, list(_values(column, grid)), _spelled(column, ends)


def _along(prior: AdaptedTask, column: Column, place: int) -> tuple[list[Curve], list[Effect]]:
    """Return what is expected of each output along one input, and what the input does."""
    schema = prior.schema
    encoded, x, ends = _probed(column)
    rows = _base(schema, len(encoded))
    rows[:, place : place + column.width] = encoded
    asked = _asked(prior, rows)
    shown, levels = asked.functions[:, : len(x)], column.kind == "category" or column.form == "boolean"
    tail = (1 - LEVEL) / 2
    parts = (shown.mean(0), *np.quantile(shown, [tail, 1 - tail], 0), asked.low[: len(x)], asked.high[: len(x)])
    names = ("centre", "low", "high", "wide_low", "wide_high")
    curves, effects = [], []
    for i, output in enumerate(schema.answers):

        def of(values: np.ndarray, i: int = i) -> list[float]:
            return [float(f"{value:.5g}") for value in schema.decode_value(values)[:, i]]

        head: Any = {"input": column.name, "output": output.name, "axis": _axis(column), "x": x, "levels": levels}
        every = {name: of(part) for name, part in zip(names, parts, strict=True)}
        curves.append(head | every | {"lines": [of(line) for line in shown[:_LINES]]})
        if len(encoded) > 1:
            effects.append(_effect(asked.functions[..., i] * schema.scales[i], column, output, ends))
    return curves, effects


def _effect(drawn: np.ndarray, column: Column, output: Column, ends: list[str]) -> Effect:
    """Return what an input does, from draws (draws, cells) at its cells, and the names of the `ends` that come last."""
    first, last, names = -2, -1, ends
    if column.kind == "category":
        mean = drawn.mean(0)
        first, last = (0, len(mean) - 1) if column.ordered else (int(mean.argmin()), int(mean.argmax()))
        names = [column.levels[first], column.levels[last]]
    change = drawn[:, last] - drawn[:, first]
    moved, between = (float(f"{value:.4g}") for value in (change.mean(), change.std()))
    return {
        "input": column.name,
        "output": output.name,
        "start": names[0],
        "end": names[1],
        "change": moved,
        "between": between,
    }


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


def _parts(asked: _Asked, schema: Schema) -> dict[str, Parts]:
    """Return the parts of each output's variance."""
    functions = asked.functions
    centre, level = functions.mean(0), functions.mean(1).var(0)
    drawn = functions.var(0)
    unknown = np.maximum(asked.variance - drawn, 0.0).mean(0)
    noise = np.where(np.isfinite(asked.noise).all(0), np.minimum(asked.noise, asked.variance).mean(0), unknown)
    parts = (centre.var(0), level, np.maximum(drawn.mean(0) - level, 0.0), noise)
    found: dict[str, Parts] = {}
    for i, column in enumerate(schema.answers):
        names = dict(zip(("inputs", "level", "shape", "noise"), (float(part[i]) for part in parts), strict=True))
        total = sum(names.values()) or 1.0
        shares: Any = {name: round(value / total, 4) for name, value in names.items()}
        deviations = {name: float(f"{np.sqrt(value) * column.scale:.4g}") for name, value in names.items()}
        mean = float(f"{schema.decode_value(centre).mean(0)[i]:.5g}")
        found[column.name] = shares | {"deviations": deviations, "mean": mean}
    return found


def _asked(prior: AdaptedTask, rows: np.ndarray) -> _Asked:
    """Return what a model expects of random tasks at encoded `rows`. The rows of one call belong to the same tasks."""
    schema, count = prior.schema, len(rows)
    padded = jnp.asarray(rows[np.arange(length_class(count)) % count])
    found = _expected(prior.posterior, padded, jax.random.key(prior.seed), FAMILIES.find(schema.family).continuous)
    functions, variance, low, high, noise = (np.asarray(part, np.float64)[..., :count, :] for part in found)
    # Tasks whose own level is taken out of an outcome differ by that, too.
    own = np.array([0.0 if c.level is None else c.level[1] for c in schema.answers]) / schema.scales
    functions = functions + own * np.random.default_rng(prior.seed).normal(size=(len(functions), 1, len(own)))
    if own.any():
        middle = (low + high) / 2
        low, high = (middle + np.sign(end - middle) * np.hypot(end - middle, _WIDE * own) for end in (low, high))
    return _Asked(functions, variance + own**2, low, high, noise)


@eqx.filter_jit
def _expected(posterior: AbstractPosterior, x: Array, key: PRNGKeyArray, normal: bool) -> tuple[Array, ...]:
    predictive: Any = posterior.predict(x)
    variance = predictive.variance
    noise = jnp.full_like(variance, np.nan)
    if normal and knows_noise(posterior) and variance.shape[-1] == 1:
        # The variance of a normal with the entropy of the noise.
        noise = jnp.exp(2 * noise_entropy(posterior, x) - np.log(2 * np.pi * np.e))[:, None]
    return posterior.sample_functions(x, key=key, count=_DRAWS), variance, *predictive.interval(LEVEL), noise
