"""The table half of `bmaml fit`: which tasks are held out, what is checked before training, what is scored after it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

from bmaml.cli.option_groups import Fitting, HeldOut, TableColumns
from bmaml.cli.options import TYPED, make_folder, must_take_a_run, whole_numbers
from bmaml.cli.output import check_headers, plain_warnings, report
from bmaml.errors import InputError
from bmaml.estimators.base import read_from
from bmaml.estimators.calibration import calibration_lines
from bmaml.estimators.held_out_tasks import judge_held_out, score_held_out
from bmaml.estimators.left_out import LEFT_OUT
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.scores import Estimate, Score
from bmaml.estimators.stacking import MIXTURES, PLAIN, PLAIN_OF_NONE, roles_for, scores_of, verdict
from bmaml.evaluation.metrics import LEVEL
from bmaml.io.aligned import aligned
from bmaml.io.files import file_digest, read_plain, write_atomically
from bmaml.learners.recalibrated import RecalibratedLearner
from bmaml.likelihoods import FAMILIES
from bmaml.recipes.tables import regression_method
from bmaml.tables import (
    ColumnRoles,
    Schema,
    Table,
    column_report,
    default_shots,
    fit_schema,
    informed_shots,
    measured,
    read_sample,
    read_table,
    some_shots,
    split_tasks,
    table_tasks,
    task_rows,
)
from bmaml.tables.task_labels import task_codes
from bmaml.tasks.base import Selection
from bmaml.tasks.shots import shot_counts

SCORES = 2**24  # bytes that are read of a model's scores


def fit(path: Path, folder: Path, fitting: Fitting, columns: TableColumns, held_out: HeldOut) -> None:
    """Learn from a table, score on held-out tasks, and save both in a folder.

    - `path`: the table.
    - `folder`: where to save.
    - `fitting`, `columns`, `held_out`: how to fit, what the columns mean, and what is held out.

    Raises: InputError before training if anything does not fit.
    """
    from bmaml.training.progress import BarProgress

    if not path.exists():
        raise InputError(f"there is no {path}: give the path of a table, or of a folder or zip of images.")
    method, shots = fitting.method or "mixture", whole_numbers(fitting.shots, "--shots", 0)
    if not (folded := method in MIXTURES):
        regression_method(method, 1, 1, fitting.particles)
    must_take_a_run(folder)
    table = columns.read(path, fitting.seed)
    roles = roles_for(method, columns.roles(table), columns.family)
    check_headers(roles)
    said: set[str] = set()
    with plain_warnings(said):
        table = measured(table, roles.y, roles.levels, roles.upper, roles.partial)
    # A mixture is scored on folds, unless whole groups of tasks are to be held out.
    share = held_out.share(0.0) if folded and held_out.split_by is None else held_out.share()
    training, held = split(table, roles.task_columns, held_out.split_by, share, fitting.seed)
    selection: Selection = columns.selection.value
    counts, schema = checked_shots(table, training, roles, shots, selection)
    parted = Parted(str(path.absolute()), file_digest(path), held_out.split_by, share, fitting.seed, counts, columns.rows)
    make_folder(folder)
    typer.echo("\n".join([*(f"{path.name}: {note}" for note in table.notes), aligned(column_report(table, schema)), ""]))
    _say_nested(roles, held_out.split_by)
    model = FewShotRegressor(
        method,
        particles=fitting.particles,
        steps=fitting.steps,
        shots=shots if folded else counts,
        selection=selection,
        family=columns.family,
        seed=fitting.seed,
        progress=BarProgress(f"fitting {path.name}"),
    )
    with plain_warnings(said):
        model.fit(
            training,
            roles.y,
            task=roles.task,
            x=roles.x,
            order=roles.order,
            categorical=roles.categorical,
            log=roles.log,
            **roles.sides,
            upper=roles.upper,
            levels=roles.levels,
            directory=folder,
            notes={"command": TYPED.get()} | ({} if held is None else {"held_out": asdict(parted)}),
        )
    report_folds(model, folder) if model.folds_ else report(model.run_, folder)
    if held is not None:
        report_scores(model, held, training, counts, folder, by=held_out.split_by)


@dataclass(frozen=True)
class Parted:
    """How a table was parted into the tasks that were fitted on and those held out, so that it can be parted again.

    - `table`, `content`: the table's path and the digest of its bytes.
    - `by`, `share`, `seed`: as in `split`.
    - `shots`: numbers of given rows in training.
    - `rows`: how many rows were wanted of the table, None for all.
    """

    table: str
    content: str
    by: str | None
    share: float
    seed: int
    shots: tuple[int, ...]
    rows: int | None = None

    def read(self, schema: Schema) -> Table | None:
        """Return the table, whose columns mean what `schema` says, or None if it is gone or has other content."""
        path = Path(self.table)
        if not path.is_file() or file_digest(path) != self.content:
            return None
        if self.rows is None:
            return read_table(path, reading=schema.reading)
        return read_sample(path, schema.task_columns, self.rows, self.seed, schema.reading)


def finish(folder: Path) -> None:
    """Say of a fit that was stopped and then resumed what `fit` would have said. Scores that are there are not made again.

    `folder` is the model's folder.
    Raises: InputError if a file cannot be written, or the model's record is damaged.
    """
    model = FewShotRegressor.load(folder)
    if model.folds_ is not None and not (folder / "folds.json").exists():
        report_folds(model, folder)
    noted = model.notes_.get("held_out")
    if noted is None or (folder / "scores.json").exists() or isinstance(model.run_.method.learner, RecalibratedLearner):
        return
    with read_from(folder):
        parted = Parted(**noted | {"shots": shot_counts(noted["shots"])})
    with plain_warnings():
        table = parted.read(model.schema_)
        if table is None:
            return _unscored(parted.table, folder)
        table = measured(model.schema_.as_read(table), [column.name for column in model.schema_.outputs])
        training, held = split(table, model.schema_.task_columns, parted.by, parted.share, parted.seed)
    if held is not None:
        report_scores(model, held, training, parted.shots, folder, by=parted.by)


def _unscored(table: str, folder: Path) -> None:
    warnings.warn(
        f"{table} is gone or has changed since the fit, so the model has no scores: score it on other tasks with bmaml "
        f"evaluate {folder} --table TABLE.",
        stacklevel=3,
    )


def _as_full(held: Table, schema: Schema) -> Table:
    """Return the held-out rows without those that have an empty input where no training row had one."""
    for column in schema.inputs:
        empty = held.empty(column.name)
        if not column.gaps and empty.any():
            warnings.warn(
                f"{int(empty.sum())} held-out rows have no {column.name!r}, and every training row has: "
                "the scores leave these rows out.",
                stacklevel=2,
            )
            held = held.take(~empty)
    return held


def split(table: Table, task: tuple[str, ...], by: str | None, share: float, seed: int) -> tuple[Table, Table | None]:
    """Return the rows of the training tasks and of the held-out tasks (None if `share` is 0).

    - `table`, `task`: the table and its task columns.
    - `by`: a column whose values are held out as a whole, or None.
    - `share`: share of the tasks to hold out.

    Raises: InputError if fewer than three tasks would be left to train on.
    """
    codes, names = task_codes(table, task)
    labels = np.array(names)[codes]
    coarse = None if by is None else table.texts(by)
    if not share:
        return table, None
    train, _, test = split_tasks(labels, (1 - share, 0.0, share), seed, coarse)
    left, total = len(set(labels[train])), len(set(labels))
    if left < 3 <= total:
        raise InputError(
            f"{table.name} has {total} tasks and {total - left} of them would be held out: "
            "a prior needs at least 3 tasks to learn from; add tasks, or give --test-share 0."
        )
    return table.take(train), table.take(test)


def checked_shots(
    table: Table, training: Table, roles: ColumnRoles, shots: Sequence[int] | None, selection: Selection
) -> tuple[tuple[int, ...], Schema]:
    """Return the shot counts to train with, and the schema of the training rows, after a check of every row of the table, so
    that nothing fails late.

    - `table`, `training`: all rows, and the rows to train on.
    - `roles`: what the columns mean.
    - `shots`: what the user asked for, or None.
    - `selection`: which rows of a task are given.

    Raises: InputError for a cell or a task that does not fit, held-out ones included.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # The fit says the same of the training rows.
        table_tasks(table, fit_schema(table, roles), shots=shots, selection=selection)
        schema = fit_schema(training, roles)
    counts = shots or default_shots([len(rows) for rows in task_rows(training, schema).values()], selection)
    return informed_shots(schema, counts), schema


