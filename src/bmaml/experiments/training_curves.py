"""Test error against meta-training progress: figure 1 of Kim et al. (2018), https://arxiv.org/abs/1806.03836."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data
from bmaml.errors import InputError, in_a_row
from bmaml.evaluation.intervals import POSITIVE, REAL, interval
from bmaml.experiments.kept import Trainings
from bmaml.experiments.numbers import Numbers, markdown_table
from bmaml.inference.posteriors import each_member
from bmaml.learners.base import AbstractIterativeLearner, AbstractLearner
from bmaml.learners.wrappers import with_steps
from bmaml.methods import METHODS as ROWS
from bmaml.methods import Method
from bmaml.recipes.families import build_method, build_plan
from bmaml.tasks.base import FixedTasks
from bmaml.tasks.sinusoid import Sinusoids
from bmaml.training.callbacks import Callback
from bmaml.training.progress import Progress

Settings = Literal["paper", "tuned"]
METHODS = ("bmaml", "emaml", "maml", "experts")
SHOTS, TASKS, STEPS = (5, 10), (100, 1000), (1, 5, 10)
COLUMNS = (
    *("settings", "seed", "shots", "tasks", "method", "step", "inner_steps", "own_steps"),
    *("score", "mean", "low", "high"),
)
# The squared error of the ensemble's mean, that of each member averaged, and nats a noisy point.
SCORES = {"ensemble": POSITIVE, "members": POSITIVE, "nll": REAL}
_ENDS = ("mean", "low", "high")
LOGGED = {"bmaml": "ensemble", "emaml": "members"}
"""What the authors' code logs as the test error of a method: of BMAML another quantity than of EMAML."""
_FAMILY = "sinusoid"


class Curve(NamedTuple):
    """One training of the figure: a `method` with `settings` on `tasks` training tasks of `shots` points, with one `seed`."""

    settings: Settings
    seed: int
    shots: int
    tasks: int
    method: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.settings}-{self.seed}-{self.shots}-shot-{self.tasks}-tasks-{self.method}"

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        title = ROWS[self.method].title or self.method
        return f"{title}, {self.shots}-shot, {self.tasks} tasks, {self.settings} settings"


def run(
    *,
    settings: tuple[Settings, ...] = ("paper", "tuned"),
    steps: int | None = None,
    methods: tuple[str, ...] = METHODS,
    shots: tuple[int, ...] = SHOTS,
    tasks: tuple[int, ...] = TASKS,
    test_tasks: int = 300,
    marks: int = 20,
    seeds: tuple[int, ...] = (0,),
    directory: Path | None = None,
    progress: Callable[[str], Progress] | None = None,
    after: Callable[[Numbers], object] = lambda numbers: None,
) -> Numbers:
    """Return the scores of every method along its training, for K shots and |T| training tasks.

    Training tasks have K support and K query points drawn once, as in the authors' code. Test tasks are fresh. Scores are means
    over them with 95% intervals, after 1, 5 and 10 inner steps and the method's own number: on 50 noise-free points the squared
    error of the ensemble's mean ("ensemble") and that of each member, averaged ("members"), and on 50 noisy points the NLL of
    the ensemble ("nll", nats a point).

    - `settings`: "paper" for the settings of the authors, with which a method without any is left out, "tuned" for this
      library's.
    - `steps`: meta-steps; None takes those of the settings.
    - `methods`: names of methods.
    - `shots`: values of K.
    - `tasks`: values of |T|.
    - `test_tasks`: number of test tasks.
    - `marks`: number of points on a curve.
    - `seeds`: seeds of trainings and training tasks.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    - `after`: is called with the numbers so far after each training.

    Raises: InputError if none of the methods has such settings; KeyboardInterrupt if Ctrl-C stopped a training.
    """
    every = list(curves(settings, seeds, shots, tasks, methods))
    if not every:
        none = f"{', '.join(methods)} without published settings for sinusoids"
        have = in_a_row([name for name in METHODS if _FAMILY in ROWS[name].published])
        raise InputError(
            f"paper settings are asked for of {none}: ask for tuned ones, or for {have}.",
            typed=f"--settings is paper for {none}: give --settings tuned, or --methods with {have}.",
        )
    rows: list[tuple[Any, ...]] = []
    trainings = Trainings(len(every), directory, progress)
    for curve in every:
        rows += _rows(curve, trainings, steps, test_tasks, marks)
        after(Numbers(COLUMNS, rows))
    return Numbers(COLUMNS, rows)


def curves(settings, seeds, shots, tasks, methods) -> Iterator[Curve]:
    """Return the trainings of the figure in their order.

    `settings`, `seeds`, `shots`, `tasks` and `methods` are as in `run`.
    """
    for curve in itertools.starmap(Curve, itertools.product(settings, seeds, shots, tasks, methods)):
        if curve.settings == "tuned" or _FAMILY in ROWS[curve.method].published:
            yield curve


