"""What several commands share: numbers and names as typed, and checks of files."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from bmaml.errors import InputError

if TYPE_CHECKING:
    from bmaml.learners.recalibrated import Recalibration

TYPED: ContextVar[str | None] = ContextVar("typed", default=None)
"""The command line that is running, as it was typed. It is kept with a model, so that a report can say how it was made."""


# Endings of tables that are read, and of which a reader would take a CSV for a damaged one.
_OTHER_TABLES = (".gz", ".parquet", ".pq", ".tsv")


def check_options(level: float, plot: Path | None) -> None:
    """Check `level` and `plot`, which needs no loaded model.

    Raises: InputError for a level that is no share, or a picture that is no PNG.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"--level is {level:g}: give a share strictly between 0 and 1, such as 0.9.")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError(f"--plot is {plot}: give a name that ends in .png.")


def must_be_new(*paths: Path | None) -> None:
    """Check that none of `paths` exists, so that nothing is overwritten.

    Raises: InputError that names the path that exists.
    """
    for path in paths:
        if path is not None and path.is_dir() and not any(path.iterdir()):
            continue
        if path is not None and (path.exists() or path.is_symlink()):
            raise InputError(f"{path} is there already: give another name, or remove it first.")


def must_take_a_run(folder: Path) -> None:
    """Check that a new run can be made in `folder`: it is new, empty, or holds only the remains of a run that was killed while
    its folder was made.

    Raises: InputError that names what is there.
    """
    from bmaml.io.checkpoint import RunFolder

    if folder.is_dir():
        try:
            RunFolder(folder).replaced()
        except InputError:
            must_be_new(folder)
            raise
    else:
        must_be_new(folder)


def must_be_writable(*files: Path | None) -> None:
    """Check before long work that `files` can be written after it, and that none would be overwritten.

    Raises: InputError that names what exists already, or the folder that is missing.
    """
    must_be_new(*files)
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file} cannot be written because there is no folder {file.parent}: make it first.")


def must_be_a_csv(file: Path | None) -> None:
    """Check before long work that the CSV `file` can be written after it, and that its ending is of no other kind of table.

    Raises: InputError that names what is in the way.
    """
    must_be_writable(file)
    if file is not None and file.suffix.lower() in _OTHER_TABLES:
        raise InputError(f"--out is {file} and a CSV is written: give a name that ends in .csv.")


def must_be_a_run(folder: Path) -> None:
    """Check that `folder` is not that of a board, or of several runs.

    Raises: InputError that names a run in the folder.
    """
    for within in (folder / "runs", folder):
        runs = sorted(path.parent for path in within.glob("*/run.json"))
        if runs and not (folder / "run.json").exists():
            raise InputError(f"{folder} holds several runs: give one of them, such as {runs[0]}.")


def check_folder(folder: Path) -> None:
    """Check that `folder` is a folder, or can be made.

    Raises: InputError if a file is in its place.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not place.is_dir():
        raise InputError(f"--out is {folder} and {place} is a file: give a folder.")


def make_folder(folder: Path) -> None:
    """Make `folder` if it is not there yet.

    Raises: InputError if that cannot be.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out is {folder}, which cannot be made ({error.strerror or error}): give another folder."
        ) from error


def names_of(text: str | None, known: Collection[str] = (), *, flag: str) -> list[str]:
    """Return the comma-separated names in `text`, each once. A name with a comma in it is one of `known`, or stands in quotes.

    Raises: InputError that names the option `flag`, if the text has commas and no names.
    """
    text = text or ""
    parts = next(csv.reader([text], skipinitialspace=True), []) if '"' in text else text.split(",")
    names, start = [], 0
    while start < len(parts):
        ends = range(len(parts), start, -1)
        joined = (",".join(parts[start:end]).strip() for end in ends)
        end, name = next(((e, n) for e, n in zip(ends, joined, strict=True) if n in known), (start + 1, parts[start].strip()))
        names += [name] if name else []
        start = end
    if text.strip() and not names:
        raise InputError(f"{flag} is {text!r} and names nothing: give names with commas between them, or leave it out.")
    return list(dict.fromkeys(names))


@contextmanager
def kept_after_ctrl_c(out: Path) -> Iterator[None]:
    """Say after Ctrl-C that the same command goes on from what is kept in `out`."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"stopped; what is done is kept in {out}: the same command goes on from there", err=True)
        raise typer.Exit(130) from None


def changes(change: Recalibration) -> list[tuple[str, str, str, float]]:
    """Return what a recalibration's `change` did after each number of points: this number, the share that was right before, the
    factor with its 95% interval, and the tails.
    """
    columns = (change.shots, change.held, change.log_stretch, change.tails, change.deviation)
    found = []
    for given, held, log, tails, deviation in zip(*(column.tolist() for column in columns), strict=True):
        low, high = math.exp(log - 1.96 * deviation), math.exp(log + 1.96 * deviation)
        found.append((f"{given:g}", f"{held:.0%}", f"{math.exp(log):.3g} [{low:.3g}, {high:.3g}]", tails))
    return found


SETTINGS = ("tuned", "paper")
"""Whose settings a method takes: this library's, or those of its paper."""


def settings_of(text: str) -> tuple[Literal["paper", "tuned"], ...]:
    """Return whose settings the comma-separated `text` asks for.

    Raises: InputError for another name, or none.
    """
    names = names_of(text, flag="--settings")
    if not names or not set(names) <= set(SETTINGS):
        raise InputError(f"--settings is {text!r}: give tuned or paper, or where both can be shown paper,tuned.")
    return tuple("paper" if name == "paper" else "tuned" for name in names)


def is_paper(text: str) -> bool:
    """Return whether `text` asks for the settings of a method's paper, and not for the tuned ones.

    Raises: InputError if it asks for neither, or for both.
    """
    asked = settings_of(text)
    if len(asked) > 1:
        raise InputError(f"--settings is {text!r}: give one of tuned and paper.")
    return "paper" in asked


def whole_numbers(text: str | None, flag: str, least: int = 1) -> tuple[int, ...] | None:
    """Return the comma-separated integers in `text`, each at least `least`.

    Raises: InputError that names the `flag`.
    """
    from bmaml.tasks.shots import read_counts

    return None if text is None else read_counts(text, least=least, name=flag)
