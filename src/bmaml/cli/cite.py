"""`bmaml cite`: BibTeX of the papers behind a method or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, cite, "bmaml cite bmaml")


def cite(
    method: Annotated[str, typer.Argument(help="Folder of a run, or name of a method, such as bmaml or protonet.")],
) -> None:
    """Print BibTeX of the papers behind a method or a saved run."""
    import bmaml
    from bmaml.cli.options import must_be_a_run
    from bmaml.errors import InputError
    from bmaml.methods import METHODS, POLICY_METHODS
    from bmaml.training.run import method_of

    folder, known = Path(method), method in METHODS or method in POLICY_METHODS
    if not known and folder.is_dir():
        must_be_a_run(folder)
    elif not known and (len(folder.parts) > 1 or folder.exists()):
        raise InputError(f"{method} is no folder: give the folder of a run, or the name of a method.")
    # Papers depend on the method alone, so a run without a whole checkpoint has them, too.
    typer.echo(bmaml.cite(method_of(folder) if folder.is_dir() and not known else method), nl=False)
