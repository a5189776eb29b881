"""`bmaml fit`, `bmaml recalibrate`, `bmaml predict` and `bmaml suggest`: tables or images in, tables out."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bmaml.cli.training import IMAGE_METHODS, METHODS, must_be_absent, report, whole_numbers

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


SPLITS = "of images: random, groups, parts, alphabets, omniglot-1200 or vinyals (default: parts or groups if there are any)."
Model = Annotated[Path, typer.Argument(help="Folder that `bmaml fit` wrote.")]
New = Annotated[Path, typer.Argument(help="Rows of new tasks; an empty outcome is a row to predict.")]


def add(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (fit, recalibrate, predict, suggest):
        app.command()(command)


def fit(
    table: Annotated[Path, typer.Argument(help="Table (CSV, TSV, Parquet; a measurement a row), or folder or zip of images.")],
    task: Annotated[str | None, typer.Option(help="Of a table: column that names each row's task.")] = None,
    x: Annotated[str | None, typer.Option(help="Of a table: input columns, such as time,dose.")] = None,
    y: Annotated[str | None, typer.Option(help="Of a table: output columns, such as conc.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the model (default: the data's name + -model).")] = None,
    method: Annotated[str | None, typer.Option(help=f"{METHODS} Of images: {IMAGE_METHODS}")] = None,
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps (default 4,000; of images the recipe's).")] = None,
    shots: Annotated[
        str | None, typer.Option("--shots", "--shot", help="Support sizes (of images: a class), as 5 or 1,5.")
    ] = None,
    context: Annotated[
        Context, typer.Option(help="Of a table: a random few rows are given, or a task's first.")
    ] = Context.random,
    order: Annotated[str | None, typer.Option(help="Of a table: column that sorts a task's rows.")] = None,
    categorical: Annotated[str | None, typer.Option(help="Of a table: inputs that are categories though numbers.")] = None,
    log: Annotated[str | None, typer.Option(help="Of a table: inputs whose logarithm is taken.")] = None,
    split_by: Annotated[
        str | None, typer.Option(help=f"Of a table: what shares this column is held out together; {SPLITS}")
    ] = None,
    test_share: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of tasks or classes held out for scores.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Seed of everything random, the split included.")] = 0,
    way: Annotated[int | None, typer.Option(min=2, help="Of images: classes to tell apart (default 5).")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Of images: side in pixels to resize to.")] = None,
    network: Annotated[str | None, typer.Option(help="Of images: conv4, resnet12 or mlp (default: conv4 if it fits).")] = None,
    filters: Annotated[
        int | None, typer.Option(min=1, help="Of images: filters of the network (default: the recipe's).")
    ] = None,
    rotations: Annotated[bool, typer.Option("--rotations", help="Of images: turned images are further classes.")] = False,
    within: Annotated[bool, typer.Option("--within", help="Of images: classes of a task are of one group.")] = False,
    groups: Annotated[Path | None, typer.Option(help="Of images: CSV of classes and their groups.")] = None,
) -> None:
    """Learn from a table of many tasks or images of many classes; save the model and how it does on what it has not seen.

    The folder keeps the encoded rows of a table's training tasks, or where the images are, so that `bmaml resume` can go on.
    """
    given = {"task": task, "x": x, "y": y, "order": order, "categorical": categorical, "log": log}
    common: dict[str, Any] = {"particles": particles, "steps": steps, "seed": seed}
    drawn = {"way": way, "size": size, "network": network, "filters": filters, "rotations": rotations, "within": within}
    if is_images(table):
        _refuse(given, f"{table} holds images and no table")
        chosen = common | {name: value for name, value in drawn.items() if value is not None} | {"method": method or "protonet"}
        _fit_images(table, out, chosen, shots, groups, split_by, test_share)
    else:
        _refuse(drawn | {"groups": groups}, f"{table} is no folder or zip of images")
        counts = whole_numbers(shots, "--shots", 0)
        _fit_table(table, out, method or "experts", common, counts, context, given, split_by, test_share)


def _refuse(options: dict[str, Any], why: str) -> None:
    """Raise InputError naming the first option that was given and is of the other kind of data."""
    must_be_absent({f"--{name}": value or None for name, value in options.items()}, why)


def _fit_images(
    path: Path, out: Path | None, settings: dict[str, Any], shots: str | None, groups: Path | None, by: str | None, share: float
) -> None:
    from bmaml.cli import images

    counts = whole_numbers(shots, "--shots") or (1,)
    settings = {"way": 5, "size": None} | settings | {"shots": counts[0] if len(counts) == 1 else counts}
    images.fit(path, out, settings, groups=groups, split=by, test_share=share, episodes=600)


def _fit_table(
    table: Path,
    out: Path | None,
    method: str,
    options: dict[str, Any],
    shots: tuple[int, ...] | None,
    context: Context,
    given: dict[str, str | None],
    split_by: str | None,
    test_share: float,
) -> None:
    from bmaml.cli import held_out
    from bmaml.cli.answers import must_be_new, plain_warnings
    from bmaml.cli.progress import BarProgress
    from bmaml.errors import InputError
    from bmaml.estimators import FewShotRegressor, regression_method
    from bmaml.tables import read_table

    if not table.exists():
        raise InputError(f"there is no {table}: give the path of a table, or of a folder or zip of images.")
    missing = next((name for name in ("task", "x", "y") if given[name] is None), None)
    if missing is not None:
        raise InputError(f"--{missing} is missing: give the columns of {table} as --task, --x and --y.")
    folder = out or Path(f"{table.name.split('.')[0]}-model")
    columns: dict[str, Any] = {"task": given["task"], "order": given["order"]}
    columns |= {name: names_of(given[name]) for name in ("x", "y", "categorical", "log")}
    regression_method(method, 1, 1, options["particles"])
    must_be_new(folder)
    rows = read_table(table)
    training, held = held_out.split(rows, columns["task"], split_by, test_share, options["seed"])
    counts = held_out.checked_shots(rows, training, columns, shots, context.value)
    model = FewShotRegressor(
        method, **options, shots=counts, context=context.value, progress=BarProgress(f"fitting {table.name}")
    )
    model.fit(training, **columns, directory=folder)
    report(model.run_, folder)
    if held is not None:
        with plain_warnings():
            held_out.report_scores(model, held, training, counts, folder)


def recalibrate(
    model: Model,
    table: Annotated[Path, typer.Argument(help="Table of further tasks, all measured, that the model was not fitted on.")],
    out: Annotated[Path, typer.Option(help="Folder for the changed model; the model itself stays as it is.")],
    shots: Annotated[
        str | None, typer.Option("--shots", "--shot", help="Numbers of given rows to look at errors after, as 2,5,10.")
    ] = None,
) -> None:
    """Widen or narrow a table model's intervals by what its errors on further tasks are.

    For tasks of another kind than those fitted on, or a fit on few: means stay, 90% intervals then hold 90% of such tasks.
    """
    from bmaml.cli.answers import must_be_new, plain_warnings
    from bmaml.cli.held_out import aligned
    from bmaml.tables import read_table

    counts = whole_numbers(shots, "--shots", 0)
    must_be_new(out)
    fitted = _loaded(model)
    with plain_warnings():
        fitted.recalibrate(read_table(table), shots=counts)
    fitted.save(out)
    change = fitted.run_.meta.change
    rows = zip(change.shots.tolist(), change.held.tolist(), change.log_stretch.tolist(), change.tails.tolist(), strict=True)
    lines = [[f"{given:g}", f"{held:.0%}", f"{math.exp(log):.3g}", f"{tails:g}"] for given, held, log, tails in rows]
    typer.echo(aligned([["given", "90% interval held", "stretched by", "tails (1/df) added"], *lines]))
    typer.echo(f"\nsaved in {out}")


def predict(
    model: Model,
    new: Annotated[Path | None, typer.Argument(help="Rows of new tasks; an empty outcome is a row to predict.")] = None,
    at: Annotated[
        Path | None, typer.Option(help="Rows to predict for every task, instead of those with an empty outcome.")
    ] = None,
    level: Annotated[float, typer.Option(help="Share of measurements that the interval should hold.")] = 0.9,
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: standard output).")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG of the prediction where one numeric input changes within a task.")
    ] = None,
    support: Annotated[Path | None, typer.Option(help="Of images: folder or zip with a folder for each new class.")] = None,
    query: Annotated[Path | None, typer.Option(help="Of images: folder or zip of images to classify.")] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(help="Of images: abstain below this confidence (default: where held-out answers were 95% right)."),
    ] = None,
) -> None:
    """Predict a table's rows not yet measured from those that are, or the classes of images from a few of each.

    Of a table: mean, deviation and interval of each output. Of images: the likeliest class, abstain, each class's probability.
    """
    from bmaml.cli import answers, images
    from bmaml.errors import InputError
    from bmaml.run import about

    if support is not None or query is not None or about(model).get("kind") == "FewShotClassifier":
        _refuse({"at": at, "plot": plot}, f"{model} is of images")
        images.predict(model, support, query, abstain_below, out)
        return
    if new is None:
        raise InputError("which rows to predict is missing: give the file of the new tasks after the model.")
    answers.check_options(level, plot)
    answers.must_be_writable(out, plot)
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


def is_images(path: Path) -> bool:
    """Whether a path holds images rather than a table."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def names_of(text: str | None) -> list[str]:
    """Return comma-separated names."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _loaded(model: Path) -> FewShotRegressor:
    """Return the model.

    Raises: InputError for one that is not trained to the end.
    """
    from bmaml.errors import InputError
    from bmaml.estimators import FewShotRegressor

    fitted = FewShotRegressor.load(model)
    run = fitted.run_
    if not run.finished:
        raise InputError(f"{model} stopped at meta-step {run.step} of {run.steps}: finish it with bmaml resume {model}.")
    return fitted


def _opened(model: Path, new: Path, at: Path | None) -> tuple[FewShotRegressor, list[NewTask]]:
    """Return the model and the tasks to answer for.

    Raises: InputError for a model that is not trained to the end, or where no row is asked for.
    """
    from bmaml.errors import InputError
    from bmaml.tables import read_table
    from bmaml.tables.new import new_tasks

    fitted = _loaded(model)
    tasks = new_tasks(read_table(new), fitted.schema_, None if at is None else read_table(at))
    if not any(len(task.asked) for task in tasks):
        empty = fitted.schema_.outputs[0].name
        raise InputError(f"no row is asked for: leave {empty!r} empty in {new} where it is wanted, or give a table of rows.")
    return fitted, tasks
