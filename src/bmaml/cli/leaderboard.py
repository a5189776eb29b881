"""`bmaml leaderboard`: every method on one task family, set of images or table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bmaml.cli.fit import Selection
from bmaml.cli.names import FAMILY_NAMES, NUMBER_METHODS, PATHS
from bmaml.cli.options import must_be_absent, names_of, whole_numbers
from bmaml.cli.train import Shots

if TYPE_CHECKING:
    from bmaml.experiments.board.arenas import AbstractArena
    from bmaml.experiments.board.run import Board
    from bmaml.tables import ColumnRoles


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(leaderboard)


def leaderboard(
    tasks: Annotated[
        str, typer.Argument(help=f"Family ({FAMILY_NAMES}, {PATHS}), images (digits or omniglot), or a table's file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for runs, scores, results and the picture; goes on with what it holds.")],
    methods: Annotated[str | None, typer.Option(help=f"Separated by commas (default: all): {NUMBER_METHODS}; {PATHS}.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method; of a table each holds out other tasks.")] = 3,
    shots: Shots = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps of every method (default: its recipe's).")] = None,
    count: Annotated[int, typer.Option(min=2, help="New tasks of a family to score on.")] = 1000,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, 300 meta-steps, 50 tasks: shows the shape.")] = False,
    recalibrated: Annotated[
        bool, typer.Option("--recalibrated", help="Stretch predictions by each method's errors on further tasks.")
    ] = False,
    task_count: Annotated[int | None, typer.Option(min=1, help="Train on so many fixed tasks, not endless ones.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Points of each fixed task.")] = 40,
    way: Annotated[int, typer.Option(min=2, help="Of images: classes of a task.")] = 5,
    data: Annotated[Path | None, typer.Option(help="Of omniglot: folder or zip of images_background.")] = None,
    task: Annotated[str | None, typer.Option(help="Of a table: column that names each row's task.")] = None,
    x: Annotated[str | None, typer.Option(help="Of a table: input columns, such as time,dose.")] = None,
    y: Annotated[str | None, typer.Option(help="Of a table: output columns, such as conc.")] = None,
    selection: Annotated[
        Selection, typer.Option(help="Of a table: given rows are a random few, or the first.")
    ] = Selection.random,
    order: Annotated[str | None, typer.Option(help="Of a table: column that sorts a task's rows.")] = None,
    categorical: Annotated[str | None, typer.Option(help="Of a table: inputs that are categories though numbers.")] = None,
    log: Annotated[str | None, typer.Option(help="Of a table: inputs whose logarithm is taken.")] = None,
    split_by: Annotated[str | None, typer.Option(help="Of a table: what shares this column is held out together.")] = None,
    test_share: Annotated[float, typer.Option(min=0.01, max=0.9, help="Of a table: share of tasks held out.")] = 0.15,
) -> None:
    """Train every method on the same tasks, score all on the same new ones, rank and draw them.

    Finished trainings and scores are kept in the folder and used again; an interrupted one is resumed.
    """
    from bmaml.errors import InputError
    from bmaml.experiments.board.run import Board
    from bmaml.experiments.image_tasks import IMAGES
    from bmaml.tables import ColumnRoles

    given = whole_numbers(shots, "--shots")
    chosen_seeds = tuple(range(1 if quick else seeds))
    table = {"selection": selection.value, "split_by": split_by, "test_share": test_share, "spare": recalibrated}
    if task is not None and task_count is not None:
        raise InputError("--task-count is for families, whose tasks are endless: leave it out with a table.")
    if task:
        lists = (tuple(names_of(text)) for text in (x, y, categorical, log))
        roles = ColumnRoles(task, next(lists), next(lists), order, *lists)
        arenas = _table(Path(tasks), roles, given, chosen_seeds, **table)
    else:
        must_be_absent({"--x": x, "--y": y, "--order": order, "--split-by": split_by}, f"{tasks} has no --task, as a table has")
        must_be_absent({"--categorical": categorical, "--log": log}, f"{tasks} has no --task, as a table has")
        arenas = [_images(tasks, data, given, way) if tasks in IMAGES else _family(tasks, given, task_count, samples)]
    size = {"steps": steps or (300 if quick else None), "count": 50 if quick else count}
    chosen = _chosen(names_of(methods), arenas[0])
    _run(Board(arenas, chosen, chosen_seeds, **size, recalibrated=recalibrated), out)


def _chosen(typed: list[str], arena: AbstractArena) -> tuple[str, ...]:
    """Return the methods of a board: those that were typed, or all that the arena has.

    Raises: InputError for an unknown name, or a method that does not fit the arena's targets.
    """
    from bmaml.cli.typed import typed_method
    from bmaml.methods import choose

    return tuple(choose(typed_method(text), arena.outcome).name for text in typed) or arena.methods


def _run(board: Board, out: Path) -> None:
    """Run a board and write what came of it."""
    from bmaml.experiments.board import standings
    from bmaml.training.progress import BarProgress

    out.mkdir(parents=True, exist_ok=True)
    try:
        entries = board.run(out, BarProgress, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo(f"stopped; what is done is kept in {out}: the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    own_tasks = len(board.arenas) > 1
    _report(*standings.standings(entries, own_tasks=own_tasks), standings.reliabilities(entries), out)


def _family(name: str, shots: tuple[int, ...] | None, task_count: int | None, samples: int) -> AbstractArena:
    from bmaml.cli.typed import typed_family
    from bmaml.errors import InputError
    from bmaml.experiments.board.arenas import FamilyArena
    from bmaml.tasks import FAMILIES

    name = typed_family(name)
    if name not in FAMILIES and Path(name).is_file():
        raise InputError(f"{name} is a file: say which of its columns are what with --task, --x and --y.")
    if name not in FAMILIES and Path(name).suffix:
        raise InputError(f"there is no file {name}: give an existing table, or one of {', '.join(FAMILIES)}.")
    return FamilyArena(name, shots or FamilyArena.default_shots(name), task_count, samples)


def _images(name: str, data: Path | None, shots: tuple[int, ...] | None, way: int) -> AbstractArena:
    from bmaml.experiments.board.arenas import ImageArena
    from bmaml.experiments.image_tasks import image_classes

    split = image_classes(name, data)
    return ImageArena(name, shots or (1, 5), way, split.train, split.test)


def _table(
    path: Path,
    roles: ColumnRoles,
    shots: tuple[int, ...] | None,
    seeds: tuple[int, ...],
    *,
    selection: str,
    split_by: str | None,
    test_share: float,
    spare: bool,
) -> list[AbstractArena]:
    """Return a table's arena for each seed, each with tasks of its own held out."""
    from bmaml.cli.on_tables import split
    from bmaml.experiments.board.arenas import TableArena
    from bmaml.tables import read_table

    table, arenas = read_table(path), []
    for seed in seeds:
        training, held = split(table, roles.task, split_by, test_share, seed)
        training, others = split(training, roles.task, split_by, test_share, seed) if spare else (training, None)
        assert held is not None  # the share is above 0
        arenas.append(TableArena.build(training, held, roles, shots or (2, 5), selection, others))  # pyright: ignore
    return arenas


def _report(numbers: Any, times: Any, bins: Any, out: Path) -> None:
    """Write results.json, results.csv, results.md and leaderboard.png (of classes: reliability, too); print the Markdown."""
    import json
    import sys

    from bmaml.experiments.board.standings import rejections, to_markdown
    from bmaml.io.files import write_atomically
    from bmaml.plots import leaderboard as plot
    from bmaml.plots import reliability, style

    command = shlex.join(["bmaml", *sys.argv[1:]])
    text = to_markdown(numbers, times, command)
    rows = {"command": command, "scores": numbers.where(), "times": times.where()}
    write_atomically(out / "results.json", json.dumps(rows, indent=1))
    write_atomically(out / "results.md", text)
    numbers.write(out / "results.csv")
    style.save(plot.draw(numbers), out / "leaderboard.png")
    if bins.rows:
        bins.write(out / "reliability.csv")
        style.save(reliability.draw(bins, rejections(numbers)), out / "reliability.png")
    typer.echo(text)
    typer.echo(f"picture: {out / 'leaderboard.png'}")
