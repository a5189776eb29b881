"""`bmaml fit`: learn from a table of many tasks, or from images of many classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command, refuse
from bmaml.cli.option_groups import Fitting, HeldOut, ImageFitting, TableColumns
from bmaml.cli.predict import describe, predict, recalibrate, suggest


def add(app: typer.Typer) -> None:
    """Add this module's commands."""
    of_table = "bmaml fit table.csv --task patient --x time,dose --y conc --out model"
    add_command(app, fit, of_table, "bmaml fit images.zip --way 5 --shot 1 --out classes")
    add_command(app, recalibrate, "bmaml recalibrate model further.csv --out honest")
    add_command(app, predict, "bmaml predict model new.csv --out later.csv", "bmaml predict classes --support few --query new")
    grid = "bmaml suggest model new.csv --pool grid.csv"
    add_command(app, suggest, f"{grid} --n 2", f"{grid} --target 5 --cost price")
    add_command(app, describe, "bmaml describe model")


def fit(
    data: Annotated[Path, typer.Argument(help="Table (CSV, TSV, Parquet; a measurement a row), or folder or zip of images.")],
    columns: TableColumns,
    images: ImageFitting,
    fitting: Fitting,
    held_out: HeldOut,
    out: Annotated[Path | None, typer.Option(help="Folder for the model (default: the data's name + -model).")] = None,
) -> None:
    """Learn from a table of many tasks, or from images of many classes; save the model and its scores on held-out data.

    The folder keeps the encoded rows of a table's training tasks, or the place of the images, so that `bmaml resume` can
    continue.
    """
    from bmaml.cli import on_images, on_tables
    from bmaml.cli.typed import typed_method
    from bmaml.estimators.stacking import MIXTURES

    if fitting.method is not None and (fitting.method not in MIXTURES or is_images(data)):
        fitting = replace(fitting, method=typed_method(fitting.method))
    folder = out or Path(f"{data.name.split('.')[0]}-model")
    if is_images(data):
        refuse(columns, f"{data} holds images and no table")
        on_images.fit(data, folder, fitting, images, held_out)
    else:
        refuse(images, f"{data} is no folder or zip of images")
        on_tables.fit(data, folder, fitting, columns, held_out)


def is_images(path: Path) -> bool:
    """Whether `path` holds images instead of a table."""
    return path.is_dir() or path.suffix.lower() == ".zip"
