"""The groups of options that several modules of the command line use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from bmaml.cli.groups import OptionGroup
from bmaml.cli.names import CLASS_METHODS, OUTCOME_NAMES, PATHS, TABLE_METHODS
from bmaml.cli.options import names_of
from bmaml.errors import InputError

if TYPE_CHECKING:
    from bmaml.tables import ColumnRoles, Reading, Table


class Selection(StrEnum):
    """Which rows of a task are given in training."""

    random = "random"
    first = "first"


_DayFirst = Annotated[
    bool | None, typer.Option("--dayfirst/--no-dayfirst", help="03/04/2024 is the third of April, or March the fourth.")
]
_Decimal = Annotated[str | None, typer.Option(help="Mark in front of decimals (default: found in the file).")]


@dataclass(frozen=True)
class TableColumns(OptionGroup):
    """What the columns of a table mean."""

    TITLE: ClassVar[str] = "For a table"
    task: Annotated[
        str | None, typer.Option(help="Column that names each row's task; several if tasks are nested, as school,class.")
    ] = None
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Use about so many rows: whole tasks, drawn at random. A Parquet file may exceed memory."),
    ] = None
    x: Annotated[str | None, typer.Option(help="Input columns, such as time,dose (none: tasks differ in level alone).")] = None
    y: Annotated[str | None, typer.Option(help="Output columns, such as conc.")] = None
    family: Annotated[
        str | None,
        typer.Option(help=f"What the outcome is: {OUTCOME_NAMES} (default: yes-no, classes for words, else normal)."),
    ] = None
    exposure: Annotated[str | None, typer.Option(help="Column with the exposure of counts, such as person-years.")] = None
    error: Annotated[str | None, typer.Option(help="Column with the standard deviation of each measurement's own error.")] = (
        None
    )
    weight: Annotated[str | None, typer.Option(help="Column with how many measurements a row is the mean of.")] = None
    trials: Annotated[str | None, typer.Option(help="Column with how many trials the successes of a row are of.")] = None
    upper: Annotated[
        str | None,
        typer.Option(help="Column with the upper end of an outcome that is known up to limits; --y is the lower end."),
    ] = None
    levels: Annotated[str | None, typer.Option(help="Levels of an ordered outcome, as none,mild,severe.")] = None
    selection: Annotated[Selection, typer.Option(help="A random few rows are given, or a task's first.")] = Selection.random
    order: Annotated[str | None, typer.Option(help="Column that sorts a task's rows.")] = None
    categorical: Annotated[str | None, typer.Option(help="Inputs that are categories though numbers.")] = None
    log: Annotated[str | None, typer.Option(help="Inputs whose logarithm is taken.")] = None
    na_values: Annotated[
        str | None,
        typer.Option(help="What means missing, as .,-999 (default: NA, NaN, null, ...); for one column as country=."),
    ] = None
    dayfirst: _DayFirst = None
    decimal: _Decimal = None

    def read(self, path: Path, seed: int = 0) -> Table:
        """Return the table at `path`, read as the options say. `seed` draws its tasks where not all rows are wanted.

        Raises: InputError if the task or the outputs are not named, or the file cannot be read.
        """
        from bmaml.tables import read_sample, read_table

        missing = next((name for name in ("task", "y") if getattr(self, name) is None), None)
        if missing is not None:
            raise InputError(f"--{missing} is missing: give the columns of {path} as --task, --x and --y.")
        own = _reading(self.decimal, self.dayfirst)
        own = own if self.na_values is None else replace(own, **_missing(self.na_values, own.missing))
        if self.rows is None:
            return read_table(path, reading=own)
        return read_sample(path, tuple(names_of(self.task, flag="--task")), self.rows, seed, own)

    def roles(self, table: Table) -> ColumnRoles:
        """Return the roles of the columns of `table`."""
        from bmaml.tables import ColumnRoles

        named = ("task", "x", "y", "categorical", "log")
        task, x, y, categorical, log = (tuple(names_of(getattr(self, name), table.columns, flag=f"--{name}")) for name in named)
        levels = tuple(names_of(self.levels, flag="--levels"))
        sides = {name: getattr(self, name) for name in ("exposure", "error", "weight", "trials", "upper")}
        return ColumnRoles(task, x, y, self.order, categorical, log, self.selection.value, **sides, levels=levels)


@dataclass(frozen=True)
class NewTables(OptionGroup):
    """How new tables are written, where neither their cells nor those of the fitted table show it.

    - `dayfirst`: whether 03/04/2024 is the third of April.
    - `decimal`: mark in front of decimals.
    """

    TITLE: ClassVar[str] = "How a table is written"
    dayfirst: _DayFirst = None
    decimal: _Decimal = None

    def read(self, path: Path) -> Table:
        """Return the table at `path`, read as the options say.

        Raises: InputError if the file cannot be read.
        """
        from bmaml.tables import read_table

        return read_table(path, reading=_reading(self.decimal, self.dayfirst))


def _reading(decimal: str | None, day_first: bool | None) -> Reading:
    from bmaml.tables import Reading

    if decimal not in (None, ".", ","):
        raise InputError(f"--decimal is {decimal!r}: give . or , as the mark in front of decimals.")
    return Reading(day_first=day_first, decimal="," if decimal == "," else "." if decimal else None)


def _missing(text: str, default: tuple[str, ...]) -> dict[str, Any]:
    """Return what the option --na-values says: texts for all columns, and texts for single ones."""
    everywhere: list[str] = []
    columns: dict[str, tuple[str, ...]] = {}
    for part in names_of(text, flag="--na-values"):
        name, mark, value = part.rpartition("=")
        if mark:
            columns[name] = (*columns.get(name, ()), *([value.lower()] if value else []))
        else:
            everywhere.append(part.lower())
    return {"missing": tuple(everywhere) if everywhere or not columns else default, "columns": columns}


@dataclass(frozen=True)
class HeldOut(OptionGroup):
    """Which tasks or classes are held out of training, to score on."""

    TITLE: ClassVar[str] = "Held out for scores"
    split_by: Annotated[
        str | None,
        typer.Option(
            help="For a table: what shares this column is held out together. For images: random, superclasses, parts, "
            "alphabets, omniglot-1200 or vinyals (default: parts or superclasses if there are any)."
        ),
    ] = None
    test_share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of tasks or classes held out (default 0.15; a mixture needs none, it scores on folds).",
        ),
    ] = None

    def share(self, usual: float = 0.15) -> float:
        """Return the share of tasks or classes held out, `usual` if the user did not say."""
        return usual if self.test_share is None else self.test_share


@dataclass(frozen=True)
class Fitting(OptionGroup):
    """How a model is fitted. None takes the value of the method or the recipe."""

    TITLE: ClassVar[str] = "Training"
    method: Annotated[str | None, typer.Option(help=f"{TABLE_METHODS}; for images {CLASS_METHODS}; {PATHS}.")] = None
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Iterations of networks (default 4,000, or 400 for few tasks; for images the recipe's)."),
    ] = None
    shots: Annotated[
        str | None, typer.Option("--shots", "--shot", help="Numbers of given rows in training (images of a class), as 1,5.")
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of everything random, the split included.")] = 0


@dataclass(frozen=True)
class ImageFitting(OptionGroup):
    """Options for images alone. None takes the recipe's value."""

    TITLE: ClassVar[str] = "For images"
    way: Annotated[int | None, typer.Option(min=2, help="Classes to tell apart (default 5).")] = None
    size: Annotated[int | None, typer.Option(min=1, help="Side in pixels to resize to.")] = None
    network: Annotated[str | None, typer.Option(help="conv4, pyramid, resnet12 or mlp (default: conv4 if it fits).")] = None
    filters: Annotated[
        int | None,
        typer.Option(min=1, help="Filters of conv4, pyramid's third module or resnet12's first block (default: the recipe's)."),
    ] = None
    rotations: Annotated[bool, typer.Option("--rotations", help="Turned images are further classes.")] = False
    within: Annotated[bool, typer.Option("--within", help="Classes of a task are of one superclass.")] = False
    distort: Annotated[
        float, typer.Option(min=0.0, help="Strength of random distortions of training images (drawings: 1).")
    ] = 0.0
    superclasses: Annotated[Path | None, typer.Option(help="CSV of classes and their superclasses.")] = None
