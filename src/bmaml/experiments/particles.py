"""Accuracy on new classes against the number of particles and of training tasks: figure 2 of Kim et al. (2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bmaml.evaluation import evaluate
from bmaml.experiments.image_tasks import image_method, image_plan, image_tasks
from bmaml.experiments.table import Numbers
from bmaml.methods import Method
from bmaml.run import train
from bmaml.tasks.base import AbstractTasks
from bmaml.tasks.derived import FiniteTasks
from bmaml.tasks.episodes import Episodes
from bmaml.training import Progress

METHODS = ("shared-bmaml", "shared-bfa", "shared-emaml")
PARTICLES, COUNTS = (1, 2, 5, 10), (10, 100, 1000)
COLUMNS = ("panel", "method", "particles", "tasks", "metric", "mean", "low", "high")
_METRICS = ("accuracy", "nll", "calibration")


def run(
    *,
    images: str = "digits",
    data: Path | None = None,
    steps: int = 3000,
    methods: tuple[str, ...] = METHODS,
    particles: tuple[int, ...] = PARTICLES,
    counts: tuple[int, ...] = COUNTS,
    episodes: int = 600,
    seed: int = 0,
    progress: Progress | None = None,
) -> Numbers:
    """Return accuracy, NLL (nats an image) and calibration error of 5-way 1-shot on classes not trained on.

    Panel `"particles"`: each method with each number of particles, trained on endless tasks (`tasks` is None). Panel `"tasks"`:
    each with the most particles, trained on so many tasks drawn once, and on endless ones. Intervals are 95%, over test
    episodes, which are the same for all; trainings share a seed.
    Raises: InputError where the images are not there; KeyboardInterrupt where Ctrl-C stopped a training.
    """
    source = image_tasks(images, data)
    rows: list[tuple[Any, ...]] = []
    most = max(particles)
    for name in methods:
        for count in particles:
            found = _scores(image_method(name, source.train, count), source.train, source.test, steps, episodes, seed, progress)
            rows += [("particles", name, count, None, *row) for row in found]
            if count == most:
                rows += [("tasks", name, most, None, *row) for row in found]
        for total in counts:
            finite = FiniteTasks(source.train, total, seed)
            found = _scores(image_method(name, source.train, most), finite, source.test, steps, episodes, seed, progress)
            rows += [("tasks", name, most, total, *row) for row in found]
    return Numbers(COLUMNS, rows)


def _scores(
    method: Method, tasks: AbstractTasks, test: Episodes, steps: int, episodes: int, seed: int, progress: Progress | None
) -> list[tuple[str, float, float, float]]:
    trained = train(method, tasks, image_plan(steps, seed), progress=progress).whole()
    shots, queries = max(test.shots), test.queries
    found = evaluate(method.learner, trained.meta, test, shots=(shots,), count=episodes, queries=queries, seed=1, batch=8)
    rows = [found.get(metric, shots) for metric in _METRICS]
    return [(row.metric, row.mean, row.low, row.high) for row in rows]
