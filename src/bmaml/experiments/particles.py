"""Accuracy on new classes against the number of particles and of training tasks: figure 2 of Kim et al. (2018)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bmaml.evaluation.evaluate import evaluate
from bmaml.experiments.image_tasks import are_drawings, image_classes
from bmaml.experiments.kept import Trainings
from bmaml.experiments.numbers import Numbers
from bmaml.recipes.images import build_image_method, image_recipe
from bmaml.tasks.base import AbstractTasks
from bmaml.tasks.derived import FiniteTasks
from bmaml.tasks.episodes import Episodes
from bmaml.training.progress import Progress
from bmaml.training.run import Run

METHODS = ("shared-bmaml", "shared-bfa", "shared-emaml")
PARTICLES, COUNTS = (1, 2, 5, 10), (10, 100, 1000)
COLUMNS = ("panel", "seed", "method", "particles", "tasks", "metric", "mean", "low", "high")
_WAY = 5
_QUERIES = 15
_METRICS = ("accuracy", "nll", "calibration")
_Score = tuple[str, float, float, float]


def run(
    *,
    images: str = "digits",
    data: Path | None = None,
    size: int | None = None,
    superclasses: Path | None = None,
    steps: int | None = None,
    methods: tuple[str, ...] = METHODS,
    particles: tuple[int, ...] = PARTICLES,
    counts: tuple[int, ...] = COUNTS,
    episodes: int = 600,
    seeds: tuple[int, ...] = (0,),
    directory: Path | None = None,
    progress: Callable[[str], Progress] | None = None,
    after: Callable[[Numbers], object] = lambda numbers: None,
) -> Numbers:
    """Return accuracy, NLL (nats an image) and calibration error of 5-way 1-shot on classes not trained on.

    Panel `"particles"`: each method with each number of particles, trained on endless tasks (`tasks` is None). Panel `"tasks"`:
    each method with the most particles, trained on a finite number of tasks drawn once, and on endless ones. Intervals are 95%,
    over test episodes, which are the same for all trainings.

    - `images`, `data`, `size`, `superclasses`: as in `image_classes`.
    - `steps`: meta-steps; None takes the recipe's.
    - `methods`: names of methods.
    - `particles`: numbers of particles.
    - `counts`: numbers of training tasks.
    - `episodes`: number of test episodes.
    - `seeds`: seeds of trainings and training tasks.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    - `after`: is called with the numbers so far after each training.

    Raises: InputError if the images are missing; KeyboardInterrupt if Ctrl-C stopped a training.
    """
    split = image_classes(images, data, size=size, superclasses=superclasses)
    turned, most = are_drawings(split.train), max(particles)
    test = split.test.episodes(_WAY, 1, _QUERIES, rotations=turned)
    rows: list[tuple[Any, ...]] = []
    trainings = Trainings(len(seeds) * len(methods) * (len(particles) + len(counts)), directory, progress)
    for seed, name in itertools.product(seeds, methods):
        endless = image_recipe(name).episodes(split.train, _WAY, rotations=turned)

        def scores(count: int, tasks: AbstractTasks, total: int | None, name: str = name, seed: int = seed) -> list[_Score]:
            method = build_image_method(name, test.shape, _WAY, particles=count)
            title = f"{name}, {count} particle{'s' * (count > 1)}, {'endless' if total is None else total} tasks"
            trained = trainings.run(title, method, tasks, image_recipe(name).plan(steps=steps, seed=seed))
            return _scores(trained, test, episodes)

        for count in particles:
            found = scores(count, endless, None)
            rows += [("particles", seed, name, count, None, *row) for row in found]
            if count == most:
                rows += [("tasks", seed, name, most, None, *row) for row in found]
            after(Numbers(COLUMNS, rows))
        for total in counts:
            rows += [("tasks", seed, name, most, total, *row) for row in scores(most, FiniteTasks(endless, total, seed), total)]
            after(Numbers(COLUMNS, rows))
    return Numbers(COLUMNS, rows)


def _scores(run: Run, test: Episodes, count: int) -> list[_Score]:
    found = evaluate(run, test, shots=(1,), count=count, queries=test.queries, seed=1, batch=8)
    rows = [found.get(metric, 1) for metric in _METRICS]
    return [(row.metric, row.mean, row.low, row.high) for row in rows]
