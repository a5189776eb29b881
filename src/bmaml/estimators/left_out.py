"""What was predicted of tasks that a training did not see: how right each task was, how honest intervals are, and examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.estimators.scores import averaged, in_units, missed, reach_of
from bmaml.estimators.surprise import known_outputs
from bmaml.evaluation.intervals import bootstrap
from bmaml.evaluation.metrics import LEVEL
from bmaml.io.files import read_plain
from bmaml.tables import Column, Schema, Table
from bmaml.tables.dates import DAY
from bmaml.tables.schema import references

LEFT_OUT = "left_out.json"
"""Name of the file in a model's folder."""

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_BINS = 10
_MOST_BYTES = 2**26
# Examples are some of the best, of the middle and of the worst predicted tasks.
_SHOWN = 12
# Examples are predicted from about so many rows.
_USUAL = 3

Numbers = list[float | None]


class Example(TypedDict):
    """The prediction of one task, in the table's units: `x` is None if no single number varies within tasks.

    - `task`, `rank`: the task's name, and its place among all tasks, the best predicted first.
    - `given_x`, `given_y`: the given rows.
    - `x`, `y`, `mean`, `low`, `high`: the other rows, their outcome, and what was predicted of it (90% interval).
    """

    task: str
    rank: int
    given_x: list[Any] | None
    given_y: list[list[float]]
    x: list[Any] | None
    y: list[list[float]]
    mean: list[list[float]]
    low: list[list[float]]
    high: list[list[float]]


class LeftOut(TypedDict):
    """What was predicted of tasks that a training did not see, as JSON can hold it.

    - `tasks`, `given`: names of the tasks, and numbers of given rows.
    - `nll`: NLL a row of each task after each number of given rows, in nats and the table's units (None: not asked).
    - `rmse`, `covered`: by output, the root mean squared error and the share of rows in the 90% interval, in the same way.
    - `levels`, `held`: by output, the share of rows that each central interval held, with its 95% interval over tasks, after
      each number of given rows.
    - `pit`: by output, the share of rows in each tenth of their predictive distribution, after each number of given rows.
    - `axis`, `shown_after`, `examples`: name of the input that examples are drawn over (or None), how many rows they are
      predicted from, and the examples.
    """

    tasks: list[str]
    given: list[int]
    nll: list[Numbers]
    rmse: dict[str, list[Numbers]]
    covered: dict[str, list[Numbers]]
    levels: list[float]
    held: dict[str, list[list[tuple[float, float, float]]]]
    pit: dict[str, list[list[float]]]
    axis: str | None
    shown_after: int
    examples: list[Example]


class Predicted(NamedTuple):
    """Questions about tasks and what was answered, standardised: questions on a leading axis, then rows, then outputs.

    - `owner`, `given`: number of each question's task, and how many rows it is given.
    - `support`, `query`: the given rows and the other rows, padded.
    - `mean`, `nll`, `cdf`: predicted mean, NLL of each row, and CDF at each outcome (of whole numbers a random one).
    - `interval`: returns the ends of the 90% intervals of the numbered questions.
    """

    owner: np.ndarray
    given: np.ndarray
    support: Data
    query: Data
    mean: np.ndarray
    nll: np.ndarray
    cdf: np.ndarray
    interval: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Names(NamedTuple):
    """The `names` of a table's tasks, and the `references` that each is seen from, in columns whose level is taken out."""

    names: list[str]
    references: list[Mapping[str, float]]


def names_of(table: Table, schema: Schema, least: int = 0) -> Names:
    """Return the tasks of `table` with more than `least` rows, in the order of its encoded tasks.

    `schema` says what the columns mean.
    """
    parts = {name: rows for name, rows in schema.rows(table).items() if len(rows) > least}
    if not schema.relative:
        return Names(list(parts), [{} for _ in parts])
    read = schema.as_read(table)
    own = references(schema.relative, read, schema.tasks(read)[0], parts, schema.selection)
    return Names(list(parts), [{name: float(values[rows[0]]) for name, values in own.items()} for rows in parts.values()])


