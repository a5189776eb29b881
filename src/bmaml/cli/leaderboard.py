"""`bmaml leaderboard`: every method on one task family, set of images or table."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bmaml.cli.groups import OptionGroup, add_command, refuse
from bmaml.cli.names import FAMILY_NAMES, NUMBER_METHODS, PATHS
from bmaml.cli.option_groups import HeldOut, TableColumns
from bmaml.cli.options import TYPED, check_folder, is_paper, kept_after_ctrl_c, make_folder, names_of, whole_numbers
from bmaml.cli.train import Settings, Shots
from bmaml.errors import InputError

if TYPE_CHECKING:
    from bmaml.experiments.board.arenas import AbstractArena
    from bmaml.experiments.board.run import Board
    from bmaml.experiments.numbers import Numbers


@dataclass(frozen=True)
class BoardOptions(OptionGroup):
    """What a board trains, and how it scores."""

    TITLE: ClassVar[str] = "The board"
    methods: Annotated[str | None, typer.Option(help=f"Separated by commas (default: all): {NUMBER_METHODS}; {PATHS}.")] = None
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method; of a table each holds out other tasks.")] = 3
    shots: Shots = None
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps of every method (default: its recipe's).")] = None
    count: Annotated[int, typer.Option(min=2, help="New tasks of a family to score on.")] = 1000
    quick: Annotated[bool, typer.Option("--quick", help="One seed, 300 meta-steps, 50 tasks: shows the shape.")] = False
    recalibrated: Annotated[
        bool, typer.Option("--recalibrated", help="Stretch predictions by each method's errors on further tasks.")
    ] = False


@dataclass(frozen=True)
class JobOptions(OptionGroup):
    """Options to train a board by several jobs at once."""

    TITLE: ClassVar[str] = "For several jobs"
    part: Annotated[
        str | None, typer.Option(help="Do one part of the trainings, such as 3/8. Without it the command then ranks all.")
    ] = None
    dask: Annotated[str | None, typer.Option(help="Train on the Dask cluster at this address (tcp://10.0.0.1:8786).")] = None

    def which(self) -> tuple[int, int] | None:
        """Return the part (from 1) and how many there are.

        Raises: InputError for something else than a part.
        """
        if self.part is None:
            return None
        first, _, second = self.part.partition("/")
        if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
            raise InputError(f"--part is {self.part}: give the number of the part and of all parts, such as 3/8.")
        if self.dask is not None:
            raise InputError("--part is given and --dask makes parts of its own: leave one of them out.")
        return int(first), int(second)


@dataclass(frozen=True)
class FamilyOptions(OptionGroup):
    """Options for families of tasks alone."""

    TITLE: ClassVar[str] = "For a family"
    task_count: Annotated[int | None, typer.Option(min=1, help="Train on this many fixed tasks, not endless ones.")] = None
    samples: Annotated[int, typer.Option(min=2, help="Points of each fixed task.")] = 40
    settings: Settings = "tuned"


@dataclass(frozen=True)
class BoardImages(OptionGroup):
    """Options for images alone."""

    TITLE: ClassVar[str] = "For images"
    way: Annotated[int, typer.Option(min=2, help="Classes of a task.")] = 5
    data: Annotated[Path | None, typer.Option(help="For omniglot and folder: folder or zip of the images.")] = None
    size: Annotated[int | None, typer.Option(min=1, help="Side in pixels (default: omniglot 28, folder 84).")] = None
    superclasses: Annotated[Path | None, typer.Option(help="For folder: CSV of classes and their superclasses.")] = None


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, leaderboard, "bmaml leaderboard sinusoid --methods maml,bmaml --quick --out board")


def leaderboard(
    tasks: Annotated[
        str, typer.Argument(help=f"Family ({FAMILY_NAMES}, {PATHS}), images (digits, omniglot or folder), or a table's file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for runs, scores, results and the picture; a second call continues.")],
    board: BoardOptions,
    family: FamilyOptions,
    images: BoardImages,
    columns: TableColumns,
    held_out: HeldOut,
    jobs: JobOptions,
) -> None:
    """Train every method on the same tasks, score all methods on the same new tasks, rank and draw them.

    Finished trainings and scores stay in the folder and are used again. An interrupted training is resumed.
    """
    from bmaml.experiments.board.run import Board
    from bmaml.experiments.image_tasks import IMAGES

    check_board(out)
    part = jobs.which()
    shots, seeds = whole_numbers(board.shots, "--shots"), tuple(range(1 if board.quick else board.seeds))
    if columns.task is not None:
        refuse(family, f"{tasks} is a table, whose tasks are not endless")
        refuse(images, f"{tasks} is a table and no images")
        arenas = _table(Path(tasks), columns, shots, seeds, held_out, spare=board.recalibrated)
    else:
        refuse(columns, f"{tasks} has no --task, as a table has")
        refuse(held_out, f"{tasks} has no --task, as a table has")
        arenas = [_images(tasks, images, family, shots) if tasks in IMAGES else _family(tasks, images, family, shots)]
    chosen = _chosen(names_of(board.methods, flag="--methods"), arenas[0])
    for name in chosen:
        arenas[0].method(name)  # A method without the settings that were asked for is refused before another is trained.
    steps, count = board.steps or (300 if board.quick else None), 50 if board.quick else board.count
    made = Board(arenas, chosen, seeds, steps=steps, count=count, recalibrated=board.recalibrated)
    if part is not None:
        _run_part(made, out, *part)
        return
    if jobs.dask is not None:
        _on_dask(made, out, jobs.dask)
    _run(made, out)


def check_board(out: Path) -> None:
    """Check that the folder `out` is new, empty or that of a board.

    Raises: InputError if it holds something else.
    """
    check_folder(out)
    if (out / "run.json").exists():
        raise InputError(f"--out is {out}, which holds a run: give another folder for the board.")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if held and not held & {"runs", "scores", "recalibrated", "results.json"}:
        raise InputError(f"--out is {out}, which is not empty and holds no board: give a new folder, or that of a board.")


def _chosen(typed: list[str], arena: AbstractArena) -> tuple[str, ...]:
    """Return the methods of a board: those that were typed, or all that the arena has.

    Raises: InputError for an unknown name, or a method that does not fit the arena's targets.
    """
    from bmaml.cli.typed import typed_method
    from bmaml.methods import choose

    return tuple(choose(typed_method(text), arena.outcome).name for text in typed) or arena.methods


def _run(board: Board, out: Path) -> None:
    """Run a board and write its results."""
    from bmaml.experiments.board import standings
    from bmaml.training.progress import BarProgress

    make_folder(out)
    with kept_after_ctrl_c(out):
        entries = board.run(out, BarProgress, lambda line: typer.echo(line, err=True))
    own_tasks = len(board.arenas) > 1
    _report(*standings.standings(entries, own_tasks=own_tasks), standings.reliabilities(entries), out)


def _run_part(board: Board, out: Path, part: int, parts: int) -> None:
    """Do one part of a board's trainings."""
    from bmaml.training.progress import BarProgress

    make_folder(out)
    with kept_after_ctrl_c(out):
        count = board.run_part(out, part, parts, BarProgress, lambda line: typer.echo(line, err=True))
    trainings = "1 training" if count == 1 else f"{count} trainings"
    typer.echo(f"part {part} of {parts}: {trainings} in {out}; the command without --part ranks all parts when they are done")


