"""`bmaml cache`: what is kept between runs, decoded images and compiled programs."""

from __future__ import annotations

from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, cache, "bmaml cache")


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all; images are then decoded and programs compiled again.")
    ] = False,
) -> None:
    """List what is kept between runs, decoded images and compiled programs, with sizes, or remove it.

    It lies in the folder that BMAML_CACHE names, or in the user's cache folder. With BMAML_CACHE=off nothing is kept.
    """
    from bmaml.images import cache as images
    from bmaml.io import programs
    from bmaml.io.aligned import aligned

    folder = programs.cache_folder()
    if folder is None:
        typer.echo("BMAML_CACHE is off: nothing is kept.")
        return
    found = images.clear() if clear else images.entries()
    compiled = programs.clear_programs() if clear else programs.kept_programs()
    if found:
        rows = [[str(entry.images), _size(entry.size), entry.source] for entry in found]
        typer.echo(aligned([["images", "size", "decoded from"], *rows]))
    if any(kept.programs for kept in compiled):
        rows = [[str(kept.programs), _size(kept.size), kept.folder.name] for kept in compiled]
        typer.echo(aligned([["programs", "size", "jaxlib and processor"], *rows]))
    total = sum(entry.size for entry in found) + sum(kept.size for kept in compiled)
    count = len(found) + sum(kept.programs for kept in compiled)
    typer.echo(f"caches {'removed from' if clear else 'in'} {folder}: {count}, of {_size(total)}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
