"""`bmaml report`: a model as one page for colleagues."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(
        app, report, "bmaml report model --out report.html", "bmaml report model --table further.csv --out checked.html"
    )


def report(
    model: Annotated[Path, typer.Argument(help="Folder of a model or a run.")],
    out: Annotated[
        Path | None, typer.Option(help="File that ends in .html, .md or .json (default: the folder's name + -report.html).")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="For a model of a table: score on these further tasks, all measured, not fitted on.")
    ] = None,
    shots: Annotated[str | None, typer.Option(help="With a table: numbers of given rows to score at, as 1,3,5.")] = None,
) -> None:
    """Write a page that says what a model learned, how well it predicts new tasks, and whether its intervals can be trusted.

    The page is one file that holds its pictures, for people who do not use bmaml. Without a table it shows what `bmaml fit`
    found on the tasks left out. Markdown has the tables without the pictures, and JSON the numbers.
    """
    from bmaml.cli.options import must_be_a_run, must_be_writable, whole_numbers
    from bmaml.cli.output import plain_warnings
    from bmaml.errors import InputError
    from bmaml.reports import report as made
    from bmaml.reports import write_report
    from bmaml.reports.write import check_format

    path = out or Path(f"{model.resolve().name}-report.html")
    check_format(path)
    must_be_writable(path)
    must_be_a_run(model)
    if shots is not None and table is None:
        raise InputError(f"--shots is {shots} and no table is given: add --table, or leave it out.")
    with plain_warnings():
        write_report(made(model, table=table, shots=whole_numbers(shots, "--shots", 0)), path)
    typer.echo(f"report in {path}")