def report_scores(
    model: FewShotRegressor, held: Table, training: Table, shots: Sequence[int], folder: Path, *, by: str | None = None
) -> None:
    """Print the scores on the held-out tasks at some of `shots` and write them to scores.json beside the model.

    - `model`: the fitted model.
    - `held`, `training`: held-out rows, and rows that were trained on.
    - `folder`: the model's folder.
    - `by`: column whose values were held out together.

    Raises: InputError if the file cannot be written.
    """
    with plain_warnings():
        held = _as_full(held, model.schema_)
        if model.schema_.partial:  # A row that lacks an outcome cannot be scored.
            held, training = (measured(part, [c.name for c in model.schema_.outputs]) for part in (held, training))
        parts = task_rows(held, model.schema_)
        given = some_shots(shots, max(len(rows) for rows in parts.values()))
        scores, said = judge_held_out(model, held, training, given, by=by)
    head = {"table": held.name, "task": model.schema_.task, "held_out": list(parts), "split_by": by, "level": LEVEL}
    path = folder / "scores.json"
    _write(path, head | {"scores": [score.to_json() for score in scores]})
    _write(folder / LEFT_OUT, said)
    _show(scores, model, f"{len(parts)} held-out tasks", by)
    typer.echo(f"\nscores in {path}")


