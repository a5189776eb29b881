"""Scores of a learner on new tasks, by shots and by inner steps, with intervals over tasks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.distributions import AbstractNumeric
from bmaml.errors import InputError
from bmaml.evaluation.draws import draw_task
from bmaml.evaluation.intervals import as_json, as_text, interval
from bmaml.evaluation.metrics import bootstrap_calibration, classification_scores, range_of, regression_scores
from bmaml.io.checked import Count, Seed, checked
from bmaml.io.notebook import grid_html
from bmaml.io.programs import compiler_options
from bmaml.learners.base import AbstractIterativeLearner
from bmaml.learners.predictor import Predictor, check_fit
from bmaml.learners.resized import with_classes
from bmaml.learners.wrappers import core, with_steps
from bmaml.tasks.base import AbstractTasks, scored_queries
from bmaml.tasks.shots import Shots, shot_counts
from bmaml.training.loop import NonFiniteError
from bmaml.training.memory import check_scoring
from bmaml.training.run import Run

if TYPE_CHECKING:
    from rich.table import Table

Setting = tuple[int, int | None]
# Query points of a task to score on.
_QUERIES = 50
# Scores that are numbers whenever a prediction is.
_JUDGED = ("mse", "nll", "crps", "accuracy", "brier")
_SHOWN = ("return", "mse", "nll", "crps", "coverage", "calibration", "accuracy", "brier", "accuracy_rejecting")


class Row(eqx.Module):
    """One score of one setting.

    - `shots`, `steps`: the setting; `steps` is None unless several were asked for.
    - `metric`: name of the score.
    - `mean`, `low`, `high`: mean over tasks and its 95% interval, whose ends are NaN if there is one task alone.
    - `tasks`: number of tasks.
    """

    shots: int = eqx.field(static=True)
    steps: int | None = eqx.field(static=True)
    metric: str = eqx.field(static=True)
    mean: float = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    tasks: int = eqx.field(static=True)


class Evaluation(eqx.Module):
    """Scores of a learner: `rows` to read, and `scores` of every task by (shots, steps) for paired comparisons.

    `seed` is the seed of the tasks.
    """

    rows: list[Row] = eqx.field(static=True)
    scores: dict[Setting, dict[str, np.ndarray]]
    seed: int = eqx.field(static=True, default=0)

    def get(self, metric: str, shots: int, steps: int | None = None) -> Row:
        """Return the row of `metric` at `shots` (and `steps`, if several were asked for).

        Raises: KeyError that lists what there is.
        """
        found = [r for r in self.rows if (r.metric, r.shots) == (metric, shots) and steps in (None, r.steps)]
        if not found:
            scored = ", ".join(sorted({f"{r.metric} at {r.shots}" for r in self.rows}))
            raise KeyError(f"no {metric} at {shots} shots was scored: there is {scored}.")
        return found[0]

    def to_json(self) -> str:
        """Return the rows as JSON. A score that is not a number, such as an interval of one task, becomes null."""
        return json.dumps([as_json(dataclasses.asdict(row)) for row in self.rows], indent=1)

    def __str__(self) -> str:
        """Return the table as text, as wide as the terminal."""
        from rich.console import Console

        console = Console(color_system=None)
        with console.capture() as shown:
            console.print(self.table(self._title))
        return shown.get().rstrip()

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        header, *lines = self.grid()
        return grid_html(self._title, header, lines)

    @property
    def _title(self) -> str:
        return f"{self.rows[0].tasks} tasks (95% interval over tasks)" if self.rows else "no tasks"

    def grid(self, given: str = "shots", taken: str = "steps") -> list[list[str]]:
        """Return the rows as texts: a header, then a line for each setting with the interval of each score.

        `given` and `taken` name the columns of shots and steps. Steps have a column if there are several.
        """
        metrics = [m for m in _SHOWN if any(row.metric == m for row in self.rows)]
        stepped = any(steps is not None for _, steps in self.scores)
        lines = [[given, *([taken] if stepped else []), *metrics]]
        for shots, steps in self.scores:
            cells = [next(r for r in self.rows if (r.shots, r.steps, r.metric) == (shots, steps, m)) for m in metrics]
            shown = [as_text(row.mean, row.low, row.high) for row in cells]
            lines.append([str(shots), *(["-" if steps is None else str(steps)] if stepped else []), *shown])
        return lines

    def table(self, title: str = "", given: str = "shots", taken: str = "steps") -> Table:
        """Return the rows as a rich table with one line for each setting.

        `title` is the table's title. `given` and `taken` name the columns of shots and steps.
        """
        from rich.table import Table

        header, *lines = self.grid(given, taken)
        table = Table(*header, title=title or None)
        for line in lines:
            table.add_row(*line)
        return table


def answering(run: Run | Predictor, tasks: AbstractTasks) -> Predictor:
    """Return what answers on `tasks`: the learner with which `run` answers, with the right number of classes if it takes any.

    Raises: InputError if `run` is no run, or `tasks` no source of such tasks.
    """
    if not isinstance(run, Run | Predictor):
        raise InputError(
            f"a {type(run).__name__} cannot be scored: give a run and tasks, as in evaluate(run, tasks), or "
            "bmaml.Predictor(learner, meta) in place of the run."
        )
    if not isinstance(tasks, AbstractTasks):
        raise InputError(
            f"tasks are a {type(tasks).__name__}: give a source of tasks, such as bmaml.tasks.Sinusoids(), or score policies "
            "with bmaml.rl.returns.evaluate_policies."
        )
    found = run.predictor if isinstance(run, Run) else run
    return Predictor(with_classes(found.learner, tasks.outputs), found.meta)


@checked
def evaluate(
    run: Run | Predictor,
    tasks: AbstractTasks,
    *,
    shots: Shots | None = None,
    steps: Sequence[int] | None = None,
    count: Count = 1000,
    queries: Count | None = None,
    seed: Seed = 0,
    batch: Count = 50,
) -> Evaluation:
    """Score a run on new tasks.

    If the source knows its noise-free targets (`truth`), `mse` is against them, as in the literature. Otherwise it is against
    the noisy targets, and so are all other scores. Tasks are a function of (seed, index, the most shots) alone, so two learners
    scored with the same seed see the same tasks.

    - `run`: a trained run, scored with the learner that it answers with, or a `Predictor` (a learner with its meta-parameters).
    - `tasks`: a source of tasks.
    - `shots`: support points; for `Episodes` support images of each class. The default is (5, 10), or the tasks' own if they
      cannot give other numbers.
    - `steps`: numbers of inner steps to score after, for learners that take steps.
    - `count`: number of tasks. A source with a `total` gives each of its tasks once, at most `count`.
    - `queries`: query points; for `Episodes` query images of each class. The default is 50, or as many as the tasks have.
    - `batch`: tasks at a time.

    Raises: InputError for steps if the learner takes none, impossible counts, tasks of other widths than the learner's, or
    more shots than the tasks can give; NoRoomError (an InputError) if scoring needs more memory than is free; NonFiniteError if
    the predictions of a task are not finite.
    """
    predictor = answering(run, tasks)
    learner = predictor.learner
    if steps is not None and not isinstance(core(learner), AbstractIterativeLearner):
        raise InputError(f"{type(core(learner)).__name__} has no number of inner steps to set: leave out steps.")
    if shots is None:
        shots = (5, 10) if tasks.limits is None else tasks.limits.shots
    shots, queries = shot_counts(shots), scored_queries(tasks, queries, _QUERIES)
    scores: dict[Setting, dict[str, np.ndarray]] = {}
    tasks = tasks.sized((max(*shots, 1),), queries)
    total = count if tasks.total is None else min(count, tasks.total)
    size = min(batch, total)
    indices = jnp.arange(-(-total // size) * size) % total  # whole batches, because a remainder would be compiled separately
    for taken in steps or (None,):
        asked = Predictor(learner if taken is None else with_steps(learner, taken), predictor.meta)
        program = _compiled(asked, tasks, jax.random.key(seed), indices, size)
        for given in shots:
            each = program(asked, tasks, jax.random.key(seed), indices, jnp.asarray(given), size)
            scores[given, taken] = {name: np.asarray(values, np.float64)[:total] for name, values in each.items()}
            _check_finite(scores[given, taken], given)
    rows = [row for (given, taken), each in scores.items() for row in _rows(given, taken, each)]
    return Evaluation(rows, scores, seed)


def _compiled(asked: Predictor, tasks: AbstractTasks, key: PRNGKeyArray, indices: Array, size: int) -> Any:
    """Return the program of `_scores`, which serves every number of shots.

    Raises: InputError if learner and tasks do not fit, or the program needs more memory than is free.
    """
    scores: Any = _scores  # A type checker sees the function and not that it is compiled.
    try:
        program = scores.lower(asked, tasks, key, indices, jnp.asarray(0), size).compile(compiler_options())
    except (TypeError, ValueError):
        check_fit(asked.learner, asked.meta, jax.eval_shape(tasks.sample, jax.random.key(0)))
        raise
    check_scoring(program.compiled)
    return program


def _check_finite(scores: dict[str, np.ndarray], shots: int) -> None:
    """Check that the predictions of every task at some shots had finite scores.

    Raises: NonFiniteError that says in how many tasks they had not.
    """
    finite = np.all([np.isfinite(scores[name]) for name in _JUDGED if name in scores], 0)
    if not finite.all():
        raise NonFiniteError(
            f"the predictions after {shots} shots are not finite in {(~finite).sum()} of {finite.size} tasks, first in task "
            f"{np.argmin(finite)}: lower the inner rate, set clip on the learner, or train for longer."
        )


def regret(
    ours: Evaluation, theirs: Evaluation, metric: str = "nll"
) -> dict[tuple[int, int | None], tuple[float, float, float]]:
    """Return the mean over tasks of `ours` minus `theirs` with its 95% interval, for each setting, on tasks that both share.

    The settings are those of `ours`. If `theirs` has no steps, its only entry with the same shots is used. `metric` is the
    score to compare.
    Raises: InputError for evaluations with different seeds, whose tasks differ.
    """
    if ours.seed != theirs.seed:
        raise InputError(f"seeds {ours.seed} and {theirs.seed} draw different tasks: use evaluations of one seed.")
    out = {}
    for (shots, steps), scores in ours.scores.items():
        other = theirs.scores.get((shots, steps)) or theirs.scores[shots, None]
        common = min(len(scores[metric]), len(other[metric]))
        out[shots, steps] = interval(scores[metric][:common] - other[metric][:common])
    return out


@eqx.filter_jit
def _scores(
    predictor: Predictor,
    tasks: AbstractTasks,
    key: PRNGKeyArray,
    indices: Array,
    given: Array,
    batch: int,
) -> dict[str, Array]:
    """Return every score of every task. This is compiled once, whatever the meta-parameters, the shots and the seed."""

    def task_scores(i: Array) -> dict[str, Array]:
        drawn = draw_task(tasks, key, i, given)
        task, truth = drawn.task, drawn.truth
        adapt_key, score_key = jax.random.split(jax.random.fold_in(jax.random.key(0), i))
        predictive = predictor.learner.adapt(predictor.meta, task.support, key=adapt_key).predict(task.query.x)
        score = regression_scores if isinstance(predictive, AbstractNumeric) else classification_scores
        return score(predictive, task.query, truth, key=score_key)

    return jax.lax.map(task_scores, indices, batch_size=batch)


def _rows(shots: int, steps: int | None, scores: dict[str, np.ndarray]) -> list[Row]:
    count = len(next(iter(scores.values())))
    rows = [Row(shots, steps, name, *interval(v, range_of(name)), count) for name, v in scores.items() if "@" not in name]
    calibration = bootstrap_calibration(scores)
    return rows if calibration is None else [*rows, Row(shots, steps, "calibration", *calibration, count)]


def to_records(evaluations: dict[str, Evaluation]) -> list[dict[str, Any]]:
    """Return the rows of several methods as records for JSON, each with its method; `evaluations` holds them by name."""
    return [as_json({"method": name, **dataclasses.asdict(row)}) for name, e in evaluations.items() for row in e.rows]
