"""`bmaml figure NAME`: an experiment's picture and its numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(figure)


def _svgd(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import svgd_mixture
    from bmaml.plots import svgd_mixture as plot

    numbers = svgd_mixture.run(seed=settings["seed"])
    final = svgd_mixture.summary(numbers)
    typer.echo("after 500 steps: " + ", ".join(f"{k} {v:.3f}" for k, v in final.items()) + " (truth 0.667, 5, 0.341)")
    return {"svgd-mixture": numbers}, plot.draw(numbers)


def _maml(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import adaptation
    from bmaml.plots import adaptation as plot

    size = {"steps": 1500, "tasks": 200} if quick else {}
    errors, curves = adaptation.run(**size, **settings)
    return {"maml": errors, "maml-curves": curves}, plot.draw((errors, curves))


def _bmaml_1(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import progress
    from bmaml.plots import progress as plot

    size = {"steps": 1000, "marks": 10, "test_tasks": 100} if quick else {}
    numbers = progress.run(**size, **settings)
    return {"bmaml-1": numbers}, plot.draw(numbers)


FIGURES: dict[str, Callable[[bool, dict[str, Any]], tuple[dict[str, Any], Any]]] = {
    "svgd-mixture": _svgd,
    "maml": _maml,
    "bmaml-1": _bmaml_1,
}


def figure(
    name: Annotated[str, typer.Argument(help="svgd-mixture, maml or bmaml-1.")],
    out: Annotated[Path, typer.Option(help="Folder for the picture and its numbers.")] = Path("figures"),
    quick: Annotated[bool, typer.Option("--quick", help="A small size that shows the shape in a minute or two.")] = False,
    steps: Annotated[int | None, typer.Option(min=20, help="Meta-steps of each training.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Make a figure of the lecture: NAME.png and the numbers behind it as CSV."""
    from bmaml.cli.progress import BarProgress
    from bmaml.plots import style
    from bmaml.recipes import pick

    make = pick("figure", name, FIGURES)
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"seed": seed}
    if name != "svgd-mixture":
        settings |= {"progress": BarProgress(name)} | ({"steps": steps} if steps else {})
    tables, picture = make(quick and steps is None, settings)
    style.save(picture, out / f"{name}.png")
    for stem, numbers in tables.items():
        numbers.write(out / f"{stem}.csv")
    typer.echo(f"wrote {out / f'{name}.png'} and " + ", ".join(str(out / f"{stem}.csv") for stem in tables))
