"""`bmaml train` and `bmaml resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

METHODS = (
    "experts, bmaml, maml, emaml, bfa, ml-point, ml-laplace, fomaml, imaml, meta-sgd, reptile, pretrain, platipus, abml, "
    "cnp, tnp or rnn."
)
Shots = Annotated[str | None, typer.Option(help="Support sizes, such as 5 or 3,5,10: a task has one of them at random.")]


def add(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(resume)


def whole_numbers(text: str | None, flag: str, least: int = 1) -> tuple[int, ...] | None:
    """Return comma-separated integers of at least `least`.

    Raises: InputError naming the flag.
    """
    from bmaml.errors import InputError

    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < least:
        raise InputError(f"{flag} is {text!r}: give whole numbers of at least {least}, such as 5 or 3,5,10.")
    return numbers


def train(
    tasks: Annotated[str, typer.Argument(help="Task family: sinusoid, maml-sinusoid or ambiguous.")],
    out: Annotated[Path, typer.Option(help="Folder for the run; must not hold one yet.")],
    method: Annotated[str, typer.Option(help=METHODS)] = "experts",
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Tasks in a meta-batch.")] = None,
    inner_steps: Annotated[int | None, typer.Option(min=0, help="Inner steps of adaptation.")] = None,
    rate: Annotated[float | None, typer.Option(help="Inner step size.")] = None,
    outer_rate: Annotated[float | None, typer.Option(help="Outer step size.")] = None,
    shots: Shots = None,
    queries: Annotated[int, typer.Option(min=1, help="Query points of a task.")] = 20,
    task_count: Annotated[int | None, typer.Option(min=1, help="Train on so many fixed tasks, not endless ones.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Points of each fixed task.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    save_every: Annotated[int | None, typer.Option(min=1, help="Meta-steps between checkpoints.")] = None,
) -> None:
    """Meta-train a method on a task family and save the run."""
    import dataclasses

    import bmaml
    from bmaml.cli.progress import BarProgress
    from bmaml.recipes import build_method, build_plan, build_tasks

    source = build_tasks(
        tasks, shots=whole_numbers(shots, "--shots"), queries=queries, count=task_count, samples=samples, seed=seed
    )
    chosen = build_method(method, tasks, particles=particles, steps=inner_steps, rate=rate)
    plan = build_plan(method, steps=steps, seed=seed, batch=batch)
    if outer_rate is not None:
        plan = dataclasses.replace(plan, outer=dataclasses.replace(plan.outer, rate=outer_rate))
    about = {"kind": "family", "tasks": tasks, "method": method}
    run = bmaml.train(
        chosen, source, plan, directory=out, about=about, save_every=save_every, progress=BarProgress(f"{method} on {tasks}")
    )
    report(run, out)


def resume(run: Annotated[Path, typer.Argument(help="Folder of the run.")]) -> None:
    """Go on with an interrupted run from its last checkpoint."""
    import bmaml
    from bmaml.cli.progress import BarProgress

    report(bmaml.resume(run, progress=BarProgress(str(run))), run)


def report(run, folder: Path) -> None:
    """Say how a run ended; exit with 130 where Ctrl-C stopped it, 2 where there was nothing to keep yet."""
    if run.finished:
        skipped = f", {run.skipped} meta-steps skipped as not finite" if run.skipped else ""
        last = run.history[-1]["loss"] if run.history else float("nan")
        typer.echo(f"trained {run.step} meta-steps, last loss {last:.4g}{skipped}; saved in {folder}")
        return
    if run.step == 0:
        raise KeyboardInterrupt
    typer.echo(f"stopped at meta-step {run.step} of {run.steps}; go on with: bmaml resume {folder}", err=True)
    raise typer.Exit(130)
