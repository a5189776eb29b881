"""Active learning on the sinusoids: error against the number of points measured, for each rule that chooses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.evaluation.intervals import POSITIVE, interval
from bmaml.experiments.kept import Trainings
from bmaml.experiments.numbers import Numbers
from bmaml.inference.acquisitions import ACQUISITIONS, acquisition
from bmaml.inference.posteriors import knows_noise
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.recipes.families import build_method, build_plan, build_tasks
from bmaml.tasks.sinusoid import Sinusoids
from bmaml.training.progress import Progress
from bmaml.training.run import Run, about, load

START, MOST = 1, 10
_POOL, _GRID = 100, 100
COLUMNS = ("seed", "method", "by", "points", "mse", "low", "high")
NEEDED = ("seed", "method", "by", "points", "gap", "low", "high")


def runs_of(folders: Sequence[str | Path]) -> tuple[dict[str, Run], str]:
    """Return the saved runs in `folders` by their method's name, and the task family that they share.

    Raises: InputError for a run that is not of a sinusoid family, or for runs of several families or of one method.
    """
    notes = [about(folder) for folder in folders]
    for folder, note in zip(folders, notes, strict=True):
        if note.get("kind") != "family":
            raise InputError(f"{folder} was not trained on a family of functions: give folders of `bmaml train sinusoid`.")
    families, names = {note["tasks"] for note in notes}, [note["method"] for note in notes]
    if len(families) > 1:
        raise InputError(f"the runs are of {', '.join(sorted(families))}: give runs of one task family.")
    if len(set(names)) < len(names):
        raise InputError(f"the runs are of {', '.join(names)}: give one run of each method.")
    return {name: load(folder) for name, folder in zip(names, folders, strict=True)}, families.pop()


def fit(
    *,
    steps: int = 3600,
    seeds: tuple[int, ...] = (0,),
    directory: Path | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> dict[int, dict[str, Run]]:
    """Meta-train experts on supports of 1 to 10 points for `steps` meta-steps, about two minutes on two cores for a seed.

    Returns the runs of each seed by the method's name.

    - `seeds`: seeds of the trainings.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    """
    source, trainings = build_tasks("sinusoid", shots=(1, 2, 3, 5, 10)), Trainings(len(seeds), directory, progress)
    method = build_method("experts", particles=64)
    return {
        seed: {"experts": trainings.run("experts", method, source, build_plan("experts", steps=steps, seed=seed))}
        for seed in seeds
    }


def run(runs: dict[str, Run], family: str = "sinusoid", *, tasks: int = 200, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Return the error of each method, acquisition and number of points; and how many points replace 10 random ones.

    A task starts with the same random point for every acquisition. Each next point is the pool point that the acquisition ranks
    first, never one twice. The pool is 100 even points of the domain, measured with the family's noise. The error is the
    squared error of the predictive mean on 100 even points without noise, averaged over tasks, with its 95% interval. A method
    without particles has no acquisition by information. The second table has the columns seed, method, by, points (the fewest
    with a mean error of at most random's at 10, or None), gap, low, high (the error minus random's at 10, paired over tasks,
    with its 95% interval).

    - `runs`: runs by name.
    - `family`: their task family.
    - `tasks`: number of test tasks.
    - `seed`: seed of the test tasks, which the rows say.

    Raises: InputError for a family whose tasks are not sinusoids.
    """
    source = build_tasks(family)
    if not isinstance(source, Sinusoids):
        raise InputError(f"the tasks of {family} are not sinusoids: give runs of a sinusoid family.")
    rows, needed = [], []
    for name, one in runs.items():
        learner = one.method.answerer
        errors = {by: task_errors(learner, one.meta, source, by, tasks, seed) for by in _offered(learner, one.meta, source)}
        for by, each in errors.items():
            rows += [(seed, name, by, START + i, *interval(column, POSITIVE)) for i, column in enumerate(each.T)]
            needed.append((seed, name, by, *_replaced(each, errors["random"][:, -1])))
    return Numbers(COLUMNS, rows), Numbers(NEEDED, needed)


