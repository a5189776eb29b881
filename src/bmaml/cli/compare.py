"""`bmaml compare-posteriors`: every inference on one small task beside NUTS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmaml.cli.groups import add_command


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, compare, "bmaml compare-posteriors --quick --out posteriors", name="compare-posteriors")


def compare(
    out: Annotated[Path, typer.Option(help="Folder for results.json, results.csv, results.md and the picture.")],
    quick: Annotated[bool, typer.Option("--quick", help="A twentieth of the work: shows the shape only.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the task's noise and of everything random.")] = 0,
) -> None:
    """Infer one task's posterior over a 1-16-1 network with every inference, and compare each with NUTS."""
    import json

    from bmaml.cli.options import make_folder
    from bmaml.experiments import posteriors
    from bmaml.experiments.inferences import Size
    from bmaml.experiments.one_task import OneTask
    from bmaml.io.aligned import fitted
    from bmaml.io.files import write_atomically
    from bmaml.plots import posteriors as plot
    from bmaml.plots import style
    from bmaml.training.progress import BarProgress

    make_folder(out)
    task = OneTask.draw(seed)
    size = Size(500, 5000, (10, 30), 1000, 250) if quick else Size()
    chains = {"warmup": 100, "draws": 100} if quick else {}
    numbers, curves, report = posteriors.run(
        task, size=size, seed=seed, progress=BarProgress("PLATIPUS"), said=lambda line: typer.echo(line, err=True), **chains
    )
    command = f"bmaml compare-posteriors --out {out}{' --quick' * quick}{f' --seed {seed}' * bool(seed)}"
    text = posteriors.to_markdown(numbers, report, f"Posteriors of one task beside NUTS\n\n`{command}`")
    write_atomically(out / "results.json", json.dumps({"command": command, "nuts": report, "rows": numbers.where()}, indent=1))
    write_atomically(out / "results.md", text)
    numbers.write(out / "results.csv")
    style.save(plot.draw(task, numbers, curves), out / "posteriors.png")
    typer.echo(fitted(text))
