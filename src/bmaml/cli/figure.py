"""`bmaml figure NAME`: the picture of an experiment and its numbers."""

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
    from bmaml.experiments import training_curves as progress
    from bmaml.plots import training_curves as plot

    size = {"steps": 150, "marks": 5, "test_tasks": 50} if quick else {}
    numbers = progress.run(**size, **settings)
    return {"bmaml-1": numbers}, plot.draw(numbers)


def _banana(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import banana
    from bmaml.plots import banana as plot

    draws, scores = banana.run(seed=settings["seed"])
    for row in scores.where():
        off = f"mean off {row['mean_error']:.1%} of a deviation, covariance {row['covariance_error']:.1%}"
        well = "" if row["r_hat"] is None else f", R-hat {row['r_hat']:.4f}, {row['divergences']} divergences"
        typer.echo(f"{row['method']}: {off}{well}")
    return {"banana": draws, "banana-scores": scores}, plot.draw(draws, scores)


def _active(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import active
    from bmaml.plots import active as plot

    runs, seed = settings.pop("runs"), settings["seed"]
    size = {"steps": 600} if quick else {}
    trained, family = active.runs_of(runs) if runs else (active.fit(**size, **settings), "sinusoid")
    numbers, needed = active.run(trained, family, tasks=50 if quick else 200, seed=seed)
    for row in needed.where():
        count = f"{row['points']} points" if row["points"] else "more than 10 points"
        gap = f"{row['gap']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
        typer.echo(f"{row['method']} by {row['by']}: random's error at 10 with {count} (difference {gap})")
    return {"active": numbers, "active-needed": needed}, plot.draw(numbers)


def _early_stopping(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import early_stopping
    from bmaml.plots import early_stopping as plot

    paths, shares = early_stopping.run(seed=settings["seed"])
    typer.echo(f"largest gap between gradient descent and the MAP: {max(paths.values('gap')):.1e}")
    return {"early-stopping": paths, "early-stopping-shrinkage": shares}, plot.draw((paths, shares), seed=settings["seed"])


def _curvature(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import curvature
    from bmaml.plots import curvature as plot

    numbers = curvature.run(seed=settings["seed"], **({"tasks": 4} if quick else {}))
    return {"curvature": numbers, "curvature.md": curvature.markdown(numbers)}, plot.draw(numbers)


def _policies(quick: bool, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Return runs of policies and their world: the given ones, or ones that are trained now."""
    from bmaml.experiments import policies as control

    folders = settings.pop("runs")
    if folders:
        return control.policies_of(folders)
    return control.fit(**({"steps": 10, "batch": 5} if quick else {}), **settings)


def _returns(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import policies as control
    from bmaml.plots import policies as plot

    runs, world = _policies(quick, settings)
    numbers, training = control.returns(runs, world, count=40 if quick else 400), control.progress_of(runs)
    for row in numbers.where():
        bounds = f"{row['return']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        typer.echo(f"{row['method']} after {row['updates']} updates: {bounds}")
    return {"returns": numbers, "returns-training": training}, plot.draw_returns(numbers, training)


def _paths(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import policies as control
    from bmaml.plots import policies as plot

    numbers = control.paths(*_policies(quick, settings), seed=settings["seed"])
    return {"paths": numbers}, plot.draw_paths(numbers)


def _bmaml_2(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import particles
    from bmaml.plots import particles as plot

    size = {"steps": 300, "particles": (1, 5), "counts": (10, 100), "episodes": 100} if quick else {}
    numbers = particles.run(**size, **settings)
    return {"bmaml-2": numbers}, plot.draw(numbers)


def _active_images(quick: bool, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from bmaml.experiments import active_images
    from bmaml.plots import active_images as plot

    size = {"steps": 300, "methods": ("ridge",)} if quick else {}
    numbers, needed = active_images.run(**size, **settings)
    for row in needed.where(random_labels=20):
        if row["by"] != "random":
            count = f"{row['labels']} labels" if row["labels"] else "more than 25 labels"
            gap = f"{row['gap']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
            typer.echo(f"{row['method']} from {row['start']} by {row['by']}: random's accuracy at 20 with {count} (gap {gap})")
    return {"active-images": numbers, "active-images-needed": needed}, plot.draw(numbers)


FIGURES: dict[str, Callable[[bool, dict[str, Any]], tuple[dict[str, Any], Any]]] = {
    "svgd-mixture": _svgd,
    "maml": _maml,
    "bmaml-1": _bmaml_1,
    "banana": _banana,
    "active": _active,
    "early-stopping": _early_stopping,
    "curvature": _curvature,
    "returns": _returns,
    "paths": _paths,
    "bmaml-2": _bmaml_2,
    "active-images": _active_images,
}
_OF_RUNS = ("active", "returns", "paths")
_OF_IMAGES = ("bmaml-2", "active-images")
_UNTRAINED = ("svgd-mixture", "banana", "early-stopping", "curvature")


def figure(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(FIGURES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the picture and its numbers.")] = Path("figures"),
    quick: Annotated[bool, typer.Option("--quick", help="A small size that shows the shape in a minute or two.")] = False,
    steps: Annotated[int | None, typer.Option(min=20, help="Meta-steps of each training.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    runs: Annotated[
        str | None,
        typer.Option(
            help="For active, returns and paths: folders of runs on one family, as runs/a,runs/b (default: trains its own)."
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="For bmaml-2 and active-images: digits, or omniglot.")] = "digits",
    data: Annotated[Path | None, typer.Option(help="Folder or zip of Omniglot's images_background.")] = None,
) -> None:
    """Make a figure: NAME.png, and the numbers behind it as CSV."""
    from bmaml.errors import InputError
    from bmaml.plots import style
    from bmaml.rows import pick
    from bmaml.training.progress import BarProgress

    make = pick("figure", name, FIGURES)
    if runs and name not in _OF_RUNS:
        raise InputError(f"figure {name} trains its own methods: leave out --runs.")
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"seed": seed}
    if name in _OF_RUNS:
        settings["runs"] = [part.strip() for part in (runs or "").split(",") if part.strip()]
    if name in _OF_IMAGES:
        settings |= {"images": images, "data": data}
    elif images != "digits" or data is not None:
        raise InputError(f"figure {name} is not of images: leave out --images and --data.")
    if name not in _UNTRAINED:
        settings |= {"progress": BarProgress(name)} | ({"steps": steps} if steps else {})
    tables, picture = make(quick and steps is None, settings)
    style.save(picture, out / f"{name}.png")
    typer.echo(f"wrote {out / f'{name}.png'} and " + ", ".join(str(_write(out, stem, table)) for stem, table in tables.items()))


def _write(out: Path, stem: str, table: Any) -> Path:
    """Write numbers as CSV, or a text under its own name."""
    from bmaml.io.files import write_atomically

    if isinstance(table, str):
        write_atomically(out / stem, table)
        return out / stem
    table.write(out / f"{stem}.csv")
    return out / f"{stem}.csv"
