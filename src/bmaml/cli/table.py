"""`bmaml fit`, `bmaml predict` and `bmaml suggest`: tables in, tables out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bmaml.cli.training import METHODS, Shots, report, whole_numbers

if TYPE_CHECKING:
    from bmaml.estimators import FewShotRegressor
    from bmaml.tables.new import NewTask


class Context(StrEnum):
    """Which rows of a task are given while training."""

    random = "random"
    first = "first"


class Acquisition(StrEnum):
    """What makes a row worth measuring."""

    variance = "variance"
    information = "information"
    reduction = "reduction"
    random = "random"


Model = Annotated[Path, typer.Argument(help="Folder that `bmaml fit` wrote.")]
New = Annotated[Path, typer.Argument(help="Rows of new tasks; an empty outcome is a row to predict.")]


def add(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (fit, predict, suggest):
        app.command()(command)


def fit(
    table: Annotated[Path, typer.Argument(help="CSV, TSV (either may be gzipped) or Parquet, one measurement a row.")],
    task: Annotated[str, typer.Option(help="Column that names each row's task.")],
    x: Annotated[str, typer.Option(help="Input columns, such as time,dose.")],
    y: Annotated[str, typer.Option(help="Output columns, such as conc.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the model (default: the table's name + -model).")] = None,
    method: Annotated[str, typer.Option(help=METHODS)] = "experts",
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps (default 4,000).")] = None,
    shots: Shots = None,
    context: Annotated[
        Context, typer.Option(help="Given rows: a random few, or a task's first (to forecast).")
    ] = Context.random,
    order: Annotated[str | None, typer.Option(help="Column that sorts a task's rows.")] = None,
    categorical: Annotated[str | None, typer.Option(help="Inputs to take as categories though they are numbers.")] = None,
    log: Annotated[str | None, typer.Option(help="Inputs whose logarithm is taken.")] = None,
    split_by: Annotated[
        str | None, typer.Option(help="Column coarser than the task: what shares it is held out together.")
    ] = None,
    test_share: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the tasks held out for the scores.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Seed of everything random, the split included.")] = 0,
) -> None:
    """Learn from a table of many tasks; save the model and how it predicts tasks that it has not seen.

    The folder keeps the encoded rows of the training tasks, so that `bmaml resume` can go on.
    """
    from bmaml.cli import held_out
    from bmaml.cli.answers import must_be_new, plain_warnings
    from bmaml.cli.progress import BarProgress
    from bmaml.estimators import FewShotRegressor, regression_method
    from bmaml.tables import read_table

    folder = out or Path(f"{table.name.split('.')[0]}-model")
    columns: dict[str, Any] = {"task": task, "x": names_of(x), "y": names_of(y), "order": order}
    columns |= {"categorical": names_of(categorical), "log": names_of(log)}
    regression_method(method, 1, 1, particles)
    must_be_new(folder)
    rows = read_table(table)
    training, held = held_out.split(rows, task, split_by, test_share, seed)
    counts = held_out.checked_shots(rows, training, columns, whole_numbers(shots, "--shots", 0), context.value)
    options: dict[str, Any] = {"particles": particles, "steps": steps, "shots": counts, "context": context.value}
    model = FewShotRegressor(method, **options, seed=seed, progress=BarProgress(f"fitting {table.name}"))
    model.fit(training, **columns, directory=folder)
    report(model.run_, folder)
    if held is not None:
        with plain_warnings():
            held_out.report_scores(model, held, training, counts, folder)


def predict(
    model: Model,
    new: New,
    at: Annotated[
        Path | None, typer.Option(help="Rows to predict for every task, instead of those with an empty outcome.")
    ] = None,
    level: Annotated[float, typer.Option(help="Share of measurements that the interval should hold.")] = 0.9,
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: standard output).")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG of the prediction where one numeric input changes within a task.")
    ] = None,
) -> None:
    """Predict the rows not yet measured from the rows that are: mean, deviation and interval of each output."""
    from bmaml.cli import answers

    answers.check_options(level, plot)
    answers.must_be_new(out, plot)
    with answers.plain_warnings():
        fitted, tasks = _opened(model, new, at)
        content = answers.predictions(fitted, tasks, level)
        if plot is not None:
            answers.write_picture(fitted, tasks, level, plot)
    answers.write(content, out)


def suggest(
    model: Model,
    new: New,
    pool: Annotated[
        Path | None, typer.Option(help="Rows that could be measured (default: those with an empty outcome).")
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="How many rows to suggest for each task.")] = 1,
    by: Annotated[
        Acquisition,
        typer.Option(help="Where prediction is least sure, where particles disagree, what makes all rows surest, or any."),
    ] = Acquisition.variance,
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: standard output).")] = None,
) -> None:
    """Say which rows of a pool are most worth measuring next, for every task, the best first."""
    from bmaml.cli import answers

    answers.must_be_new(out)
    with answers.plain_warnings():
        fitted, tasks = _opened(model, new, pool)
        content = answers.suggestions(fitted, tasks, n, by.value)
    answers.write(content, out)


def names_of(text: str | None) -> list[str]:
    """Return comma-separated names."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _opened(model: Path, new: Path, at: Path | None) -> tuple[FewShotRegressor, list[NewTask]]:
    """Return the model and the tasks to answer for.

    Raises: InputError for a model that is not trained to the end, or where no row is asked for.
    """
    from bmaml.errors import InputError
    from bmaml.estimators import FewShotRegressor
    from bmaml.tables import read_table
    from bmaml.tables.new import new_tasks

    fitted = FewShotRegressor.load(model)
    run = fitted.run_
    if not run.finished:
        raise InputError(f"{model} stopped at meta-step {run.step} of {run.steps}: finish it with bmaml resume {model}.")
    tasks = new_tasks(read_table(new), fitted.schema_, None if at is None else read_table(at))
    if not any(len(task.asked) for task in tasks):
        empty = fitted.schema_.outputs[0].name
        raise InputError(f"no row is asked for: leave {empty!r} empty in {new} where it is wanted, or give a table of rows.")
    return fitted, tasks
