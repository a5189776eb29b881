"""`bmaml explore`: a page in the browser where one plays with the posterior of a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command
from bmaml.errors import InputError


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, explore, "bmaml explore --demo", "bmaml explore model --beside other")


def explore(
    model: Annotated[Path | None, typer.Argument(help="Folder that `bmaml fit` or `bmaml train` wrote.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Use the small model of sinusoids that bmaml brings along.")] = False,
    beside: Annotated[Path | None, typer.Option(help="A second model of the same inputs and outcome, to compare.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 5006,
    host: Annotated[str, typer.Option(help="Address to listen on; other machines cannot reach the default.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open a page where clicked points change what a model predicts, and a page where inferences can be watched.

    The model has one outcome and one or two inputs. Click to add a point, drag to move it. The page shows mean, 50% and 90%
    bands, functions, the weight of each expert, and which point to measure next. The page stays on this machine. Stop it by
    Ctrl-C.
    """
    server = opened(model, demo, beside, host, port)
    typer.echo(
        f"The model: {server.url}\nInference alone: {server.url}inference\nPrograms compile for a minute. Stop by Ctrl-C."
    )
    if browser:
        import webbrowser

        webbrowser.open(server.url)
    server.run()


def opened(model: Path | None, demo: bool, beside: Path | None, host: str, port: int):
    """Return the server of the pages of `model` (or of the `demo`) and a model `beside` it, on `host` and `port`.

    Raises: InputError if there is no model, or one that cannot be drawn, or if the extra `explore` is not installed.
    """
    if (model is None) == (not demo):
        raise InputError("give the folder of a model, or --demo, and not both.")
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise InputError("explore needs Bokeh, which is not installed: pip install 'bmaml[explore]'.") from error
    from bmaml.explore.demo import demo_subjects
    from bmaml.explore.server import ExploreServer
    from bmaml.explore.subjects import open_subject

    subjects = [open_subject(model)] if model is not None else demo_subjects()[: 1 if beside else None]
    subjects += [] if beside is None else [open_subject(beside)]
    return ExploreServer(subjects, host=host, port=port)
