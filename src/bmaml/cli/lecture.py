"""`bmaml lecture`: the chapters of the lecture, and their lines as they run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, lecture, "bmaml lecture", "bmaml lecture 11 --out lecture")


def lecture(
    number: Annotated[int | None, typer.Argument(help="Number of a chapter (default: lists the chapters).")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("lecture"),
) -> None:
    """List the chapters of the lecture, or show a chapter and run its lines.

    A chapter prints its page, then what its lines print, and draws NUMBER.png. It takes seconds to some minutes.
    """
    from bmaml.cli.options import check_folder
    from bmaml.lecture import chapters
    from bmaml.rows import pick

    every = chapters()
    if number is None:
        for chapter in every.values():
            typer.echo(f"{chapter.number:2d}  {chapter.title}")
        return
    chapter = pick("chapter", str(number), {str(known): chapter for known, chapter in every.items()})
    check_folder(out)
    # Images are on the site, and notes to the tests are for nobody else.
    typer.echo(re.sub(r"\n*(^!\[.*?\]\(.*?\)$|^<!--.*?-->$)", "", chapter.text, flags=re.MULTILINE | re.DOTALL).strip())
    typer.echo("\nThese lines run now.\n")
    _draw(chapter, out)


def _draw(chapter, out: Path) -> None:
    """Run a chapter and write its figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from bmaml.cli.options import make_folder
    from bmaml.plots import style

    make_folder(out)
    plt.close("all")
    chapter.run()
    for count, known in enumerate(plt.get_fignums()):
        file = out / f"{chapter.number:02d}{'-' + str(count + 1) if count else ''}.png"
        style.save(plt.figure(known), file)
        typer.echo(f"wrote {file}")