def frozen(tasks: int, shots: int, seed: int) -> FixedTasks:
    """Return a finite task set of `tasks` tasks whose split into `shots` support and `shots` query points is fixed too.

    `seed` is the seed of the tasks.
    """
    rows = Sinusoids((shots,), shots).fixed(tasks, 2 * shots, jax.random.fold_in(jax.random.key(seed), tasks)).rows
    return FixedTasks(rows, (shots,), shots, "first")


def _rows(curve: Curve, trainings: Trainings, steps: int | None, test_tasks: int, marks: int) -> list[tuple[Any, ...]]:
    """Return the rows of one training."""
    published = curve.settings == "paper"
    method = build_method(curve.method, _FAMILY, published=published)
    plan = build_plan(curve.method, _FAMILY, steps=steps, seed=curve.seed, published=published, tasks=curve.tasks)
    plan = dataclasses.replace(plan, record_every=max(plan.steps // marks, 1))
    score, source = _Score(method, curve.shots, test_tasks), frozen(curve.tasks, curve.shots, curve.seed)
    about = {"kind": "family", "tasks": _FAMILY, "method": curve.method}
    done = trainings.run(curve.title, method, source, plan, name=curve.name, about=about, callbacks=score)
    own = method.learner.steps if isinstance(method.learner, AbstractIterativeLearner) else None
    start = score.numbers(method.begin(plan).meta) | {"step": 0}
    return [
        (*curve, record["step"], given, own, name, *(record[_key(name, given, end)] for end in _ENDS))
        for record in [start, *done.history]
        for given in score.steps
        for name in SCORES
    ]


def _key(score: str, steps: int | None, end: str) -> str:
    """Return the name under which a record of the run holds a score after some inner steps."""
    return f"{score}_{end}" if steps is None else f"{score}_{end}_after_{steps}"


class _Score(Callback):
    """Adds the test scores to each record of a run, so that they are kept with it."""

    def __init__(self, method: Method, shots: int, tasks: int):
        learner = method.answerer
        iterative = isinstance(learner, AbstractIterativeLearner)
        self.steps = tuple(sorted({*STEPS, learner.steps})) if iterative else (None,)
        learners = [learner if given is None else with_steps(learner, given) for given in self.steps]
        self._scores = _scorer(learners, Sinusoids((shots,), shots), tasks)

    def numbers(self, meta) -> dict[str, float]:
        """Return every score of the meta-parameters and the ends of its interval by the names of `_key`."""
        found = {}
        for given, scores in zip(self.steps, np.asarray(self._scores(meta)).transpose(1, 2, 0), strict=True):
            for (name, within), each in zip(SCORES.items(), scores, strict=True):
                found |= {_key(name, given, end): value for end, value in zip(_ENDS, interval(each, within), strict=True)}
        return found

    def measure(self, training):
        return self.numbers(training.meta)


def _scorer(learners: list[AbstractLearner], family: Sinusoids, tasks: int) -> Callable[[Any], jax.Array]:
    """Return a function from meta-parameters to the scores of each task: shape (tasks, learners, scores), compiled once."""

    def one(learner: AbstractLearner, meta, support: Data, query: Data, truth, key) -> jax.Array:
        posterior = learner.adapt(meta, support, key=key)
        predictive = posterior.predict(query.x)
        members = each_member(posterior, lambda member: ((member.mean - truth) ** 2).mean(), query.x).mean()
        return jnp.stack([((predictive.mean - truth) ** 2).mean(), members, -predictive.log_prob(query.y).mean()])

    @jax.jit
    def scores(meta):
        def of_task(key):
            wave_key, support_key, query_key = jax.random.split(key, 3)
            wave = family.wave(wave_key)
            support, query = family.points(wave, support_key, family.shots[0]), family.points(wave, query_key, 50)
            return jnp.stack([one(learner, meta, support, query, wave(query.x), query_key) for learner in learners])

        # The same test tasks for every seed of training.
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 99), tasks)
        return jax.lax.map(of_task, keys, batch_size=min(50, tasks))

    return scores


def markdown(numbers: Numbers) -> str:
    """Return the scores at the end of the trainings in `numbers` as a Markdown table, the median over seeds of each.

    Errors that are not finite count as the largest.
    """
    head = ("settings", "shots", "tasks", "method", "seeds", "meta-steps", "inner steps", "as logged", *SCORES)
    rows = []
    places = ("settings", "shots", "tasks", "method")
    for place in dict.fromkeys(tuple(row[name] for name in places) for row in numbers.where()):
        where = dict(zip(places, place, strict=True))
        last, seeds = max(numbers.values("step", **where)), numbers.distinct("seed", **where)
        for given in numbers.distinct("inner_steps", **where):
            found = {
                name: _median(numbers.values("mean", **where, step=last, inner_steps=given, score=name)) for name in SCORES
            }
            logged = found[LOGGED.get(where["method"], "ensemble")]
            shown = ["diverges" if math.isinf(value) else f"{value:.3g}" for value in (logged, *found.values())]
            rows.append((*place, len(seeds), f"{last:,}", "-" if given is None else given, *shown))
    return markdown_table(head, rows) + "\n"


def _median(values: list[float]) -> float:
    """Return the median of the `values` of all seeds. One training that diverged would spoil a mean."""
    return float(np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf)))