def left_out(answered: Predicted, tasks: Names, schema: Schema) -> LeftOut:
    """Return the record of what was predicted.

    - `answered`: the questions and answers.
    - `tasks`: the tasks that the questions are about.
    - `schema`: what the columns mean.
    """
    given = sorted(set(answered.given.tolist()))
    outputs = [column.name for column in schema.answers]
    mask = np.asarray(answered.query.mask, np.float64)
    away = np.abs(answered.cdf - 0.5)
    inside = np.stack([away < level / 2 for level in (*LEVELS, LEVEL)], -1)  # questions, rows, outputs, levels
    tenth = np.minimum((answered.cdf * _BINS).astype(int), _BINS - 1)[..., None] == np.arange(_BINS)
    reach = reach_of(schema, np.asarray(answered.query.x))
    each = {
        "nll": averaged(in_units(answered.nll, reach, schema), mask),
        "square": averaged(missed(answered.mean, np.asarray(answered.query.y), reach) ** 2, mask),
        "inside": averaged(inside, mask),
        "tenth": averaged(tenth, mask),
    }
    by_task = {name: [_by_task(values, answered, count, len(tasks.names)) for count in given] for name, values in each.items()}
    after = min(given, key=lambda count: (abs(count - _USUAL), -count))
    found = {
        "nll": [_listed(values) for values in by_task["nll"]],
        "rmse": {
            name: [_listed(np.sqrt(values[:, i]) * schema.scales[i]) for values in by_task["square"]]
            for i, name in enumerate(outputs)
        },
        "covered": {name: [_listed(values[:, i, -1]) for values in by_task["inside"]] for i, name in enumerate(outputs)},
        "held": {name: [_held(values[:, i, :-1]) for values in by_task["inside"]] for i, name in enumerate(outputs)},
        "pit": {
            name: [np.nanmean(values[:, i], 0).round(4).tolist() for values in by_task["tenth"]]
            for i, name in enumerate(outputs)
        },
    }
    axis, examples = _examples(answered, by_task["nll"][given.index(after)], after, tasks, schema)
    head: Any = {"tasks": tasks.names, "given": given, "levels": list(LEVELS)}
    return head | found | {"axis": axis, "shown_after": after, "examples": examples}


def _by_task(values: np.ndarray, answered: Predicted, count: int, tasks: int) -> np.ndarray:
    """Return the mean over the questions about each task after `count` given rows, NaN for a task without any."""
    here = answered.given == count
    counts = np.bincount(answered.owner[here], minlength=tasks).astype(np.float64)
    total = np.zeros((tasks, *values.shape[1:]))
    np.add.at(total, answered.owner[here], values[here])
    with np.errstate(invalid="ignore"):
        return total / counts.reshape(-1, *[1] * (values.ndim - 1))


