"""`bmaml evaluate`: scores of a saved run on new tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bmaml.evaluation.evaluate import Evaluation
    from bmaml.learners.predictor import Predictor
    from bmaml.tasks.base import AbstractTasks

# The flags that have no meaning for each kind of run, and the reason.
_NOT_OF = {
    "family": (("--table",), "was not fitted on a table"),
    "control": (("--shots", "--queries", "--particles", "--optimal", "--table"), "is a run of policies"),
    "FewShotClassifier": (("--steps", "--particles", "--optimal", "--table"), "is of images"),
    "FewShotRegressor": (("--steps", "--particles", "--count", "--queries", "--optimal"), "was fitted on a table"),
}


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    shots: Annotated[
        str | None, typer.Option(help="Support sizes (default 3,5,10; for images and your own tasks: as trained).")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Inner steps to score after, such as 0,1,10 (gradient methods; policies: 0,1,2,3).")
    ] = None,
    particles: Annotated[
        int | None, typer.Option(min=1, help="Particles to draw, where adaptation draws them (experts, platipus, abml).")
    ] = None,
    count: Annotated[int | None, typer.Option(min=2, help="New tasks (default: 1000; policies: 400; images: 600).")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Query points of a task (50), or images of a class.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the new tasks.")] = 1,
    optimal: Annotated[bool, typer.Option("--optimal", help="Also score the Bayes-optimal predictor.")] = False,
    table: Annotated[Path | None, typer.Option(help="For a model of a table: further tasks, all measured.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
) -> None:
    """Score a saved run on new tasks, each score with a 95% interval over tasks.

    The scores are MSE, NLL, CRPS, coverage and calibration. For policies they are the mean return before and after each update.
    For a table's model they are RMSE, NLL and coverage on the tasks of `--table`.
    """
    import bmaml
    from bmaml.cli import on_images as images
    from bmaml.cli.options import must_be_absent, must_be_writable, whole_numbers

    must_be_writable(out)
    about = bmaml.about(run)
    kind = _kind(run, about)
    flags = {"--shots": shots, "--steps": steps, "--particles": particles, "--count": count, "--queries": queries}
    flags |= {"--optimal": optimal or None, "--table": table}
    names, why = _NOT_OF[kind]
    must_be_absent({name: flags[name] for name in names}, f"{run} {why}")
    given = whole_numbers(shots, "--shots", 0 if kind == "FewShotRegressor" else 1)
    if kind == "FewShotRegressor":
        _on_table(run, table, given, json, out)
    elif kind == "FewShotClassifier":
        images.evaluate(run, given, queries, count or 600, seed, json, out)
    elif kind == "control":
        _of_policies(run, about.get("method"), steps, count or 400, seed, json, out)
    else:
        options = {"shots": given, "count": count or 1000, "queries": queries, "seed": seed}
        _on_family(run, about, options, _steps(steps), particles, optimal, json, out)


def _kind(run: Path, about: dict[str, Any]) -> str:
    """Return the kind of a run: what the command that trained it noted, else what it was trained on.

    Raises: InputError for a training of a leaderboard.
    """
    from bmaml.errors import InputError
    from bmaml.rl import AbstractWorld

    kind = about.get("kind")
    if kind == "leaderboard":
        raise InputError(f"{run} is a training of a leaderboard, whose scores are on the board: give another run.")
    if kind in _NOT_OF:
        return kind
    return "control" if isinstance(_trained_on(run), AbstractWorld) else "family"


def _trained_on(run: Path) -> Any:
    """Return what a run was trained on.

    Raises: InputError if the file does not hold it.
    """
    from bmaml.errors import InputError
    from bmaml.training.run import NotSaved, source

    try:
        found = source(run)
    except NotSaved as error:
        why = str(error).split(":")[0]
        raise InputError(f"{run}: {why}, so use bmaml.evaluate in Python, which is given the tasks.") from error
    if found is None:
        raise InputError(f"{run} was saved without its tasks, so use bmaml.evaluate in Python, which is given them.")
    return found


def _family(run: Path, about: dict[str, Any], options: dict[str, Any]) -> tuple[AbstractTasks, dict[str, Any]]:
    """Return the tasks to score on, and the completed options: new tasks of a family with a name, else the run's own tasks."""
    import jax

    from bmaml.recipes.families import build_tasks, judged_shots
    from bmaml.tasks import FAMILIES

    shots, queries = options["shots"], options["queries"]
    # A family that this process does not know, and a path of Python code, are never looked up, because the run holds its
    # tasks.
    if about.get("kind") == "family" and about["tasks"] in FAMILIES:
        most = (3, 5, 10) if FAMILIES[about["tasks"]].shots else judged_shots(about["tasks"])
        shots, queries = shots or most, queries or 50
        return build_tasks(about["tasks"], shots=shots), options | {"shots": shots, "queries": queries}
    tasks = _trained_on(run)
    drawn, rows = jax.eval_shape(tasks.sample, jax.random.key(0)), tasks.support_rows(1)
    most = {"shots": (max(len(drawn.support.mask) // rows, 1),), "queries": max(len(drawn.query.mask) // rows, 1)}
    return tasks, options | {name: value for name, value in most.items() if options[name] is None}


def _of_policies(
    run: Path, method: str | None, steps: str | None, count: int, seed: int, as_json: bool, out: Path | None
) -> None:
    from bmaml.cli import on_policies as policies

    results = {method or "policies": policies.evaluate(run, steps=_steps(steps), count=count, seed=seed)}
    _answer(results, [], as_json, out, policies.show)


def _on_family(
    run: Path,
    about: dict[str, Any],
    options: dict[str, Any],
    steps: tuple[int, ...] | None,
    particles: int | None,
    optimal: bool,
    as_json: bool,
    out: Path | None,
) -> None:
    import bmaml
    from bmaml.evaluation.evaluate import evaluate as score

    loaded = bmaml.load(run)
    family, options = _family(run, about, options)
    asked = loaded if particles is None else _drawing(loaded.predictor, particles)
    name = about.get("method", type(loaded.method.learner).__name__)
    results = {name: score(asked, family, steps=steps, **options)}
    if optimal:
        results["bayes-optimal"] = _optimal(family, options)
    _answer(results, _regrets(results) if optimal else [], as_json, out, show)


def _answer(
    results: dict[str, Evaluation],
    more: list[dict],
    as_json: bool,
    out: Path | None,
    shown: Callable[[dict[str, Evaluation]], None],
) -> None:
    """Write and print scores, with further rows of the JSON."""
    import json

    from bmaml.evaluation.evaluate import to_records
    from bmaml.io.files import write_atomically

    text = json.dumps(to_records(results) + more, indent=1)
    if out is not None:
        write_atomically(out, text)
    typer.echo(text) if as_json else shown(results)


def _on_table(run: Path, table: Path | None, shots: tuple[int, ...] | None, as_json: bool, out: Path | None) -> None:
    from bmaml.cli import on_tables as held_out
    from bmaml.cli.output import plain_warnings
    from bmaml.errors import InputError
    from bmaml.estimators.regressor import FewShotRegressor
    from bmaml.tables import read_table

    if table is None:
        raise InputError(f"{run} was fitted on a table: give --table, further tasks to score it on, all measured.")
    with plain_warnings():
        held_out.evaluate(FewShotRegressor.load(run), read_table(table), shots, as_json=as_json, out=out)


def _drawing(predictor: Predictor, particles: int) -> Predictor:
    """Return the predictor with `particles` particles drawn at adaptation.

    Raises: InputError if the learner's particles are fixed by training.
    """
    from bmaml.errors import InputError, PairError
    from bmaml.learners.predictor import Predictor
    from bmaml.learners.resized import drawing

    try:
        return Predictor(drawing(predictor.learner, particles), predictor.meta)
    except PairError:
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


def _optimal(family: Any, options: dict[str, Any]) -> Evaluation:
    from bmaml.errors import InputError
    from bmaml.evaluation.evaluate import evaluate as score
    from bmaml.learners.bayes_optimal import AT_ONCE, BayesOptimal
    from bmaml.learners.predictor import Predictor
    from bmaml.tasks import Sinusoids

    if not isinstance(family, Sinusoids):
        raise InputError("--optimal needs tasks whose Bayes-optimal predictor is known, such as sinusoids: leave it out.")
    return score(Predictor(BayesOptimal(family)), family, batch=AT_ONCE, **options)


def _regrets(results: dict[str, Evaluation]) -> list[dict]:
    from bmaml.evaluation.evaluate import regret

    (name, ours), (_, best) = results.items()
    return [
        {"method": name, "shots": shots, "steps": steps, "metric": f"regret_{metric}", "mean": mean, "low": low, "high": high}
        for metric in ("nll", "mse")
        for (shots, steps), (mean, low, high) in regret(ours, best, metric).items()
    ]


def show(results: dict[str, Evaluation]) -> None:
    """Print a table for each method in `results`, and the regret if the Bayes-optimal predictor is among them."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    for name, evaluation in results.items():
        console.print(evaluation.table(name))
    if "bayes-optimal" in results and len(results) == 2:
        for row in _regrets(results):
            setting, values = f"{row['metric']} at {row['shots']} shots", [f"{row[k]:.4g}" for k in ("mean", "low", "high")]
            console.print(f"{setting}: {values[0]} [{values[1]}, {values[2]}]", highlight=False)