def _on_dask(board: Board, out: Path, address: str) -> None:
    """Do every training of a board as a job of a Dask cluster."""
    from bmaml.experiments.board.cluster import on_dask

    make_folder(out)
    words = shlex.split(TYPED.get() or "")[1:]
    at = next(i for i, word in enumerate(words) if word.split("=")[0] == "--dask")
    rest = words[:at] + words[at + (1 if "=" in words[at] else 2) :]
    on_dask(address, rest, len(board.trainings), lambda line: typer.echo(line, err=True))


def _family(name: str, images: BoardImages, family: FamilyOptions, shots: tuple[int, ...] | None) -> AbstractArena:
    from bmaml.cli.typed import typed_family
    from bmaml.experiments.board.arenas import FamilyArena
    from bmaml.tasks import FAMILIES

    if name not in FAMILIES and Path(name).is_file():
        raise InputError(f"{name} is a file: say which of its columns are what with --task, --x and --y.")
    if name not in FAMILIES and ":" not in name and Path(name).suffix:
        raise InputError(f"there is no file {name}: give an existing table, or one of {', '.join(FAMILIES)}.")
    name = typed_family(name)
    refuse(images, f"{name} is no set of images")
    published = is_paper(family.settings)
    return FamilyArena(name, shots or FamilyArena.default_shots(name), family.task_count, family.samples, published)


def _images(name: str, images: BoardImages, family: FamilyOptions, shots: tuple[int, ...] | None) -> AbstractArena:
    from bmaml.experiments.board.arenas import ImageArena
    from bmaml.experiments.image_tasks import image_classes

    refuse(family, f"{name} are images")
    split = image_classes(name, images.data, size=images.size, superclasses=images.superclasses)
    return ImageArena(name, shots or (1, 5), images.way, split.train, split.test)


def _table(
    path: Path,
    columns: TableColumns,
    shots: tuple[int, ...] | None,
    seeds: tuple[int, ...],
    held_out: HeldOut,
    *,
    spare: bool,
) -> list[AbstractArena]:
    """Return a table's arena for each seed. Each seed holds out its own tasks."""
    from bmaml.cli.on_tables import split
    from bmaml.experiments.board.arenas import TableArena
    from bmaml.tables import measured

    if not held_out.share():
        raise InputError("--test-share is 0 and a board is scored on tasks held out: give a share above 0, such as 0.15.")
    table, arenas = columns.read(path), []
    roles = columns.roles(table)
    table = measured(table, roles.y)
    by, share = held_out.split_by, held_out.share()
    for seed in seeds:
        training, held = split(table, roles.task_columns, by, share, seed)
        training, others = split(training, roles.task_columns, by, share, seed) if spare else (training, None)
        assert held is not None  # the share is above 0
        arenas.append(TableArena.build(training, held, roles, shots or (2, 5), columns.selection.value, others))
    return arenas


def _report(numbers: Numbers, times: Numbers, bins: Numbers, out: Path) -> None:
    """Write results.json, results.csv, results.md and leaderboard.png (for classes also reliability); print the Markdown."""
    import json
    import sys

    from bmaml.evaluation.intervals import as_json
    from bmaml.experiments.board.standings import rejections, to_markdown
    from bmaml.io.aligned import fitted
    from bmaml.io.files import write_atomically
    from bmaml.plots import leaderboard as plot
    from bmaml.plots import reliability, style

    command = shlex.join(["bmaml", *sys.argv[1:]])
    text = to_markdown(numbers, times, command)
    rows = {"command": command, "scores": [as_json(row) for row in numbers.where()], "times": times.where()}
    write_atomically(out / "results.json", json.dumps(rows, indent=1))
    write_atomically(out / "results.md", text)
    numbers.write(out / "results.csv")
    style.save(plot.draw(numbers), out / "leaderboard.png")
    if bins.rows:
        bins.write(out / "reliability.csv")
        style.save(reliability.draw(bins, rejections(numbers)), out / "reliability.png")
    typer.echo(fitted(text))
    typer.echo(f"picture: {out / 'leaderboard.png'}")
