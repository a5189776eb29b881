"""MAML against multi-task pretraining, before and after each gradient step: the first figure of the lecture."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data
from bmaml.evaluation.intervals import POSITIVE, interval
from bmaml.experiments.kept import Trainings
from bmaml.experiments.numbers import Numbers
from bmaml.learners.wrappers import with_steps
from bmaml.methods import Method
from bmaml.recipes.families import build_method, build_plan, build_tasks
from bmaml.tasks.sinusoid import Sinusoids
from bmaml.training.progress import Progress

METHODS = ("maml", "pretrain")
STEPS = (0, 1, 2, 3, 5, 10)
SHOTS = (10, 5)
_GRID = np.linspace(-5.0, 5.0, 101)


def run(
    *,
    steps: int = 10_000,
    tasks: int = 1000,
    seeds: tuple[int, ...] = (0,),
    directory: Path | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[Numbers, Numbers]:
    """Meta-train both on MAML's sinusoids with 10 shots; return errors by steps and shots, and curves on one task.

    Errors: seed, method, shots, steps, mse, low, high (95% over tasks, noise-free targets). Curves, of the first seed: method,
    shots, steps (-1: the given points), x, y, truth.

    - `steps`: meta-steps.
    - `tasks`: number of test tasks.
    - `seeds`: seeds of trainings and tasks.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    """
    source = build_tasks("maml-sinusoid", shots=(10,), queries=10)
    assert isinstance(source, Sinusoids)
    errors, curves = [], []
    trainings = Trainings(len(seeds) * len(METHODS), directory, progress)
    for seed, name in itertools.product(seeds, METHODS):
        method = build_method(name, "maml-sinusoid")
        result = trainings.run(name, method, source, build_plan(name, steps=steps, seed=seed))
        for shots in SHOTS:
            mse = _errors(method, result.meta, source, shots, tasks, seed)
            errors += [(seed, name, shots, s, *interval(column, POSITIVE)) for s, column in zip(STEPS, mse.T, strict=True)]
            if seed == seeds[0]:
                curves += [(name, shots, *row) for row in _curves(method, result.meta, source, shots, seed)]
    return (
        Numbers(("seed", "method", "shots", "steps", "mse", "low", "high"), errors),
        Numbers(("method", "shots", "steps", "x", "y", "truth"), curves),
    )


def _trajectory(method: Method, meta, support: Data, x, key) -> jax.Array:
    """Return the predictive mean at `x` after each of STEPS: shape (steps, points)."""
    means = [with_steps(method.learner, s).adapt(meta, support, key=key).predict(x).mean[:, 0] for s in STEPS]
    return jnp.stack(means)


def _errors(method: Method, meta, source: Sinusoids, shots: int, tasks: int, seed: int) -> np.ndarray:
    """Return the mean squared error of every task after each of STEPS, on 100 noise-free points."""

    @jax.jit
    def every(meta):
        def task_errors(key):
            wave_key, support_key, query_key = jax.random.split(key, 3)
            wave = source.wave(wave_key)
            query = source.points(wave, query_key, 100)
            means = _trajectory(method, meta, source.points(wave, support_key, shots), query.x, support_key)
            return ((means - wave(query.x)[None, :, 0]) ** 2).mean(1)

        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2), tasks)
        return jax.lax.map(task_errors, keys, batch_size=min(50, tasks))

    return np.asarray(every(meta))


def _curves(method: Method, meta, source: Sinusoids, shots: int, seed: int) -> list[tuple]:
    wave_key, support_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 3))
    wave, x = source.wave(wave_key), jnp.asarray(_GRID, jnp.zeros(()).dtype)[:, None]
    support = source.points(wave, support_key, shots)
    means, truth = np.asarray(_trajectory(method, meta, support, x, support_key)), np.asarray(wave(x))[:, 0]
    rows = [
        (s, float(g), float(m), float(t))
        for s, line in zip(STEPS, means, strict=True)
        for g, m, t in zip(_GRID, line, truth, strict=True)
    ]
    given = [(-1, float(a), float(b), float(b)) for a, b in zip(support.x[:, 0], support.y[:, 0], strict=True)]
    return rows + given