def _held(values: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the mean of each column over the tasks (rows) that have numbers, with its interval."""
    known = values[np.isfinite(values[:, 0])]
    ends = bootstrap(known.T, lambda sample: sample.mean(-1))
    return [(round(a, 4), round(b, 4), round(c, 4)) for a, b, c in zip(*(end.tolist() for end in ends), strict=True)]


def _listed(values: np.ndarray) -> Numbers:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]


def _examples(
    answered: Predicted, nll: np.ndarray, after: int, tasks: Names, schema: Schema
) -> tuple[str | None, list[Example]]:
    """Return the axis of the examples, and the examples: best, middle and worst predicted tasks."""
    order = [int(task) for task in np.argsort(nll, kind="stable") if np.isfinite(nll[task])]
    some = _spread(len(order))
    first = {int(task): i for i, task in reversed(list(enumerate(answered.owner))) if answered.given[i] == after}
    questions = np.array([first[order[place]] for place in some])
    moving = _moving(answered, questions, schema)
    low, high = answered.interval(questions)
    examples = [
        _example(answered, i, (low[row], high[row]), moving, tasks, schema) | {"rank": some[row] + 1}
        for row, i in enumerate(questions.tolist())
    ]
    return None if moving is None else moving[0].name, examples  # pyright: ignore[reportReturnType]


def _spread(count: int) -> list[int]:
    """Return places of some of `count` ranked tasks: a third of them the best, a third in the middle, a third the worst."""
    if count <= _SHOWN:
        return list(range(count))
    third, middle = _SHOWN // 3, (count - _SHOWN // 3) // 2
    return sorted({*range(third), *range(middle, middle + third), *range(count - third, count)})


def _moving(answered: Predicted, questions: np.ndarray, schema: Schema) -> tuple[Column, int] | None:
    """Return the one input that varies within the tasks of `questions`, if it is a number, and its first encoded column."""
    x, mask = (
        np.concatenate([np.asarray(getattr(side, name))[questions] for side in (answered.support, answered.query)], 1)
        for name in ("x", "mask")
    )
    spread = np.where(mask[..., None] > 0, x, np.nan)
    varies = ((np.nanmax(spread, 1) - np.nanmin(spread, 1)) > 0).any(0)
    found, place = [], 0
    for column in schema.inputs:
        if varies[place : place + column.width].any():
            found.append((column, place))
        place += column.width
    plain = len(found) == 1 and found[0][0].kind == "number" and not (found[0][0].long_tails or found[0][0].gaps)
    return found[0] if plain else None


def _example(
    answered: Predicted,
    question: int,
    ends: tuple[np.ndarray, np.ndarray],
    moving: tuple[Column, int] | None,
    tasks: Names,
    schema: Schema,
) -> dict[str, Any]:
    """Return one example in the table's units, its rows in the order of its input."""
    own = tasks.references[answered.owner[question]]
    sides = [
        Data(*(np.asarray(leaf)[question] for leaf in (side.x, side.y, side.mask)))
        for side in (answered.support, answered.query)  # type: ignore[arg-type]
    ]
    real = [np.flatnonzero((np.asarray(side.mask) > 0) & known_outputs(schema, np.asarray(side.x)).all(-1)) for side in sides]
    places = [
        None if moving is None else axis_values(moving[0], np.asarray(side.x)[rows, moving[1] :], own)
        for side, rows in zip(sides, real, strict=True)
    ]
    real = [rows if at is None else rows[np.argsort(at, kind="stable")] for rows, at in zip(real, places, strict=True)]
    places = [None if at is None or moving is None else spelled(moving[0], np.sort(at)) for at in places]

    def shown(values: Any, rows: np.ndarray) -> list[list[float]]:
        return [[float(f"{number:.6g}") for number in row] for row in schema.decode_value(np.asarray(values)[rows], own)]

    answers = {"y": sides[1].y, "mean": answered.mean[question], "low": ends[0], "high": ends[1]}
    return {
        "task": tasks.names[answered.owner[question]],
        "given_x": places[0],
        "given_y": shown(sides[0].y, real[0]),
        "x": places[1],
        **{name: shown(values, real[1]) for name, values in answers.items()},
    }


def axis_values(column: Column, encoded: np.ndarray, references: Mapping[str, float]) -> np.ndarray:
    """Return an input's numbers in its units: a date in days since 1970, a clock in hours.

    - `column`: the encoding of a number.
    - `encoded`: encoded columns of the input and of those after it, of shape (rows, columns).
    - `references`: what the task is seen from, in columns whose level is taken out.
    """
    values = np.asarray(encoded[:, 0], np.float64) * column.scale + column.mean
    if column.level is not None:
        values = values + references[column.name]
    if column.log:
        values = np.exp(values)
    # What was encoded in single precision has seven digits.
    values = np.array([float(f"{value:.6g}") for value in values])
    return values + (column.origin / DAY if column.form == "date" else column.origin)


def spelled(column: Column, values: np.ndarray) -> list[float] | list[str]:
    """Return the numbers `values` of the input `column` as people write them: a date as text, else a number."""
    if column.form == "date":
        return [str(np.datetime64(0, "D") + np.timedelta64(int(np.floor(value)), "D")) for value in values]
    nothing = 1e-6 * np.abs(values).max(initial=0.0)  # Zero comes back from single precision as almost 0.
    return [0.0 if abs(value) < nothing else float(f"{value:.6g}") for value in values]


def read_left_out(folder: Path | None) -> LeftOut | None:
    """Return the record in a model's `folder`, or None if there is none.

    Raises: InputError if the file is no such record.
    """
    path = None if folder is None else folder / LEFT_OUT
    if path is None or not path.exists():
        return None
    try:
        record = json.loads(read_plain(path, _MOST_BYTES, links=False))
        if not isinstance(record, dict) or set(record) != LeftOut.__required_keys__:
            raise ValueError
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: restore or remove it.") from error
    return record  # pyright: ignore[reportReturnType]


def worst(record: LeftOut, count: int = 5) -> list[tuple[str, int]]:
    """Return the names and numbers of the `count` worst predicted tasks of `record`, by NLL after `shown_after` given rows."""
    nll: Sequence[float | None] = record["nll"][record["given"].index(record["shown_after"])]
    known = sorted(((value, i) for i, value in enumerate(nll) if value is not None), reverse=True)
    return [(record["tasks"][i], i) for _, i in known[:count]]
