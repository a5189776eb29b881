"""`bmaml evaluate`: scores of a saved run on new tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bmaml.evaluation import Evaluation
    from bmaml.learners import AbstractLearner


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    shots: Annotated[str | None, typer.Option(help="Support sizes (default 3,5,10; of images: as trained).")] = None,
    steps: Annotated[
        str | None, typer.Option(help="Inner steps to score after, such as 0,1,10 (gradient methods; policies: 0,1,2,3).")
    ] = None,
    particles: Annotated[
        int | None, typer.Option(min=1, help="Particles to draw, where adaptation draws them (experts, platipus, abml).")
    ] = None,
    count: Annotated[int | None, typer.Option(min=2, help="New tasks (default: 1000; policies: 400; of images: 600).")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Query points of a task (50), or images of a class.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the new tasks.")] = 1,
    optimal: Annotated[bool, typer.Option("--optimal", help="Score the Bayes-optimal predictor, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
) -> None:
    """Score a saved run on new tasks, each score with a 95% interval over tasks: MSE, NLL, CRPS, coverage and calibration; of
    policies the mean return before and after each update.
    """
    import json as to_text

    import bmaml
    from bmaml.cli import images, policies
    from bmaml.cli.answers import must_be_writable
    from bmaml.cli.training import must_be_absent, whole_numbers
    from bmaml.errors import InputError
    from bmaml.evaluation import evaluate as score
    from bmaml.evaluation import to_records
    from bmaml.io.files import write_atomically
    from bmaml.recipes import build_tasks

    must_be_writable(out)
    about, given = bmaml.about(run), whole_numbers(shots, "--shots")
    if about.get("kind") == "FewShotClassifier":
        must_be_absent({"--steps": steps, "--particles": particles, "--optimal": optimal or None}, f"{run} is of images")
        images.evaluate(run, given, queries, count or 600, seed, json, out)
        return
    if about.get("kind") == "control":
        flags = {"--shots": shots, "--queries": queries, "--particles": particles, "--optimal": optimal or None}
        must_be_absent(flags, f"{run} is a run of policies")
        results = {about["method"]: policies.evaluate(run, steps=_steps(steps), count=count or 400, seed=seed)}
        text = to_text.dumps(to_records(results), indent=1)
        if out is not None:
            write_atomically(out, text)
        typer.echo(text) if json else policies.show(results)
        return
    if about.get("kind") != "family":
        raise InputError(f"{run} was fitted on a table: `bmaml fit` writes its held-out scores beside it when it ends.")
    loaded, given, count, queries = bmaml.load(run), given or (3, 5, 10), count or 1000, queries or 50
    family = build_tasks(about["tasks"], shots=given)
    taken, learner = _steps(steps), _drawing(loaded.method.learner, particles)
    options = {"shots": given, "steps": taken, "count": count, "queries": queries, "seed": seed}
    results = {about["method"]: score(learner, loaded.meta, family, **options)}
    if optimal:
        results["bayes-optimal"] = _optimal(family, given, count, queries, seed)
    text = to_text.dumps(to_records(results) + (_regrets(results) if optimal else []), indent=1)
    if out is not None:
        write_atomically(out, text)
    typer.echo(text) if json else show(results)


def _drawing(learner: AbstractLearner, particles: int | None) -> AbstractLearner:
    """Return a learner that draws so many particles when it adapts; without a number, as many as it is best asked with.

    Raises: InputError where a learner's particles are what it was trained with.
    """
    from bmaml.errors import InputError
    from bmaml.learners.drawn import drawing, finely_drawn

    try:
        return finely_drawn(learner) if particles is None else drawing(learner, particles)
    except TypeError:
        raise InputError(f"--particles is {particles} and this run's particles are learned, not drawn: leave it out.") from None


def _steps(text: str | None) -> tuple[int, ...] | None:
    from bmaml.errors import InputError

    try:
        steps = None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        steps = (-1,)
    if steps is not None and min(steps) < 0:
        raise InputError(f"--steps is {text!r}: give whole numbers of at least 0, such as 0,1,10.")
    return steps


def _optimal(family, shots: tuple[int, ...], count: int, queries: int, seed: int) -> Evaluation:
    from bmaml.evaluation import evaluate as score
    from bmaml.tasks.bayes_optimal import AT_ONCE, BayesOptimal

    return score(BayesOptimal(family), None, family, shots=shots, count=count, queries=queries, seed=seed, batch=AT_ONCE)


def _regrets(results: dict[str, Evaluation]) -> list[dict]:
    from bmaml.evaluation import regret

    (name, ours), (_, best) = results.items()
    return [
        {"method": name, "shots": shots, "steps": steps, "metric": f"regret_{metric}", "mean": mean, "low": low, "high": high}
        for metric in ("nll", "mse")
        for (shots, steps), (mean, low, high) in regret(ours, best, metric).items()
    ]


def show(results: dict[str, Evaluation]) -> None:
    """Print a table for each method, and the regret where the Bayes-optimal predictor is beside one."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    for name, evaluation in results.items():
        console.print(evaluation.table(name))
    if "bayes-optimal" in results and len(results) == 2:
        for row in _regrets(results):
            setting, values = f"{row['metric']} at {row['shots']} shots", [f"{row[k]:.4g}" for k in ("mean", "low", "high")]
            console.print(f"{setting}: {values[0]} [{values[1]}, {values[2]}]", highlight=False)
