"""Policies after each update: their returns in new tasks, and their paths on the plane."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.errors import InputError
from bmaml.evaluation.intervals import two_way
from bmaml.experiments.kept import Trainings
from bmaml.experiments.numbers import Numbers
from bmaml.rl import AbstractWorld, Navigation, PolicyMethod, collect
from bmaml.rl.recipes import build_policy_method, build_policy_plan, build_world
from bmaml.rl.returns import RETURN, evaluate_policies
from bmaml.training.progress import Progress
from bmaml.training.run import Run, about, load, source

COLUMNS = ("method", "updates", "return", "low", "high", "runs", "tasks")
PATHS = ("method", "task", "goal_x", "goal_y", "updates", "particle", "episode", "step", "x", "y")
_GOALS = ((0.35, 0.3), (-0.4, 0.2), (0.1, -0.45))

Runs = dict[str, list[Run]]


def policies_of(folders: Sequence[str | Path]) -> tuple[Runs, AbstractWorld]:
    """Return the saved policies in `folders` by their method's name (several seeds of one together), and the world that they
    share.

    Raises: InputError for a run that is not of policies, or runs of several worlds.
    """
    notes, runs = [about(folder) for folder in folders], {}
    for folder, note in zip(folders, notes, strict=True):
        if note.get("kind") != "control":
            raise InputError(f"{folder} is not a run of policies: give folders that `bmaml train navigation` wrote.")
        runs.setdefault(note["method"], []).append(load(folder))
    if len({note["tasks"] for note in notes}) > 1:
        raise InputError(f"the runs are of {', '.join(sorted({n['tasks'] for n in notes}))}: give runs of one family.")
    return runs, source(folders[0])


def fit(
    *,
    steps: int = 100,
    batch: int | None = None,
    seeds: tuple[int, ...] = (0,),
    directory: Path | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[Runs, AbstractWorld]:
    """Meta-train MAML and the pretrained policy on the plane, with the reward of the code of Finn et al. (2017).

    - `steps`: meta-steps.
    - `batch`: tasks of a meta-step; None takes the recipe's.
    - `seeds`: seeds of the trainings.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    """
    family, names = "navigation-distance", ("maml", "pretrain")
    world, trainings = build_world(family), Trainings(len(names) * len(seeds), directory, progress)
    runs: Runs = {}
    for seed, name in itertools.product(seeds, names):
        method = build_policy_method(name, family, world, fisher_episodes=5)
        plan = build_policy_plan(family, steps=steps, batch=batch, seed=seed)
        runs.setdefault(name, []).append(trainings.run(name, method, world, plan))
    return runs, world


def returns(runs: Runs, world: AbstractWorld, *, count: int = 400, updates: int = 3, seed: int = 1) -> Numbers:
    """Return the mean return of each method after each update, with its 95% interval over tasks.

    The tasks are the same for all. If a method has several runs, a task's return is their mean.

    - `runs`: runs by method.
    - `world`: the environments.
    - `count`: number of tasks.
    - `updates`: number of updates.
    - `seed`: seed of the tasks.
    """
    rows = []
    for name, several in runs.items():
        each = [_returns(run, world, updates, count, seed) for run in several]
        for update in range(updates + 1):
            mean, low, high = two_way([one[update] for one in each])
            rows.append((name, update, mean, low, high, len(several), count))
    return Numbers(COLUMNS, rows)


def _returns(run: Run, world: AbstractWorld, updates: int, count: int, seed: int) -> list[np.ndarray]:
    assert isinstance(run.method, PolicyMethod)  # its record says so
    found = evaluate_policies(run.method, run.meta, world, updates=updates, count=count, seed=seed)
    return [found.scores[run.method.sampling.episodes, update][RETURN] for update in range(updates + 1)]


def paths(runs: Runs, world: AbstractWorld, *, updates: int = 1, episodes: int = 3, seed: int = 0) -> Numbers:
    """Return the paths on the plane of the first run of each method in three tasks, before any update and after each one.

    - `runs`: runs by method.
    - `world`: the plane.
    - `updates`: number of updates.
    - `episodes`: trajectories of each particle to return, or all if it gathers fewer.
    - `seed`: seed of the tasks.

    Raises: InputError for a world that is not the plane.
    """
    if not isinstance(world, Navigation):
        raise InputError(f"{type(world).__name__} has no paths on a plane: give runs on navigation.")
    rows = []
    for name, (run, *_) in runs.items():
        assert isinstance(run.method, PolicyMethod)  # its record says so
        method, key = run.method, jax.random.key(seed)
        found = collect(world, method.policies, method.sampling, run.meta, jnp.asarray(_GOALS), updates, key=key)
        # A step that was not taken has weight 0.
        places, taken = np.asarray(found.sets.x), np.asarray(found.sets.mask) != 0
        for update, task, particle, episode in np.ndindex(*places.shape[:3], min(episodes, places.shape[3])):
            length = int(taken[update, task, particle, episode].sum())
            for step, (x, y) in enumerate(places[update, task, particle, episode, :length]):
                rows.append((name, task, *_GOALS[task], update, particle, episode, step, float(x), float(y)))
    return Numbers(PATHS, rows)


def progress_of(runs: Runs) -> Numbers:
    """Return the return after adaptation in training against meta-steps, for every run in `runs`."""
    rows = [
        (name, number, record["step"], -record["loss"])
        for name, several in runs.items()
        for number, run in enumerate(several)
        for record in run.history
    ]
    return Numbers(("method", "run", "step", "return"), rows)
