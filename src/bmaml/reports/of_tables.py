"""The report on a model of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmaml.estimators.description import Learned, said
from bmaml.estimators.left_out import Example, LeftOut, worst
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.scores import Score
from bmaml.estimators.stacking import AS_GOOD, PLAIN, PLAIN_OF_NONE
from bmaml.evaluation.metrics import LEVEL
from bmaml.learners.recalibrated import RecalibratedLearner
from bmaml.likelihoods import FAMILIES
from bmaml.plots.models import plot_calibration, plot_example, plot_parts, plot_pit, plot_prior, plot_scores, plot_weights
from bmaml.plots.style import panels, shortened
from bmaml.reports.made import figure_of, how_made, papers, training, unfinished
from bmaml.reports.parts import Grid, ModelReport, Picture, Section, interval, named, number, percent, share
from bmaml.tables import Column, Schema

# With fewer tasks a coverage of 90% is uncertain by more than ten points.
_FEW_TASKS = 30
_PLAIN = (PLAIN, PLAIN_OF_NONE, "mean of all training rows", "last given row")
_MOST_CURVES = 6


class Judged(NamedTuple):
    """How well a model predicts: `scores`, the record of single tasks (or None), and in words `where` the tasks are from."""

    scores: list[Score]
    record: LeftOut | None
    where: str


def report_of_table(model: FewShotRegressor, judged: Judged) -> ModelReport:
    """Return the report on a fitted `model` that was `judged` on tasks it did not see."""
    schema, found = model.schema_, model.describe()
    outputs = [column.name for column in schema.answers]
    made, how = how_made(model.run_, model.notes_.get("command"))
    record = judged.record
    sections = [
        *_scored(model, judged),
        *([] if record is None else [*_tasks(record, outputs), _calibration(record, outputs), *_multiples(record, schema)]),
        _learned(model, found),
        *_weights(model),
        _columns(model),
        *training(model.run_),
        made,
        *papers(model.run_),
    ]
    numbers = {
        "kind": "table",
        "task": schema.task,
        "inputs": [column.name for column in schema.inputs],
        "outputs": outputs,
        "family": schema.family,
        "tasks": len(model.seen_),
        "learned": found.to_json(),
        "weights": None
        if model.folds_ is None
        else {k: model.folds_[k] for k in ("candidates", "given", "weights", "factors")},
        "scores": [score.to_json() for score in judged.scores],
        "scored_on": judged.where,
        "left_out": record,
        "made": how,
    }
    title = f"Predicting {named([column.name for column in schema.outputs])} of a new {schema.task}"
    return ModelReport(title, _in_short(model, judged), _warnings(model, judged), sections, numbers)


def _own(model: FewShotRegressor, judged: Judged) -> list[Score]:
    """Return the scores of the model itself, by number of given rows."""
    name = _name(model)
    return sorted((score for score in judged.scores if score.method == name), key=lambda score: score.shots)


def _name(model: FewShotRegressor) -> str:
    return model.method if isinstance(model.method, str) else "model"


def _in_short(model: FewShotRegressor, judged: Judged) -> list[str]:
    schema = model.schema_
    inputs = [column.name for column in schema.inputs]
    names = named([column.name for column in schema.outputs])
    what = f"how {names} goes with {named(inputs)}" if inputs else f"how {names} varies within a task and from task to task"
    lines = [
        f"The model learned from {len(model.seen_)} tasks {what}. A task is one {schema.task}.",
        f"From a few rows of a new {schema.task} it predicts the other rows, with an interval for each.",
    ]
    own, plain = _own(model, judged), {score.shots: score for score in judged.scores if score.method in _PLAIN}
    if own:
        score = min(own, key=lambda one: abs(one.shots - 3))
        error = FAMILIES.find(schema.family).error
        for column in schema.answers:
            text = f"After {_rows(score.shots)} its {error} of {column.name} is {number(score.rmse[column.name].value)}"
            if score.shots in plain:
                text += f", and that of a plain guess {number(plain[score.shots].rmse[column.name].value)}"
            held = share(score.coverage[column.name].value)
            lines.append(f"{text}. The {LEVEL:.0%} interval held {held} of the measurements.")
    return lines


def _rows(count: int) -> str:
    return f"{count} given row{'' if count == 1 else 's'}"


def _warnings(model: FewShotRegressor, judged: Judged) -> list[str]:
    """Return what a reader must know before trusting the model."""
    found, tasks = unfinished(model.run_), len(model.seen_)
    if tasks < _FEW_TASKS:
        found.append(f"The model learned from {tasks} tasks. These are few: intervals and scores are rough.")
    plain = {score.shots: score for score in judged.scores if score.method in _PLAIN}
    for score in _own(model, judged):
        for name, held in score.coverage.items():
            if held.low is not None and held.high is not None and not held.low <= LEVEL <= held.high:
                text = f"After {_rows(score.shots)} the {LEVEL:.0%} intervals of {name} held {share(held.value)}"
                found.append(f"{text}: widen or narrow them with bmaml recalibrate.")
        if score.shots in plain and score.nll.value > plain[score.shots].nll.value:
            found.append(f"After {_rows(score.shots)} a plain guess predicts as well. {AS_GOOD}")
    if isinstance(model.run_.method.learner, RecalibratedLearner) and "further" not in judged.where:
        found.append("The scores are from before the model was recalibrated: score it on further tasks (--table).")
    if not judged.scores:
        found.append("The model was not scored on tasks that it did not see: nothing here says how right it is.")
    elif judged.record is None:
        found.append("What was predicted of single tasks was not kept with the model: give further tasks as a table.")
    ranges = [text for column in model.schema_.inputs if (text := _range(column))]
    if ranges:
        found.append(f"The model saw {named(ranges)}. It knows nothing outside of that, and an answer there is a guess.")
    return found


def _range(column: Column) -> str:
    """Return in which range an input was seen, or nothing for a category."""
    if column.kind == "category" or column.form == "boolean" or not np.isfinite(column.high - column.low):
        return ""
    from bmaml.estimators.left_out import axis_values, spelled

    ends = np.array([[column.low, 0.0], [column.high, 0.0]])
    low, high = spelled(column, axis_values(column, ends, {column.name: 0.0}))
    within = " (from a row of the task)" if column.level is not None else ""
    return (
        f"{column.name}{within} from {low} to {high}"
        if isinstance(low, str)
        else f"{column.name}{within} from {low:g} to {high:g}"
    )


def _scored(model: FewShotRegressor, judged: Judged) -> list[Section]:
    """Return the section on how well tasks are predicted that the model did not see."""
    if not judged.scores:
        return []
    schema, own = model.schema_, _name(model)
    kept = [score for score in judged.scores if score.method in (own, "mixed model", *_PLAIN)]
    names, family = [column.name for column in schema.answers], FAMILIES.find(schema.family)
    many = len(names) > 1
    header = ["given rows", "predicted by", *(f"{family.error} of {name}" for name in names), "NLL a row (nats)"]
    header += [f"{LEVEL:.0%} interval held" + (f" of {name}" if many else "") for name in names]
    rows = [
        [
            str(score.shots),
            score.method,
            *(interval(*score.rmse[name]) for name in names),
            interval(*score.nll),
            *(percent(*score.coverage[name]) for name in names),
        ]
        for score in kept
    ]
    first = sorted(kept, key=lambda score: score.method != own)
    pictures = [
        Picture(
            f"{family.error} of {name} by the number of given rows, with 95% intervals.", _drawn(plot_scores, first, name), 560
        )
        for name in names
    ]
    lines = [
        f"Each score is a mean over {judged.where}, with its 95% interval over tasks. Some rows of a task were given, and the "
        "others were predicted.",
        "A lower error and a lower NLL are better. NLL is the negative log density of what was measured: it is low if a "
        "prediction is right and as sure as it is right.",
    ]
    return [Section("How well new tasks are predicted", lines, pictures, [Grid("Scores", header, rows)])]


def _drawn(draw: Callable[..., Axes], *arguments: Any) -> Callable[[], Figure]:
    return lambda: figure_of(draw(*arguments))


def _tasks(record: LeftOut, outputs: Sequence[str]) -> list[Section]:
    """Return the section on the worst predicted tasks."""
    at = record["given"].index(record["shown_after"])
    nll = [value for value in record["nll"][at] if value is not None]
    header = ["task", "NLL a row", *(f"error of {name}" for name in outputs)]
    header += [f"held of {name}" if len(outputs) > 1 else f"{LEVEL:.0%} interval held" for name in outputs]

    def row(name: str, i: int) -> list[str]:
        errors = [number(record["rmse"][output][at][i]) for output in outputs]
        return [name, number(record["nll"][at][i]), *errors, *(share(record["covered"][output][at][i]) for output in outputs)]

    def middle(values: Sequence[float | None]) -> float:
        return float(np.median([value for value in values if value is not None]))

    typical = ["(median of all)", number(middle(nll)), *(number(middle(record["rmse"][o][at])) for o in outputs)]
    typical += [share(middle(record["covered"][o][at])) for o in outputs]
    grid = Grid("The worst predicted tasks", header, [*(row(*each) for each in worst(record)), typical])
    line = f"These tasks were predicted worst from {_rows(record['shown_after'])} each. Look at them: a unit, a label or a "
    return [
        Section("Worst predicted tasks", [line + "measurement may be wrong, or the task is of another kind."], tables=[grid])
    ]


def _calibration(record: LeftOut, outputs: Sequence[str]) -> Section:
    lines = [
        "An honest 50% interval holds half of the measurements, and a 90% interval 90%. A line below the diagonal means "
        "that intervals are too narrow, and a line above it that they are too wide. Bands are 95% intervals over tasks.",
        "The bars show where measurements lay in what was predicted. All bars are equally high if predictions are honest.",
    ]

    def draw(name: str) -> Figure:
        figure, axes = panels(1, 2, width=3.7, height=3.5)
        plot_calibration(record, name, ax=axes[0])
        plot_pit(record, name, ax=axes[1])
        return figure_of(axes[0]) if figure else figure

    pictures = [
        Picture(f"Calibration for {name}: shares that intervals held, and places of measurements.", lambda n=name: draw(n))
        for name in outputs
    ]
    at = record["given"].index(record["shown_after"])
    rows = [
        [f"{level:.0%}", *(percent(*record["held"][name][at][i]) for name in outputs)]
        for i, level in enumerate(record["levels"])
    ]
    grid = Grid(f"After {_rows(record['shown_after'])}", ["interval", *(f"held of {name}" for name in outputs)], rows)
    return Section("Can the intervals be trusted?", lines, pictures, [grid])


def _multiples(record: LeftOut, schema: Schema) -> list[Section]:
    """Return the section with pictures of single tasks."""
    examples, outputs = record["examples"], [column.name for column in schema.answers]
    if not examples:
        return []
    total = sum(value is not None for value in record["nll"][record["given"].index(record["shown_after"])])
    line = (
        f"{len(examples)} of {total} tasks, from the best to the worst predicted. None of them was seen by the training that "
    )
    line += f"predicts it. Each is predicted from {_rows(record['shown_after'])}."

    def draw(output: int) -> Figure:
        columns = 4 if len(examples) > 4 else len(examples)
        figure, axes = panels(-(-len(examples) // columns), columns, width=2.5, height=2.0, sharey=True)
        for i, (axis, example) in enumerate(zip(axes, examples, strict=False)):
            plot_example(record, example, output, name=outputs[output] if i % columns == 0 else "", ax=axis)
            axis.set_title(_heading(example, total), fontsize=8, parse_math=False)
            _scale(axis, record["axis"], schema)
        for axis in axes[len(examples) :]:
            axis.set_visible(False)
        handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
        return figure_of(axes[0])

    pictures = [
        Picture(f"Predictions of {name} for tasks left out.", lambda i=i: draw(i), 900) for i, name in enumerate(outputs)
    ]
    return [Section("Single tasks", [line], pictures)]


def _heading(example: Example, total: int) -> str:
    return f"{shortened(example['task'], 22)} ({example['rank']} of {total})"


def _scale(axis: Axes, name: str | None, schema: Schema) -> None:
    """Make the first axis of `axis` logarithmic if it shows an input called `name` whose logarithm is taken."""
    if any(column.name == name and column.log for column in schema.inputs):
        axis.set_xscale("log")


def _learned(model: FewShotRegressor, found: Learned) -> Section:
    """Return the section on what the model expects of any task."""
    what = FAMILIES.find(found.family).mean
    lines = [said(name, parts, what) for name, parts in found.variance.items()]
    curves = found.curves[:_MOST_CURVES]
    others = {name: value for name, value in found.held.items()} if len(found.held) > 1 else {}
    held = f" The other inputs are held: {named([f'{n} = {v}' for n, v in others.items()])}." if others else ""

    def draw() -> Figure:
        columns = min(len(curves), 3)
        _, axes = panels(-(-len(curves) // columns), columns, width=3.4 if columns > 1 else 5.2, height=2.9)
        for axis, curve in zip(axes, curves, strict=False):
            plot_prior(curve, ax=axis)
            _scale(axis, curve["input"], model.schema_)
        for axis in axes[len(curves) :]:
            axis.set_visible(False)
        handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        ncols = 4 if columns > 1 else 2
        axes[0].figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=ncols, frameon=False, fontsize=8
        )
        return figure_of(axes[0])

    pictures = [Picture("The variance of each outcome in parts.", _drawn(plot_parts, found.variance), 560)]
    if curves:  # A model without inputs has none.
        before = f"What is expected of a new {model.schema_.task} before any row is known.{held}"
        pictures.insert(0, Picture(before, draw, 880 if len(curves) > 1 else 560))
    left = len(found.curves) - len(curves)
    if left:
        lines.append(f"{left} further curves are in the JSON report.")
    header = ["outcome", "inputs", "level of the task", "shape of the task", "noise"]
    rows = [
        [name, *(share(parts[part]) for part in ("inputs", "level", "shape", "noise"))]  # pyright: ignore
        for name, parts in found.variance.items()
    ]
    caption = "Shares of the variance, for inputs drawn evenly from the range of the rows fitted on"
    grids = [Grid(caption, header, rows)]
    if found.effects:
        several = ["outcome"] if len(found.variance) > 1 else []
        rows = [
            [*([e["output"]] if several else []), e["input"], e["start"], e["end"], f"{e['change']:+.3g}", number(e["between"])]
            for e in found.effects
        ]
        caption = "What each input does to the mean"
        grids.append(Grid(caption, [*several, "input", "from", "to", "change", "tasks differ by"], rows))
    return Section("What was learned", lines, pictures, grids)


def _weights(model: FewShotRegressor) -> list[Section]:
    """Return the section on the candidates of a mixture; none for other models."""
    folds = model.folds_
    if folds is None or len(folds["candidates"]) < 1:
        return []
    rows = [
        [str(count), *(share(weight) for weight in weights), f"{factor:.2f}"]
        for count, weights, factor in zip(folds["given"], folds["weights"], folds["factors"], strict=True)
    ]
    grid = Grid("Weights of the candidates", ["given rows", *folds["candidates"], "all scales times"], rows)
    line = (
        "Several kinds of model were trained on folds of the tasks. Each weighs as much as it helps to predict tasks left out."
    )
    picture = Picture("Weights by the number of given rows.", _drawn(plot_weights, folds), 520)
    return [Section("Which models are mixed", [line], [picture] if len(folds["candidates"]) > 1 else [], [grid])]


def _columns(model: FewShotRegressor) -> Section:
    schema = model.schema_
    rows = [[", ".join(schema.task_columns), "task", f"{len(model.seen_)} tasks"]]
    rows += [[column.name, "input", column.note] for column in schema.inputs]
    rows += [[column.name, "outcome", column.note] for column in schema.outputs]
    rows += [] if schema.side is None else [[schema.side.name, schema.side_name, schema.side.note]]
    return Section("The columns of the table", tables=[Grid("Columns", ["column", "used as", "read as"], rows)])
