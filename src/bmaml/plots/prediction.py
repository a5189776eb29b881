"""The prediction of new tasks over one input: mean, interval, given points and points measured later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from bmaml.errors import InputError
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.plots.style import COLOURS, SUPPORT, label, panels
from bmaml.tables import Column, Schema, Table, dates
from bmaml.tables.new import NewRows, NewTask, moving_inputs

_POINTS = 256
_MOST_PANELS = 12
_COLUMNS = 4
# Forms of an input that can be an axis.
_DRAWN = ("number", "date", "clock")


class Points(NamedTuple):
    """Measured points in the table's units: `x` of shape (n,), numbers, hours or dates, and `y` of shape (n, outputs)."""

    x: np.ndarray
    y: np.ndarray


class Curve(NamedTuple):
    """The prediction of one task on a grid, and its measurements.

    - `name`: the task's label.
    - `x`: the grid, (points,): numbers, hours or dates.
    - `mean`, `low`, `high`: mean and interval, (points, outputs).
    - `given`, `later`: the given points, and the points measured later.
    - `labels`: names of the axes.
    - `log`: whether the input axis is logarithmic.
    """

    name: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    given: Points
    later: Points
    labels: tuple[str, ...]
    log: bool


def drawn_input(model: FewShotRegressor, rows: NewRows) -> Column:
    """Return the one input that changes within the first twelve tasks of `rows`, over which predictions of `model` are drawn.

    Raises: InputError if no input or several inputs change within these tasks, or if the input is a category.
    """
    moving = moving_inputs(_first(rows), model.schema_)
    if len(moving) != 1 or moving[0].kind != "number" or moving[0].form not in _DRAWN:
        names = ", ".join(column.name for column in moving) or "none does"
        raise InputError(
            f"--plot needs exactly one input that changes within a task, a number, a date or a time (here: {names}): leave "
            "--plot out."
        )
    return moving[0]


def curves(model: FewShotRegressor, rows: NewRows, level: float) -> list[Curve]:
    """Return the predictions of `model` for the first twelve tasks of `rows`, over the one input that changes within a task.

    `level` is the probability of the interval.
    Raises: InputError as `drawn_input` does.
    """
    column = drawn_input(model, rows)
    return [_curve(model, task, column, level) for task in _first(rows)]


def _first(rows: NewRows) -> list[NewTask]:
    return [rows.one(place) for place in range(min(len(rows.names), _MOST_PANELS))]


def _curve(model: FewShotRegressor, task: NewTask, column: Column, level: float) -> Curve:
    task_model = model.adapt(task.given) if len(task.given) else model.adapt()
    given, later = (_measured(part, column, model.schema_) for part in (task.given, task.asked))
    grid = _grid(np.concatenate([_places(part, column) for part in (task.given, task.asked)]), column.log)
    cells = dates.clock_texts(np.round(grid * 3600).astype(int)) if column.form == "clock" else grid
    table = _grid_table(task, model, column.name, cells)
    answers = [task_model.predict(table), *task_model.interval(table, level)]
    mean, low, high = (np.reshape(part, (len(grid), -1)) for part in answers)
    name = f"{model.schema_.task} {task.name}, " if task.name else ""
    title = f"{name}{len(task.given)} given{_held(table, model.schema_)}"
    names = (column.name, *(answer.name for answer in model.schema_.answers))
    return Curve(title, grid, mean, low, high, given, later, names, column.log)


def _places(rows: Table, column: Column) -> np.ndarray:
    """Return where `rows` lie on the axis of `column`: its numbers, hours, or dates."""
    if column.form == "date":
        return dates.microseconds(rows, column.name, column.is_day_first(rows))[0].astype("datetime64[us]")
    return dates.hours(rows, column.name) if column.form == "clock" else rows.numbers(column.name)


def _grid(x: np.ndarray, log: bool) -> np.ndarray:
    if x.dtype.kind == "M":
        return _grid(x.astype(np.int64), log).astype(np.int64).astype(x.dtype)
    ends = x.min(), x.max()
    return np.geomspace(*ends, _POINTS) if log else np.linspace(*ends, _POINTS)


def _grid_table(task: NewTask, model: FewShotRegressor, moving: str, grid: np.ndarray) -> Table:
    """Return a table whose column `moving` has the cells of `grid`.

    Other inputs do not change within the task, and a side input is that of a middle row.
    """
    some, schema = task.given if len(task.given) else task.asked, model.schema_
    table = Table("the grid", {moving: grid}, np.arange(len(grid)))
    for column in schema.needed:
        if column.name != moving:
            row = np.argsort(column.raw(some), kind="stable")[len(some) // 2] if column is schema.side else 0
            table = table.borrow(some, column.name, np.full(len(table), row, np.int64))
    return table


def _held(table: Table, schema: Schema) -> str:
    """Return in words at which value the side input of the grid `table` is held."""
    side = schema.side
    if side is None or side not in schema.needed:
        return ""
    return f", {side.name} {table.take(np.zeros(1, int)).shown(side.name)[0]}"


def _measured(rows: Table, x: Column, schema: Schema) -> Points:
    """Return the rows whose outputs are known."""
    outputs = [column.name for column in schema.outputs]
    if any(name not in rows.columns for name in outputs):
        return Points(np.zeros(0), np.zeros((0, len(schema.answers))))
    full = rows.take(~np.any([rows.empty(name) for name in outputs], axis=0))
    return Points(_places(full, x), schema.targets(full))


def draw(found: Sequence[Curve], level: float) -> Figure:
    """Return one panel for each task and output of `found`; `level` is the probability of the interval."""
    outputs = len(found[0].labels) - 1
    places = [(curve, output) for curve in found for output in range(outputs)]
    columns = min(len(places), _COLUMNS)
    figure, axes = panels(-(-len(places) // columns), columns, width=3.6, height=3.0, sharey=outputs == 1)
    for axis, (curve, output) in zip(axes, places, strict=False):
        _panel(axis, curve, output, level)
    for axis in axes[len(places) :]:
        axis.set_visible(False)
    if outputs == 1:
        for axis in axes[::columns]:
            label(axis, y=found[0].labels[1])
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _panel(axis, curve: Curve, output: int, level: float) -> None:
    colour = COLOURS["experts"]
    band = curve.low[:, output], curve.high[:, output]
    axis.fill_between(curve.x, *band, color=colour, alpha=0.2, linewidth=0, label=f"{level:.0%} interval")
    if len(curve.later.x):
        y = curve.later.y[:, output]
        axis.plot(curve.later.x, y, "o", markersize=3.5, mfc="white", mec="#555555", mew=0.8, label="measured, not given")
    axis.plot(curve.x, curve.mean[:, output], color=colour, linewidth=1.6, label="mean")
    axis.plot(curve.given.x, curve.given.y[:, output], "o", color=SUPPORT, markersize=6, zorder=5, label="given")
    label(axis, x=curve.labels[0], y=curve.labels[1 + output] if len(curve.labels) > 2 else None, title=curve.name)
    if curve.log:
        axis.set_xscale("log")
    if curve.x.dtype.kind == "M":
        axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator()))
