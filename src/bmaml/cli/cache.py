"""`bmaml cache`: the decoded images that are kept between runs."""

from __future__ import annotations

from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, cache, "bmaml cache")


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all caches; images are then decoded again.")] = False,
) -> None:
    """List the caches of decoded images, with their sizes, or remove them.

    They lie in the folder that BMAML_CACHE names, or in the user's cache folder.
    """
    from bmaml.images import cache as caches
    from bmaml.io.aligned import aligned

    folder = caches.cache_folder()
    found = caches.clear() if clear else caches.entries()
    if found:
        rows = [[str(entry.images), f"{entry.size / 1e6:.1f} MB", entry.source] for entry in found]
        typer.echo(aligned([["images", "size", "decoded from"], *rows]))
    total = f"{sum(entry.size for entry in found) / 1e6:.1f} MB"
    typer.echo(f"caches {'removed from' if clear else 'in'} {folder}: {len(found)}, of {total}")
