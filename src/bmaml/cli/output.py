"""The answers of commands: how a training ended, and what `bmaml predict` and `bmaml suggest` say, as CSV and as a picture."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import typer

from bmaml.errors import InputError, PairError
from bmaml.estimators.many import ManyAnswers, ManyTasks
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.estimators.suggestions import Wish, suggested
from bmaml.io.files import replacing, waiting
from bmaml.likelihoods import FAMILIES
from bmaml.tables import ColumnRoles, Schema, Table
from bmaml.tables.cells import is_text
from bmaml.tables.csv_lines import csv_lines
from bmaml.tables.new import NewRows, NewTask
from bmaml.tables.number_marks import remarked
from bmaml.training.run import Run


@contextmanager
def plain_warnings(said: set[str] | None = None) -> Iterator[None]:
    """Print each warning once and at once, as a sentence on standard error without the place in the code.

    `said` holds what was printed before, and is added to (None: nothing was).
    """
    said = set() if said is None else said

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in said:
            said.add(str(message))
            sys.stderr.write(f"bmaml: note: {message}\n")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def report(run: Run, folder: Path) -> None:
    """Print how the `run` in `folder` ended."""
    skipped = f", {run.skipped} meta-step{'s' * (run.skipped > 1)} skipped as not finite" if run.skipped else ""
    early = f" (stopped early: {run.stopped})" if run.stopped else ""
    typer.echo(f"trained {run.step} meta-steps{early}, last loss {run.loss:.4g}{skipped}; saved in {folder}")


# Of tasks like those fitted on, one in a thousand is warned of.
_SURPRISING = 0.001
# Of how many tasks this is found out: it takes as long as several times the answers.
_CHECKED = 200
_ANSWERS = ("mean", "std", "low", "high", "probability", "likely")


def _answers(schema: Schema) -> tuple[str, ...]:
    """Return what is said of each outcome of `schema`. The interval of a probability is what is not known of it."""
    family = FAMILIES.find(schema.family)
    if family.cells == "ordered":
        return ("likely", "mean", "low", "high", *(f"probability_{level}" for level in schema.outputs[0].levels))
    if family.cells == "classes":
        parts = ("probability", "low", "high")
        return ("likely", *(f"{part}_{level}" for level in schema.outputs[0].levels for part in parts))
    return (family.mean, "low", "high") if family.cells == "two" else (family.mean, "std", "low", "high")


def check_headers(roles: ColumnRoles | Schema, others: Sequence[str] = ()) -> None:
    """Check that no column that answers repeat, in `roles` or of `others`, has the name of an answer's column.

    Raises: InputError that names the first such column.
    """
    if isinstance(roles, Schema):
        inputs, outputs = ([column.name for column in part] for part in (roles.inputs, roles.outputs))
        answers = (*_ANSWERS, *_answers(roles))
    else:
        inputs, outputs, answers = roles.x, roles.y, _ANSWERS
    taken = {"rank"} | {f"{name}_{what}" for name in outputs for what in answers}
    clash = next((name for name in (*roles.task_columns, *inputs, *others) if name in taken), None)
    if clash is not None:
        raise InputError(f"column {clash!r} has the name of a column of the answers: give it another name in the table.")


def predictions(model: FewShotRegressor, rows: NewRows, level: float) -> Iterator[str]:
    """Yield a CSV in parts: a header, then a line for each row to predict, with task, inputs, the row's other columns, and
    mean, deviation and interval of each output. Its decimals are marked as those of `rows` are.

    - `model`: the fitted model.
    - `rows`: the rows of new tasks.
    - `level`: probability of the interval.
    """
    schema, shown = model.schema_, _answers(model.schema_)
    outputs = [f"{column.name}_{what}" for column in schema.outputs for what in shown]
    comma = _commas(rows.table, schema)
    yield csv_lines([[name] for name in (*_leading(model, rows.others, bool(rows.names[0])), *outputs)], comma=comma)
    _say_untried(model, int(rows.given_counts[rows.asked_counts > 0].min()))
    many = ManyTasks(model.fitted(), schema, level, model.seed, checked=_CHECKED)
    for answers in many.answers(rows):
        batch = answers.batch
        _say_surprises(answers, rows)
        named = [texts.take(pa.array(batch.asked_by)) for texts in rows.labels(batch.tasks)]
        if schema.names_task(batch.asked):  # Each row keeps its own spelling, by which it can be joined to the table.
            named = [batch.asked.written(name) for name in schema.task_columns]
        inputs = [_written(batch.asked, column.name, comma) for column in schema.inputs]
        others = [_kept(batch.asked, name, comma) for name in rows.others]
        yield csv_lines([*named, *inputs, *others, *_columns_of(answers, schema)], comma=comma)
    if int((rows.asked_counts > 0).sum()) > _CHECKED:
        warnings.warn(f"only the first {_CHECKED} tasks were compared with those fitted on, to find unlike ones.", stacklevel=2)


def _columns_of(answers: ManyAnswers, schema: Schema) -> list[np.ndarray | pa.Array]:
    """Return the answers for some rows, column by column, in the order of `_answers`."""
    cells, column = FAMILIES.find(schema.family).cells, schema.outputs[0]
    levels = pa.array(column.levels, pa.large_string())
    if cells == "classes":
        parts = zip(answers.mean.T, answers.low.T, answers.high.T, strict=True)
        return [levels.take(pa.array(answers.mean.argmax(1))), *(part for of_class in parts for part in of_class)]
    if cells == "ordered":
        low, high = (levels.take(pa.array((end[:, 0] - column.origin).astype(int))) for end in (answers.low, answers.high))
        return [levels.take(pa.array(answers.shares.argmax(1))), answers.mean[:, 0], low, high, *answers.shares.T]
    parts = {"std": answers.std, "low": answers.low, "high": answers.high}
    wanted = [parts.get(what, answers.mean) for what in _answers(schema)]
    return [part[:, i] for i in range(len(schema.outputs)) for part in wanted]


def suggestions(model: FewShotRegressor, tasks: Sequence[NewTask], n: int, wish: Wish) -> str:
    """Return a CSV with the `n` rows of each task most worth measuring, the best first. Decimals are marked as in `tasks`.

    - `model`: the fitted model.
    - `tasks`: new tasks; the rows to predict are the pool.
    - `wish`: what the rows are to be good for.

    Raises: InputError if a task has fewer rows, the wish does not fit, or the method has no particles to disagree.
    """
    classes = FAMILIES.find(model.schema_.family).cells == "classes"
    moments = [
        what
        for what in _answers(model.schema_)
        if what in ("mean", "std", "probability") or (classes and what.startswith("probability_"))
    ]
    outputs = [f"{column.name}_{what}" for column in model.schema_.outputs for what in moments]
    header = ["rank", *_leading(model, model.schema_.others(tasks[0].asked), bool(tasks[0].name)), *outputs]
    comma = any(_commas(table, model.schema_) for table in (tasks[0].given, tasks[0].asked))
    columns = zip(*(row for task in tasks for row in _suggested(model, task, n, wish, comma)), strict=True)
    return csv_lines([[name] for name in header], comma=comma) + csv_lines(list(columns), comma=comma)


def write(content: Iterable[str], path: Path | None) -> None:
    """Write the CSV with the parts `content` to the file `path`, whole or not at all, or to standard output.

    Nothing is printed before all parts are there. They wait in a file.
    Raises: InputError if the file cannot be written.
    """
    if path is None:
        with waiting() as file:
            for part in content:
                file.write(part)
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout)
        return
    try:
        with replacing(path) as file:
            for part in content:
                file.write(part.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise _unwritable(path, error) from error


def write_picture(model: FewShotRegressor, rows: NewRows, level: float, path: Path) -> None:
    """Draw the predictions of the first tasks over the one input that changes within a task.

    - `model`, `rows`, `level`: as in `predictions`.
    - `path`: the PNG to write.

    Raises: InputError if several inputs or none changes, or the file cannot be written.
    """
    from bmaml.plots import prediction
    from bmaml.plots.style import save

    found = prediction.curves(model, rows, level)
    if len(found) < len(rows.names):
        sys.stderr.write(
            f"bmaml: note: {path} shows the first {len(found)} of {len(rows.names)} tasks: give fewer tasks to see others\n"
        )
    figure = prediction.draw(found, level)
    try:
        save(figure, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def adapted(model: FewShotRegressor, task: NewTask) -> AdaptedTask:
    """Return `model` adapted to the measured rows of `task`. There may be none (with a note if the model never trained
    on that).
    """
    _say_untried(model, len(task.given))
    return model.adapt(task.given) if len(task.given) else model.adapt()


def _say_untried(model: FewShotRegressor, given: int) -> None:
    """Warn if a task has fewer rows `given` than any in the training of `model`."""
    least = 0 if model.shots is None else int(np.min(model.shots))
    if given < least:
        warnings.warn(
            f"a task has {given} measured rows and the model was trained with {least} or more: its answers there are untried.",
            stacklevel=3,
        )


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path} ({error.strerror or error}): free some space or give another place.")


def _leading(model: FewShotRegressor, others: Sequence[str], named: bool) -> list[str]:
    """Return the columns that say which row an answer belongs to: task (if tasks are `named`), inputs, and `others`."""
    check_headers(model.schema_, others)
    tasks = model.schema_.task_columns if named else ()
    return [*tasks, *(column.name for column in model.schema_.inputs), *others]


def _written(rows: Table, name: str, comma: bool) -> pa.Array:
    """Return the cells of column `name` as they are written, numbers with the mark of the answers in front of decimals."""
    texts, wanted = rows.written(name), "," if comma else "."
    own = rows.mark(name).decimal if is_text(rows.column(name)) else "."
    return texts if own in ("?", wanted) else remarked(texts, own, wanted)


def _kept(rows: Table, name: str, comma: bool) -> pa.Array:
    """Return the cells of a column that the model does not know. Texts stay as they are, since rows are found again by them."""
    return rows.written(name) if is_text(rows.column(name)) else _written(rows, name, comma)


def _cells(model: FewShotRegressor, task: NewTask, rows: np.ndarray, comma: bool) -> list[list[str]]:
    """Return the cells in front of the answers to some rows, as they are written (`_written`)."""
    asked = task.asked.take(rows)
    shown = [_written(asked, column.name, comma).to_pylist() for column in model.schema_.inputs]
    shown += [_kept(asked, name, comma).to_pylist() for name in model.schema_.others(task.asked)]
    labels = [task.labels] * len(asked)
    if task.labels and model.schema_.names_task(asked):
        labels = list(zip(*(asked.written(name).to_pylist() for name in model.schema_.task_columns), strict=True))
    return [[*labels[row], *(column[row] for column in shown)] for row in range(len(asked))]


def _say_surprises(answers: ManyAnswers, rows: NewRows) -> None:
    """Warn of each task that is unlike all that the model was fitted on."""
    for place in np.flatnonzero(answers.surprise < _SURPRISING):
        share, name = answers.surprise[place], rows.names[answers.batch.tasks[place]]
        shown = f"{share:.2g}" if share > 1e-6 else "under 1e-6"
        warnings.warn(
            f"{f'task {name!r}' if name else 'the task'} is unlike those fitted on: the probability of given rows as unlikely "
            f"as these is {shown}; check their units, and do not trust its intervals.",
            stacklevel=2,
        )


def _suggested(model: FewShotRegressor, task: NewTask, n: int, wish: Wish, comma: bool) -> list[list[Any]]:
    answerer = adapted(model, task)
    try:
        picked = suggested(answerer, task.asked, n, wish)
    except PairError as error:
        raise InputError(f"{error}") from error
    mean, std = answerer.predict(task.asked, return_std=True)
    parts = (mean, std) if "std" in _answers(model.schema_) else (mean,)
    each = np.stack([_columns(part, task.asked) for part in parts], -1).reshape(len(mean), -1)
    answers = zip(_cells(model, task, picked, comma), each[picked], strict=True)
    return [[rank, *own, *values.tolist()] for rank, (own, values) in enumerate(answers, 1)]


def _columns(values: np.ndarray, rows: Table) -> np.ndarray:
    return np.reshape(values, (len(rows), -1))


def _commas(table: Table, schema: Schema) -> bool:
    """Return whether a comma marks decimals in those columns of `table` that are numbers by its `schema`."""
    table = schema.as_read(table)
    numeric = [column.name for column in (*schema.inputs, *schema.outputs) if column.kind == "number"]
    return any(table.mark(name).decimal == "," for name in numeric if name in table.columns)


def as_texts(values: np.ndarray) -> list[str]:
    """Return the numbers `values` as the shortest texts that read back as the same numbers."""
    return [str(value) for value in values]
