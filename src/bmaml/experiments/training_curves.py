"""Test error against meta-training progress: figure 1 of Kim et al. (2018), https://arxiv.org/abs/1806.03836."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bmaml.evaluation.intervals import POSITIVE, interval
from bmaml.experiments.numbers import Numbers
from bmaml.methods import Method
from bmaml.recipes.families import build_method, build_plan
from bmaml.tasks.base import FixedTasks
from bmaml.tasks.sinusoid import Sinusoids
from bmaml.training.callbacks import Callback
from bmaml.training.progress import Progress
from bmaml.training.run import train

METHODS = ("bmaml", "emaml", "maml", "experts")
SHOTS, TASKS = (5, 10), (100, 1000)
COLUMNS = ("shots", "tasks", "method", "step", "mse", "low", "high")


def run(
    *,
    steps: int = 5_000,
    methods: tuple[str, ...] = METHODS,
    shots: tuple[int, ...] = SHOTS,
    tasks: tuple[int, ...] = TASKS,
    test_tasks: int = 300,
    marks: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> Numbers:
    """Return the error of every method along its training, for K shots and |T| training tasks.

    Training tasks have K support and K query points drawn once, as in the authors' code. The error is the squared error of the
    ensemble's mean on 50 noise-free points, averaged over fresh test tasks, with its 95% interval.

    - `steps`: meta-steps.
    - `methods`: names of methods.
    - `shots`: values of K.
    - `tasks`: values of |T|.
    - `test_tasks`: number of test tasks.
    - `marks`: number of points on a curve.
    - `seed`: seed of trainings and tasks.
    - `progress`: shows how far trainings are.
    """
    rows: list[tuple[Any, ...]] = []
    for count in shots:
        for total in tasks:
            source = frozen(total, count, seed)
            for name in methods:
                rows += [
                    (count, total, name, *r) for r in _curve(name, source, count, steps, test_tasks, marks, seed, progress)
                ]
    return Numbers(COLUMNS, rows)


def frozen(tasks: int, shots: int, seed: int) -> FixedTasks:
    """Return a finite task set of `tasks` tasks whose split into `shots` support and `shots` query points is fixed too.

    `seed` is the seed of the tasks.
    """
    rows = Sinusoids((shots,), shots).fixed(tasks, 2 * shots, jax.random.fold_in(jax.random.key(seed), tasks)).rows
    return FixedTasks(rows, (shots,), shots, "first")


def _curve(name: str, source: FixedTasks, shots: int, steps: int, test_tasks: int, marks: int, seed: int, progress):
    method = build_method(name)
    score = _scorer(method, shots, test_tasks, seed)
    plan = dataclasses.replace(build_plan(name, steps=steps, seed=seed), record_every=max(steps // marks, 1))
    curve = _Curve(score)
    train(method, source, plan, callbacks=curve, progress=progress)
    return curve.rows


class _Curve(Callback):
    """The score before training and after each `record_every` meta-steps."""

    def __init__(self, score: Callable[[Any], tuple[float, float, float]]):
        self.score = score
        self.rows: list[tuple[float, ...]] = []

    def start(self, training):
        self.rows.append((training.step, *self.score(training.meta)))

    def record(self, training, record):
        if training.step % training.plan.record_length == 0:
            self.rows.append((training.step, *self.score(training.meta)))


def _scorer(method: Method, shots: int, tasks: int, seed: int) -> Callable[[Any], tuple[float, float, float]]:
    """Return a function from meta-parameters to the mean test error and its interval, compiled once."""
    family = Sinusoids((shots,), shots)

    @jax.jit
    def errors(meta):
        def task_error(key):
            wave_key, support_key, query_key = jax.random.split(key, 3)
            wave = family.wave(wave_key)
            posterior = method.answerer.adapt(meta, family.points(wave, support_key, shots), key=query_key)
            x = family.points(wave, query_key, 50).x
            return ((posterior.predict(x).mean - wave(x)) ** 2).mean()

        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 99), tasks)
        return jax.lax.map(task_error, keys, batch_size=min(50, tasks))

    return lambda meta: interval(np.asarray(errors(meta)), POSITIVE)
