"""`bmaml evaluate`: scores of a saved run on new tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import typer

from bmaml.cli.groups import OptionGroup, add_command, refuse
from bmaml.cli.option_groups import NewTables

if TYPE_CHECKING:
    from bmaml.evaluation.evaluate import Evaluation
    from bmaml.learners.predictor import Predictor
    from bmaml.tasks.base import AbstractTasks

# The flags that have no meaning for each kind of run, and the reason.
_POLICIES = ("--trajectories", "--slower")
_NOT_OF = {
    "family": (("--way", "--table", "--split-by", *_POLICIES), "was not fitted on a table, on images or on policies"),
    "control": (
        ("--shots", "--queries", "--particles", "--optimal", "--way", "--table", "--split-by"),
        "is a run of policies",
    ),
    "FewShotClassifier": (("--steps", "--particles", "--optimal", "--table", "--split-by", *_POLICIES), "is of images"),
    "FewShotRegressor": (
        ("--steps", "--particles", "--count", "--queries", "--optimal", "--way", *_POLICIES),
        "was fitted on a table",
    ),
}


@dataclass(frozen=True)
class Asked(OptionGroup):
    """Which tasks a run is scored on, and how. None takes the default for this kind of run."""

    TITLE: ClassVar[str] = "The tasks to score on"
    shots: Annotated[
        str | None,
        typer.Option(help="Support sizes (default: the family's, as 3,5,10; for other tasks and images: as trained)."),
    ] = None
    steps: Annotated[
        str | None, typer.Option(help="Inner steps to score after, such as 0,1,10 (gradient methods; policies: 0,1,2,3).")
    ] = None
    particles: Annotated[
        int | None, typer.Option(min=1, help="Particles to draw, where adaptation draws them (experts, platipus, abml).")
    ] = None
    count: Annotated[int | None, typer.Option(min=2, help="New tasks (default: 1000; policies: 400; images: 600).")] = None
    queries: Annotated[
        int | None,
        typer.Option(min=1, help="Query points (default: 50, or all), or images of a class."),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of the new tasks.")] = 1
    optimal: Annotated[bool, typer.Option("--optimal", help="Also score the Bayes-optimal predictor.")] = False
    trajectories: Annotated[
        int | None, typer.Option(min=1, help="Trajectories a particle gathers for an update (policies; default: as trained).")
    ] = None
    slower: Annotated[
        float | None, typer.Option(min=0, help="Factor on the rate of updates after the first (policies; default: 0.5).")
    ] = None
    way: Annotated[int | None, typer.Option(min=2, help="For images: classes of a task (default: as fitted).")] = None
    table: Annotated[Path | None, typer.Option(help="For a model of a table: further tasks, all measured.")] = None
    split_by: Annotated[
        str | None,
        typer.Option(help="Column of the table whose values the intervals are over (default: the one that fit held out by)."),
    ] = None


@dataclass(frozen=True)
class Output(OptionGroup):
    """Where the scores go."""

    TITLE: ClassVar[str] = "Output"
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, evaluate, "bmaml evaluate runs/sine --shots 5,10 --optimal")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")], asked: Asked, written: NewTables, output: Output
) -> None:
    """Score a saved run on new tasks, each score with a 95% interval over tasks.

    The scores are MSE, NLL, CRPS, coverage and calibration. For policies they are the mean return before and after each update.
    For a table's model they are RMSE, NLL and coverage on the tasks of `--table`.
    """
    import bmaml
    from bmaml.cli import on_images
    from bmaml.cli.options import must_be_a_run, must_be_writable, whole_numbers

    must_be_writable(output.out)
    must_be_a_run(run)
    about = bmaml.about(run)
    kind = _kind(run, about)
    flags, why = _NOT_OF[kind]
    refuse(asked, f"{run} {why}", only=flags)
    if kind != "FewShotRegressor":
        refuse(written, f"{run} {why}")
    shots = whole_numbers(asked.shots, "--shots", 0 if kind == "FewShotRegressor" else 1)
    if kind == "FewShotRegressor":
        _on_table(run, asked, written, shots, output)
    elif kind == "FewShotClassifier":
        drawn = on_images.Drawn(shots, asked.way, asked.queries, asked.count or on_images.EPISODES, asked.seed)
        on_images.evaluate(run, drawn, output.json, output.out)
    elif kind == "control":
        _of_policies(run, about.get("method") or "policies", asked, output)
    else:
        _on_family(run, about, shots, asked, output)


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
        why = error.typed.split(":")[0]
        raise InputError(f"{run}: {why}, so use bmaml.evaluate in Python, which is given the tasks.") from error
    if found is None:
        raise InputError(f"{run} was saved without its tasks, so use bmaml.evaluate in Python, which is given them.")
    return found


class _Drawn(NamedTuple):
    """Which tasks are drawn for the scores."""

    tasks: AbstractTasks
    shots: tuple[int, ...]
    queries: int


def _drawn(run: Path, about: dict[str, Any], shots: tuple[int, ...] | None, queries: int | None) -> _Drawn:
    """Return the tasks to score on, with their sizes: new tasks of a family with a name, else the run's own tasks."""
    from bmaml.recipes.families import build_tasks
    from bmaml.tasks import FAMILIES
    from bmaml.tasks.base import drawn_sizes, scored_queries

    # A family that this process does not know, and a path of Python code, are never looked up, because the run holds its
    # tasks.
    if about.get("kind") == "family" and about["tasks"] in FAMILIES:
        tasks = build_tasks(about["tasks"])
        shots = shots or FAMILIES[about["tasks"]].shots or (max(drawn_sizes(tasks).shots, 1),)
        return _Drawn(tasks, shots, scored_queries(tasks, queries, 50))
    tasks = _trained_on(run)
    drawn = drawn_sizes(tasks)
    return _Drawn(tasks, shots or (max(drawn.shots, 1),), queries or max(drawn.queries, 1))


