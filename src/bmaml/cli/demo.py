"""`bmaml demo`: the main job in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, demo, "bmaml demo --out demo")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the picture and the table.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    share: Annotated[float, typer.Option(min=0.001, max=100, help="Training length; 1 is about a minute on two cores.")] = 1.0,
) -> None:
    """Meta-train the best method and BMAML on sinusoids, adapt both to a new task, draw and score them."""
    import json

    from bmaml.cli.evaluate import show
    from bmaml.cli.options import make_folder
    from bmaml.evaluation.evaluate import to_records
    from bmaml.experiments import demo as job
    from bmaml.io.files import write_atomically
    from bmaml.plots import demo as plot
    from bmaml.plots import style
    from bmaml.training.progress import BarProgress

    make_folder(out)
    runs = {name: job.fit(name, seed=seed, share=share, progress=BarProgress(name)) for name in ("experts", "bmaml")}
    task = job.NewTask.draw(seed + 20)
    rows = {
        "bmaml": job.views(runs["bmaml"], task, by_steps=True),
        "experts": job.views(runs["experts"], task, by_steps=False),
    }
    bands = {count: job.optimal_band(task, count) for count in job.GIVEN if count}
    style.save(plot.draw(task, rows, bands), out / "demo.png")
    results = job.scores(runs)
    write_atomically(out / "demo.json", json.dumps(to_records(results), indent=1))
    show(results)
    typer.echo(f"picture: {out / 'demo.png'}\nscores: {out / 'demo.json'}")