def _offered(learner: AbstractLearner, meta: Meta, source: Sinusoids) -> list[str]:
    """Return the acquisitions that a method has. Without particles there is no information to choose by."""
    support = source.sample(jax.random.key(0)).support
    posterior = eqx.filter_eval_shape(lambda: learner.adapt(meta, support, key=jax.random.key(0)))
    return [by for by in ACQUISITIONS if by != "information" or knows_noise(posterior)]


def _replaced(errors: np.ndarray, target: np.ndarray) -> tuple[int | None, float, float, float]:
    """Return the fewest points whose mean error is at most the target's, and the paired difference there."""
    enough = np.flatnonzero(errors.mean(0) <= target.mean())
    if not len(enough):
        return None, *interval(errors[:, -1] - target)
    return START + int(enough[0]), *interval(errors[:, enough[0]] - target)


def task_errors(
    learner: AbstractLearner, meta: Meta, source: Sinusoids, by: str, tasks: int, seed: int = 0, batch: int = 25
) -> np.ndarray:
    """Return the squared error of every task after 1 to 10 points: shape (tasks, 10). Tasks depend on the seed alone.

    - `learner`, `meta`: the trained learner.
    - `source`: the task family.
    - `by`: name of the acquisition.
    - `tasks`: number of tasks.
    - `seed`: seed of the tasks.
    - `batch`: tasks at a time.

    Raises: InputError for an unknown acquisition.
    """
    acquisition(by)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 17), tasks)
    return np.asarray(_every(learner, meta, source, by, keys, min(batch, tasks)), np.float64)


@eqx.filter_jit
def _every(learner: AbstractLearner, meta: Meta, source: Sinusoids, by: str, keys: Key[Array, " tasks"], batch: int) -> Array:
    return jax.lax.map(lambda key: _task(learner, meta, source, by, key), keys, batch_size=batch)


def _task(learner: AbstractLearner, meta: Meta, source: Sinusoids, by: str, key: PRNGKeyArray) -> Float[Array, " counts"]:
    """Return one task's error after each number of points, as a scan over measurements that all have the same shapes."""
    wave_key, noise_key, first_key, scan_key = jax.random.split(key, 4)
    wave, acquire = source.wave(wave_key), acquisition(by)
    pool, grid = (jnp.linspace(*source.domain, count)[:, None] for count in (_POOL, _GRID))
    measured = wave(pool) + wave.noise * jax.random.normal(noise_key, pool.shape)
    truth = wave(grid)
    empty = Data(jnp.zeros((MOST, 1)), jnp.zeros((MOST, 1)), jnp.zeros(MOST))

    def step(carry: tuple[Data, Array, Array], inputs: tuple[Array, PRNGKeyArray]) -> tuple[Any, Array]:
        support, taken, pick = carry
        place, key = inputs
        support = _with_row(support, place, pool[pick], measured[pick])
        taken = taken | (jnp.arange(_POOL) == pick)
        posterior = learner.adapt(meta, support, key=jax.random.fold_in(key, 0))
        error = ((posterior.predict(grid).mean - truth) ** 2).mean()
        worth = acquire(posterior, pool, key=jax.random.fold_in(key, 1))
        return (support, taken, jnp.argmax(jnp.where(taken, -jnp.inf, worth))), error

    first = jax.random.randint(first_key, (), 0, _POOL)
    start = (empty, jnp.zeros(_POOL, bool), first)
    return jax.lax.scan(step, start, (jnp.arange(MOST), jax.random.split(scan_key, MOST)))[1]


def _with_row(support: Data, place: Array, x: Array, y: Array) -> Data:
    """Return the support with one of its masked rows filled in."""
    chosen = jnp.arange(len(support.mask)) == place
    filled = Data(jnp.where(chosen[:, None], x[None], support.x), jnp.where(chosen[:, None], y[None], support.y), support.mask)
    return dataclasses.replace(filled, mask=jnp.where(chosen, 1.0, support.mask))