def _of_policies(run: Path, method: str, asked: Asked, output: Output) -> None:
    from bmaml.cli import on_policies

    drawn = {"count": asked.count or 400, "seed": asked.seed, "episodes": asked.trajectories, "slower": asked.slower}
    results = {method: on_policies.evaluate(run, steps=_steps(asked.steps), **drawn)}
    _answer(results, [], output, partial(show, given="trajectories", taken="updates"))


def _on_family(run: Path, about: dict[str, Any], shots: tuple[int, ...] | None, asked: Asked, output: Output) -> None:
    import bmaml
    from bmaml.evaluation.evaluate import evaluate as score
    from bmaml.learners.optimal import AT_ONCE

    steps, loaded = _steps(asked.steps), bmaml.load(run)
    drawn, count = _drawn(run, about, shots, asked.queries), asked.count or 1000
    predictor = loaded if asked.particles is None else _drawing(loaded.predictor, asked.particles)
    best = _optimal(drawn) if asked.optimal else None
    name = about.get("method", type(loaded.method.learner).__name__)
    sizes = {"shots": drawn.shots, "count": count, "queries": drawn.queries, "seed": asked.seed}
    results = {name: score(predictor, drawn.tasks, steps=steps, **sizes)}
    if best is not None:
        results["bayes-optimal"] = score(best, drawn.tasks, batch=AT_ONCE, **sizes)
    _answer(results, _regrets(results) if asked.optimal else [], output, show)


def _answer(
    results: dict[str, Evaluation],
    more: list[dict],
    output: Output,
    shown: Callable[[dict[str, Evaluation]], None],
) -> None:
    """Write and print scores, with further rows of the JSON."""
    import json

    from bmaml.evaluation.evaluate import to_records
    from bmaml.io.files import write_atomically

    text = json.dumps(to_records(results) + more, indent=1)
    if output.out is not None:
        write_atomically(output.out, text)
    typer.echo(text) if output.json else shown(results)


def _on_table(run: Path, asked: Asked, written: NewTables, shots: tuple[int, ...] | None, output: Output) -> None:
    from bmaml.cli import on_tables as held_out
    from bmaml.cli.output import plain_warnings
    from bmaml.errors import InputError
    from bmaml.estimators.regressor import FewShotRegressor

    if asked.table is None:
        raise InputError(f"{run} was fitted on a table: give --table, further tasks to score it on, all measured.")
    with plain_warnings():
        model, table = FewShotRegressor.load(run), written.read(asked.table)
        held_out.evaluate(model, table, shots, by=asked.split_by, as_json=output.json, out=output.out)


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


def _optimal(drawn: _Drawn) -> Predictor:
    """Return the Bayes-optimal predictor of some tasks.

    Raises: InputError for tasks whose predictor is not known, or with more points than its grid serves.
    """
    from bmaml.errors import InputError
    from bmaml.learners.optimal import MOST_SHOTS, optimal_learner
    from bmaml.learners.predictor import Predictor

    most = max(drawn.shots)
    if most > MOST_SHOTS:
        raise InputError(
            f"--shots asks for {most} points and the grid of --optimal serves up to {MOST_SHOTS}: give fewer, or leave "
            "--optimal out."
        )
    learner = optimal_learner(drawn.tasks)
    if learner is None:
        raise InputError(
            "--optimal needs tasks whose Bayes-optimal predictor is known, such as sinusoids with noise: leave it out."
        )
    return Predictor(learner)


def _regrets(results: dict[str, Evaluation]) -> list[dict]:
    from bmaml.evaluation.evaluate import regret

    (name, ours), (_, best) = results.items()
    return [
        {"method": name, "shots": shots, "steps": steps, "metric": f"regret_{metric}", "mean": mean, "low": low, "high": high}
        for metric in ("nll", "mse")
        for (shots, steps), (mean, low, high) in regret(ours, best, metric).items()
    ]


def show(results: dict[str, Evaluation], given: str = "shots", taken: str = "steps") -> None:
    """Print a table for each method in `results`, and the regret if the Bayes-optimal predictor is among them.

    `given` and `taken` name the columns of shots and steps.
    """
    from bmaml.evaluation.intervals import as_text
    from bmaml.io.aligned import aligned

    for name, evaluation in results.items():
        tasks = evaluation.rows[0].tasks
        typer.echo(f"{name} on {tasks} tasks (95% interval over tasks):")
        typer.echo(f"{aligned(evaluation.grid(given, taken))}\n")
    if "bayes-optimal" in results and len(results) == 2:
        for row in _regrets(results):
            shown = as_text(row["mean"], row["low"], row["high"])
            typer.echo(f"{row['metric']} at {row['shots']} shots: {shown}")
