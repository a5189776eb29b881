"""Active learning on images: accuracy against the number of labels, for each rule that chooses the images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.evaluation.evaluate import answering
from bmaml.evaluation.intervals import SHARE, interval
from bmaml.evaluation.metrics import masked_mean
from bmaml.experiments.image_tasks import are_drawings, image_classes
from bmaml.experiments.kept import Trainings
from bmaml.experiments.numbers import Numbers
from bmaml.inference.acquisitions import CLASS_ACQUISITIONS
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.learners.wrappers import at_core
from bmaml.recipes.images import build_image_method, image_recipe
from bmaml.tasks.derived import PartialTasks
from bmaml.tasks.episodes import Episodes
from bmaml.training.progress import Progress

METHODS = ("ridge", "shared-bmaml", "shared-bfa")
# The labels with which a task begins: of one random image, or of one image of each class as in the paper.
STARTS = ("one image", "one of each class")
COMPARED = ("entropy", "information", "random")
COLUMNS = ("seed", "method", "start", "by", "labels", "accuracy", "low", "high")
NEEDED = ("seed", "method", "start", "by", "random_labels", "labels", "share", "gap", "low", "high")
_WAY = 5
_POOL, _QUERIES = 10, 10  # of each class
_LABELS = 25
_BATCH = 8


def run(
    *,
    images: str = "digits",
    data: Path | None = None,
    size: int | None = None,
    superclasses: Path | None = None,
    steps: int | None = None,
    methods: tuple[str, ...] = METHODS,
    episodes: int = 200,
    seeds: tuple[int, ...] = (0,),
    directory: Path | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[Numbers, Numbers]:
    """Return accuracy by method, start, acquisition and number of labels; and how many labels replace those of random choice.

    Methods are trained by their recipes, on random parts of 3 shots, so that they have met unseen classes. A test episode has a
    pool of 50 images of 5 classes not trained on. It asks for labels one by one, for the image that the acquisition ranks
    first, never one twice. Accuracy is measured on 50 other images, with its 95% interval over episodes, which are the same for
    all. The second table has the fewest `labels` whose mean accuracy is at least that of `random_labels` random ones (or None),
    their `share` of those, and the `gap` in accuracy there, paired, with its 95% interval.

    - `images`, `data`, `size`, `superclasses`: as in `image_classes`.
    - `steps`: meta-steps; None takes the recipe's.
    - `methods`: names of methods.
    - `episodes`: number of test episodes.
    - `seeds`: seeds of trainings and episodes.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    """
    split = image_classes(images, data, size=size, superclasses=superclasses)
    turned = are_drawings(split.train)
    test = split.test.episodes(_WAY, _POOL, _QUERIES, rotations=turned)
    rows: list[tuple[Any, ...]] = []
    needed: list[tuple[Any, ...]] = []
    trainings = Trainings(len(seeds) * len(methods), directory, progress)
    for seed, name in itertools.product(seeds, methods):
        recipe = image_recipe(name)
        tasks = recipe.episodes(split.train, _WAY, (3,), rotations=turned)
        method = build_image_method(name, tasks.shape, tasks.way)
        run = trainings.run(name, method, PartialTasks(tasks), recipe.plan(steps=steps, seed=seed))
        found = answering(run, test)
        for start in STARTS:
            each = {by: curves(found.learner, found.meta, test, start, by, episodes, seed) for by in COMPARED}
            first = _first(start, _WAY)
            for by, accuracy in each.items():
                rows += [(seed, name, start, by, first + i, *interval(column, SHARE)) for i, column in enumerate(accuracy.T)]
                needed += [(seed, name, start, by, *row) for row in _needed(accuracy, each["random"], first)]
    return Numbers(COLUMNS, rows), Numbers(NEEDED, needed)


def _first(start: str, way: int) -> int:
    return 1 if start == "one image" else way


def _needed(accuracy: np.ndarray, plain: np.ndarray, first: int) -> list[tuple[Any, ...]]:
    """Return how many labels replace 10, 15, 20 and 25 random ones."""
    rows = []
    for count in (10, 15, 20, 25):
        target = plain[:, count - first]
        enough = np.flatnonzero(accuracy.mean(0) >= target.mean() - 1e-12)
        at = int(enough[0]) if len(enough) else None
        gap = interval(accuracy[:, -1 if at is None else at] - target)
        rows.append((count, None if at is None else first + at, None if at is None else (first + at) / count, *gap))
    return rows


def curves(
    learner: AbstractLearner, meta: Meta, tasks: Episodes, start: str, by: str, episodes: int, seed: int = 0
) -> np.ndarray:
    """Return each episode's accuracy with each number of labels: shape (episodes, counts). Episodes depend on the seed alone.

    - `learner`, `meta`: the trained learner.
    - `tasks`: the episodes.
    - `start`: the labels with which an episode begins.
    - `by`: name of the acquisition.
    - `episodes`: number of episodes.
    - `seed`: seed of the episodes.
    """
    whole = -(-episodes // _BATCH) * _BATCH
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 23), whole)
    return np.asarray(_every(learner, meta, tasks, start, by, keys), np.float64)[:episodes]


@eqx.filter_jit
def _every(learner: AbstractLearner, meta: Meta, tasks: Episodes, start: str, by: str, keys: Key[Array, " tasks"]) -> Array:
    def episode_curve(key: PRNGKeyArray) -> Array:
        task_key, scan_key = jax.random.split(key)
        # Features are computed once: labels change from step to step, and images do not.
        return _episode(*at_core(learner, meta, tasks.sample(task_key)), start, by, tasks.way, scan_key)

    return jax.lax.map(episode_curve, keys, batch_size=_BATCH)


def _episode(
    learner: AbstractLearner, meta: Meta, task: Task, start: str, by: str, way: int, key: PRNGKeyArray
) -> Float[Array, " counts"]:
    """Return one episode's accuracy with each number of labels, as a scan over labels, which are a mask of the pool."""
    first_key, scan_key = jax.random.split(key)
    pool, count = task.support, len(task.support.mask)
    # Rows of an episode are ordered shot by shot, so the first `way` rows are one of each class.
    picked = jax.random.randint(first_key, (), 0, count)
    labelled = jnp.arange(count) == picked if start == "one image" else jnp.arange(count) < way

    def step(labelled: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        support = Data(pool.x, pool.y, labelled.astype(pool.mask.dtype))
        posterior = learner.adapt(meta, support, key=jax.random.fold_in(key, 0))
        right = posterior.predict(task.query.x).mean.argmax(-1) == task.query.y
        worth = CLASS_ACQUISITIONS[by](posterior, pool.x, key=jax.random.fold_in(key, 1))
        chosen = jnp.argmax(jnp.where(labelled, -jnp.inf, worth))
        return labelled | (jnp.arange(count) == chosen), masked_mean(right.astype(pool.x.dtype), task.query.mask)

    keys = jax.random.split(scan_key, _LABELS - _first(start, way) + 1)
    return jax.lax.scan(step, labelled, keys)[1]
