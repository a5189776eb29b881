"""`bmaml fit`, `bmaml recalibrate`, `bmaml predict` and `bmaml suggest`: tables or images in, tables out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bmaml.cli.names import CLASS_METHODS, NUMBER_METHODS, PATHS
from bmaml.cli.options import names_of, refuse, whole_numbers
from bmaml.cli.predict import predict, recalibrate, suggest
from bmaml.cli.train import report

if TYPE_CHECKING:
    pass


class Selection(StrEnum):
    """Which rows of a task are given while training."""

    random = "random"
    first = "first"


SPLITS = "of images: random, superclasses, parts, alphabets, omniglot-1200 or vinyals (default: parts or superclasses)."


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
    method: Annotated[str | None, typer.Option(help=f"{NUMBER_METHODS}; of images {CLASS_METHODS}; {PATHS}.")] = None,
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps (default 4,000; of images the recipe's).")] = None,
    shots: Annotated[
        str | None, typer.Option("--shots", "--shot", help="Support sizes (of images: a class), as 5 or 1,5.")
    ] = None,
    selection: Annotated[
        Selection, typer.Option(help="Of a table: a random few rows are given, or a task's first.")
    ] = Selection.random,
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
    within: Annotated[bool, typer.Option("--within", help="Of images: classes of a task are of one superclass.")] = False,
    superclasses: Annotated[Path | None, typer.Option(help="Of images: CSV of classes and their superclasses.")] = None,
) -> None:
    """Learn from a table of many tasks or images of many classes; save the model and how it does on what it has not seen.

    The folder keeps the encoded rows of a table's training tasks, or where the images are, so that `bmaml resume` can go on.
    """
    from bmaml.cli.typed import typed_method

    method = typed_method(method) if method else None
    given = {"task": task, "x": x, "y": y, "order": order, "categorical": categorical, "log": log}
    common: dict[str, Any] = {"particles": particles, "steps": steps, "seed": seed}
    drawn = {"way": way, "size": size, "network": network, "filters": filters, "rotations": rotations, "within": within}
    if is_images(table):
        refuse(given, f"{table} holds images and no table")
        chosen = common | {name: value for name, value in drawn.items() if value is not None} | {"method": method or "protonet"}
        _fit_images(table, out, chosen, shots, superclasses, split_by, test_share)
    else:
        refuse(drawn | {"superclasses": superclasses}, f"{table} is no folder or zip of images")
        counts = whole_numbers(shots, "--shots", 0)
        _fit_table(table, out, method or "experts", common, counts, selection, given, split_by, test_share)


def _fit_images(
    path: Path,
    out: Path | None,
    settings: dict[str, Any],
    shots: str | None,
    superclasses: Path | None,
    by: str | None,
    share: float,
) -> None:
    from bmaml.cli import on_images as images

    counts = whole_numbers(shots, "--shots") or (1,)
    settings = {"way": 5, "size": None} | settings | {"shots": counts[0] if len(counts) == 1 else counts}
    images.fit(path, out, settings, superclasses=superclasses, split=by, test_share=share, episodes=600)


def _fit_table(
    table: Path,
    out: Path | None,
    method: str,
    options: dict[str, Any],
    shots: tuple[int, ...] | None,
    selection: Selection,
    given: dict[str, str | None],
    split_by: str | None,
    test_share: float,
) -> None:
    from bmaml.cli import on_tables as held_out
    from bmaml.cli.options import must_be_new
    from bmaml.cli.output import plain_warnings
    from bmaml.errors import InputError
    from bmaml.estimators.regressor import FewShotRegressor
    from bmaml.recipes.tables import regression_method
    from bmaml.tables import ColumnRoles, read_table
    from bmaml.training.progress import BarProgress

    if not table.exists():
        raise InputError(f"there is no {table}: give the path of a table, or of a folder or zip of images.")
    missing = next((name for name in ("task", "x", "y") if given[name] is None), None)
    if missing is not None:
        raise InputError(f"--{missing} is missing: give the columns of {table} as --task, --x and --y.")
    folder = out or Path(f"{table.name.split('.')[0]}-model")
    lists = {name: tuple(names_of(given[name])) for name in ("x", "y", "categorical", "log")}
    roles = ColumnRoles(task=str(given["task"]), order=given["order"], **lists)
    regression_method(method, 1, 1, options["particles"])
    must_be_new(folder)
    rows = read_table(table)
    training, held = held_out.split(rows, roles.task, split_by, test_share, options["seed"])
    counts = held_out.checked_shots(rows, training, roles, shots, selection.value)
    model = FewShotRegressor(
        method, **options, shots=counts, selection=selection.value, progress=BarProgress(f"fitting {table.name}")
    )
    model.fit(training, **vars(roles), directory=folder)
    report(model.run_, folder)
    if held is not None:
        with plain_warnings():
            held_out.report_scores(model, held, training, counts, folder)


def is_images(path: Path) -> bool:
    """Whether a path holds images rather than a table."""
    return path.is_dir() or path.suffix.lower() == ".zip"