def report_folds(model: FewShotRegressor, folder: Path) -> None:
    """Print how long a mixture took and what the folds say of it, and write this to folds.json beside the model.

    - `model`, `folder`: the fitted model and its folder.

    Raises: InputError if the file cannot be written.
    """
    assert model.folds_ is not None
    typer.echo(f"fitted in {model.run_.seconds:.0f} s; saved in {folder}")
    path, found = folder / "folds.json", scores_of(model.folds_)
    _write(path, model.folds_)
    said = model.left_out()
    if said is not None:
        _write(folder / LEFT_OUT, said)
    method = model.run_.method.name or "mixture"
    shown = [score for score in found if score.method in (method, "mixed model", PLAIN, PLAIN_OF_NONE)]
    _show(shown, model, "each task left out of a training", None)
    typer.echo("")
    for line in verdict(model.folds_, method):
        typer.echo(line)
    typer.echo(f"\nall scores in {path}")


def _write(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=None if path.name == LEFT_OUT else 1)  # Many numbers would be as many lines.
    try:
        write_atomically(path, text)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}): the model itself is saved.") from error


def evaluate(
    model: FewShotRegressor,
    table: Table,
    shots: Sequence[int] | None,
    *,
    by: str | None = None,
    as_json: bool = False,
    out: Path | None = None,
) -> None:
    """Print the scores of `model` on the further tasks of `table` at `shots` given rows, and write them to a file if one is
    given.

    `by` is the column whose values are the units of the intervals (None: those of the split that `fit` made, if the table has
    the column).
    Raises: InputError if a cell or a task does not fit.
    """
    table = measured(model.schema_.as_read(table), [column.name for column in model.schema_.outputs])
    tasks, counts = model.further(table, shots)
    by = by or _split_column(model, table)
    scores, came_true = score_held_out(model, table, None, counts, by=by)
    text = json.dumps([score.to_json() for score in scores], indent=1)
    if out is not None:
        write_atomically(out, text)
    if as_json:
        typer.echo(text)
        return
    _show(scores, model, f"{len(tasks.rows.mask)} tasks of {table.name}", by)
    family = FAMILIES.find(model.schema_.family)
    if not family.exact:
        typer.echo("")
        for found in came_true:
            typer.echo("\n".join(calibration_lines(found, family)))


def _split_column(model: FewShotRegressor, table: Table) -> str | None:
    """Return the column by which `fit` held tasks out, if the model remembers one and the table has it."""
    path = None if model.run_.directory is None else model.run_.directory / "scores.json"
    if path is None or not path.exists():
        return None
    try:
        by = json.loads(read_plain(path, SCORES, links=False)).get("split_by")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: restore or remove it.") from error
    if by is None or by in table.columns:
        return by
    warnings.warn(
        f"tasks were held out by {by!r}, a column that {table.name} lacks, so intervals are over tasks: add the column if "
        "tasks share it.",
        stacklevel=2,
    )
    return None


def _say_nested(roles: ColumnRoles, by: str | None) -> None:
    """Say what tasks within tasks share, unless whole groups `by` a column are held out."""
    *outer, inner = roles.task_columns
    if outer and by is None:
        typer.echo(
            f"A task is one {inner} within {', '.join(outer)}, and tasks of one {outer[-1]} share no more than others do. To "
            f"score on whole new ones, add --split-by {outer[0]}.\n"
        )


def _show(scores: Sequence[Score], model: FewShotRegressor, tasks: str, by: str | None) -> None:
    over = "tasks" if by is None else f"{scores[0].units} values of {by}"
    typer.echo(f"\non {tasks}, their other rows predicted from those given (95% interval over {over}):")
    lines = [_header(model), *(_row(score, model) for score in scores)]
    if len({score.tasks for score in scores}) > 1:  # Short tasks answer no question after many given rows.
        counts = ["tasks", *(str(score.tasks) for score in scores)]
        lines = [[*line[:2], count, *line[2:]] for line, count in zip(lines, counts, strict=True)]
    typer.echo(aligned(lines, keys=2))


def _header(model: FewShotRegressor) -> list[str]:
    names = [column.name for column in model.schema_.answers]
    family = FAMILIES.find(model.schema_.family)
    held = f"{LEVEL:.0%} interval holds" if family.exact else f"middle {LEVEL:.0%} holds"
    within = [held + (f" {name}" if len(names) > 1 else "") for name in names]
    return ["given", "predicted by", *(f"{family.error} of {name}" for name in names), "log loss a row", *within]


def _row(score: Score, model: FewShotRegressor) -> list[str]:
    names = [column.name for column in model.schema_.answers]
    rmse, within = [shown_estimate(score.rmse[name]) for name in names], [shown_share(score.coverage[name]) for name in names]
    return [str(score.shots), score.method, *rmse, shown_estimate(score.nll), *within]


def shown_estimate(estimate: Estimate) -> str:
    """Return the mean of `estimate` with its interval, if it has one."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def shown_share(estimate: Estimate) -> str:
    """Return the share in `estimate` in percent with its interval, if it has one."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.0%}"
    return f"{estimate.value:.0%} [{estimate.low:.0%}, {estimate.high:.0%}]"
