"""`bmaml cite`: BibTeX of the papers behind a method or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.names import NUMBER_METHODS


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(cite)


def cite(
    method: Annotated[str, typer.Argument(help=f"Name of a method ({NUMBER_METHODS}, ...), or folder of a run.")],
) -> None:
    """Print BibTeX of the papers behind a method or a saved run."""
    import bmaml

    folder = Path(method)
    typer.echo(bmaml.cite(bmaml.load(folder) if folder.is_dir() else method), nl=False)
