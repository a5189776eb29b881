"""Score a learner on new tasks, by shots and by inner steps, with intervals over tasks."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from rich.table import Table

from bmaml.data import Task
from bmaml.distributions import AbstractContinuous
from bmaml.errors import InputError
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.learners.features import core, replace_core
from bmaml.learners.gradient import GradientLearner
from bmaml.learners.laplace import Laplace
from bmaml.metrics import bootstrap_calibration, classification_scores, interval, regression_scores
from bmaml.tasks.base import AbstractTasks, FixedTasks, split_rows
from bmaml.tasks.episodes import Episodes
from bmaml.tasks.sinusoid import Sinusoids

Setting = tuple[int, int | None]
_SHOWN = ("return", "mse", "nll", "crps", "coverage", "calibration", "accuracy", "brier", "accuracy_rejecting")


class Row(eqx.Module):
    """One score of one setting: its mean over tasks and the 95% interval."""

    shots: int = eqx.field(static=True)
    steps: int | None = eqx.field(static=True)
    metric: str = eqx.field(static=True)
    mean: float = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    tasks: int = eqx.field(static=True)


class Evaluation(eqx.Module):
    """Scores of a learner: rows to read, and every task's own scores by (shots, steps) for paired comparisons."""

    rows: list[Row] = eqx.field(static=True)
    scores: dict[Setting, dict[str, np.ndarray]]
    seed: int = eqx.field(static=True, default=0)

    def get(self, metric: str, shots: int, steps: int | None = None) -> Row:
        """Return the row of a metric at some shots (and steps, where several were asked for).

        Raises: KeyError naming what there is.
        """
        found = [r for r in self.rows if (r.metric, r.shots) == (metric, shots) and steps in (None, r.steps)]
        if not found:
            there = ", ".join(sorted({f"{r.metric} at {r.shots}" for r in self.rows}))
            raise KeyError(f"no {metric} at {shots} shots was scored: there is {there}.")
        return found[0]

    def to_json(self) -> str:
        """Return the rows as JSON; a score that is not a number, as an interval of one task is not, becomes null."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        plain = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
        return json.dumps(plain, indent=1)

    def table(self, title: str = "", given: str = "shots", taken: str = "steps") -> Table:
        """Return the rows as a rich table, a line for each setting, under the names of what was given and taken."""
        metrics = [m for m in _SHOWN if any(row.metric == m for row in self.rows)]
        table = Table(given, taken, *metrics, title=title or None)
        for shots, steps in self.scores:
            cells = [next(r for r in self.rows if (r.shots, r.steps, r.metric) == (shots, steps, m)) for m in metrics]
            shown = [f"{row.mean:.4g} [{row.low:.4g}, {row.high:.4g}]" for row in cells]
            table.add_row(str(shots), "-" if steps is None else str(steps), *shown)
        return table


def evaluate(
    learner: AbstractLearner,
    meta: Meta,
    tasks: AbstractTasks,
    *,
    shots: Sequence[int] = (5, 10),
    steps: Sequence[int] | None = None,
    count: int = 1000,
    queries: int = 50,
    seed: int = 0,
    batch: int = 50,
) -> Evaluation:
    """Score a learner on `count` new tasks (for `FixedTasks`: each of its tasks once, at most `count`).

    Of `Episodes` shots and queries are those of each class. `steps` lists inner step counts to score a `GradientLearner` (or
    `Laplace`) after. For sinusoids `mse` is against noise-free targets, as in the literature; elsewhere against the targets
    there are. All else is against the noisy targets. Tasks are a function of (seed, index, the most shots) alone: two learners
    scored with the same seed see the same tasks.
    Raises: InputError for steps where the learner takes none, counts that make no sense, shots that leave a fixed task nothing
    to ask for, or tasks that give fewer points than that.
    """
    if steps is not None and not isinstance(core(learner), GradientLearner | Laplace):
        raise InputError(f"{type(core(learner)).__name__} has no number of inner steps to set: leave out steps.")
    if not shots or min(shots) < 0 or min(count, queries, batch) < 1:
        counts = f"shots are {list(shots)}, tasks {count}, queries {queries} and the batch {batch}"
        raise InputError(f"{counts}: give counts of at least 0 shots, and at least 1 of the others.")
    scores: dict[Setting, dict[str, np.ndarray]] = {}
    total, most = _total(tasks, max(shots), count), max(shots)
    size = min(batch, total)
    indices = jnp.arange(-(-total // size) * size) % total  # whole batches: a remainder would be compiled apart
    for taken in steps or (None,):
        adapted = learner if taken is None else replace_core(learner, partial(_after, steps=taken))
        for given in shots:
            each = _scores(adapted, meta, tasks, jax.random.key(seed), indices, jnp.asarray(given), most, queries, size)
            scores[given, taken] = {name: np.asarray(values, np.float64)[:total] for name, values in each.items()}
    rows = [row for (given, taken), each in scores.items() for row in _rows(given, taken, each)]
    return Evaluation(rows, scores, seed)


def regret(
    ours: Evaluation, theirs: Evaluation, metric: str = "nll"
) -> dict[tuple[int, int | None], tuple[float, float, float]]:
    """Return the mean over tasks of ours minus theirs, with its 95% interval, on the tasks that both were scored on.

    Settings are ours; where theirs has no steps, its only entry of the same shots is taken.
    Raises: InputError for evaluations of different seeds, whose tasks are not the same.
    """
    if ours.seed != theirs.seed:
        raise InputError(f"seeds {ours.seed} and {theirs.seed} draw different tasks: use evaluations of one seed.")
    out = {}
    for (shots, steps), scores in ours.scores.items():
        other = theirs.scores.get((shots, steps)) or theirs.scores[shots, None]
        common = min(len(scores[metric]), len(other[metric]))
        out[shots, steps] = interval(scores[metric][:common] - other[metric][:common])
    return out


def _after(learner: AbstractLearner, steps: int) -> AbstractLearner:
    """Return the learner with another number of inner steps."""
    if isinstance(learner, Laplace):
        return dataclasses.replace(learner, base=dataclasses.replace(learner.base, steps=steps))
    return dataclasses.replace(learner, steps=steps)  # type: ignore[type-var]


def _total(tasks: AbstractTasks, shots: int, count: int) -> int:
    """Return the number of tasks to score."""
    if not isinstance(tasks, FixedTasks):
        return count
    fewest = int(np.asarray(tasks.rows.count).min())
    if shots >= fewest:
        raise InputError(f"{shots} shots leave nothing to ask for in a task of {fewest} rows: use fewer shots.")
    return min(count, len(tasks.rows.mask))


def draw_task(tasks: AbstractTasks, key: PRNGKeyArray, i: Array, given: Array, most: int, queries: int) -> tuple[Task, Array]:
    """Return the task of an index and its noise-free targets (the targets there are, where none is known).

    The support is always padded to the most shots, so that one program serves all; fewer shots are a prefix of more.
    """
    key = jax.random.fold_in(jax.random.fold_in(key, 7), i)
    if isinstance(tasks, Sinusoids):
        task, truth = _wave_task(tasks, key, most, queries)
        return _given(task, given), truth
    if isinstance(tasks, FixedTasks):
        rows = jax.tree.map(lambda leaf: leaf[i], tasks.rows)
        task = split_rows(tasks.ordered(rows, key), given, most, queries)
    else:
        task = _sized(tasks, most, queries).sample(key)
        if len(task.support.mask) < most:
            few = f"{type(tasks).__name__} gives {len(task.support.mask)} points of a task and shots are {most}"
            raise InputError(f"{few}: use fewer shots, or give it a field `shots` to set.")
        # Shots of an episode are rows of each class, and its rows go shot by shot.
        given = given * tasks.way if isinstance(tasks, Episodes) else given
    return _given(task, given), task.query.y


def _sized(tasks: AbstractTasks, shots: int, queries: int) -> AbstractTasks:
    """Return a source that gives so many shots and asks for so many points; of a source made from another, that one does."""
    known = {field.name for field in dataclasses.fields(tasks)}  # pyright: ignore[reportArgumentType]
    if "source" in known:
        source = _sized(tasks.source, shots, queries)  # pyright: ignore[reportAttributeAccessIssue]
        return dataclasses.replace(tasks, source=source)  # pyright: ignore[reportCallIssue]
    wanted = {"shots": (shots,), "queries": queries}
    return dataclasses.replace(tasks, **{name: value for name, value in wanted.items() if name in known})


def _given(task: Task, count: Array) -> Task:
    """Return the task with all but the first `count` rows of its support masked."""
    mask = task.support.mask * (jnp.arange(len(task.support.mask)) < count)
    return Task(dataclasses.replace(task.support, mask=mask), task.query)


def _wave_task(tasks: Sinusoids, key: PRNGKeyArray, shots: int, queries: int) -> tuple[Task, Array]:
    wave_key, support_key, query_key = jax.random.split(key, 3)
    wave = tasks.wave(wave_key)
    query = tasks.points(wave, query_key, queries)
    return Task(tasks.points(wave, support_key, shots), query), wave(query.x)


@eqx.filter_jit
def _scores(
    learner: AbstractLearner,
    meta: Meta,
    tasks: AbstractTasks,
    key: PRNGKeyArray,
    indices: Array,
    given: Array,
    most: int,
    queries: int,
    batch: int,
) -> dict[str, Array]:
    """Return every score of every task; compiled once, whatever the meta-parameters, the shots given and the seed."""

    def one(i: Array) -> dict[str, Array]:
        task, truth = draw_task(tasks, key, i, given, most, queries)
        adapt_key, score_key = jax.random.split(jax.random.fold_in(jax.random.key(0), i))
        predictive = learner.adapt(meta, task.support, key=adapt_key).predict(task.query.x)
        score = regression_scores if isinstance(predictive, AbstractContinuous) else classification_scores
        return score(predictive, task.query, truth, key=score_key)

    return jax.lax.map(one, indices, batch_size=batch)


def _rows(shots: int, steps: int | None, scores: dict[str, np.ndarray]) -> list[Row]:
    count = len(next(iter(scores.values())))
    rows = [Row(shots, steps, name, *interval(v), count) for name, v in scores.items() if "@" not in name]
    calibration = bootstrap_calibration(scores)
    return rows if calibration is None else [*rows, Row(shots, steps, "calibration", *calibration, count)]


def to_records(evaluations: dict[str, Evaluation]) -> list[dict[str, Any]]:
    """Return the rows of several methods as plain records, each with its method."""
    return [{"method": name, **dataclasses.asdict(row)} for name, e in evaluations.items() for row in e.rows]
