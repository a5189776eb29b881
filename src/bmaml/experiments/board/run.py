"""Every method on one task family or table: trained, scored on the same new tasks, and kept, so that a second call resumes."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from bmaml.errors import InputError
from bmaml.evaluation.evaluate import Evaluation, answering, evaluate
from bmaml.evaluation.recalibrate import LEAST_TASKS, recalibrate
from bmaml.experiments.board.arenas import AbstractArena
from bmaml.experiments.kept import kept_run
from bmaml.io.files import read_plain, write_atomically
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.learners.optimal import AT_ONCE
from bmaml.learners.predictor import Predictor
from bmaml.training.loop import NonFiniteError
from bmaml.training.progress import Progress
from bmaml.training.run import Run

OPTIMAL = "bayes-optimal"
_TEST_SEED = 1
_TIMED = 20

Scores = dict[tuple[int, str], np.ndarray]


class Entry(eqx.Module):
    """One method with one seed.

    - `method`, `seed`: which one.
    - `scores`: every task's own scores by (shots, metric).
    - `train_seconds`, `adapt_seconds`: seconds of the training and of one adaptation.
    - `steps`: meta-steps.
    """

    method: str = eqx.field(static=True)
    seed: int = eqx.field(static=True)
    scores: Scores
    train_seconds: float = eqx.field(static=True)
    adapt_seconds: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)


def _several(arenas: AbstractArena | Sequence[AbstractArena]) -> tuple[AbstractArena, ...]:
    return (arenas,) if isinstance(arenas, AbstractArena) else tuple(arenas)


class Board(eqx.Module):
    """What is compared, and how.

    - `arenas`: one arena for all seeds, or one for each (each seed of a table holds out other tasks).
    - `methods`, `seeds`: what is trained.
    - `steps`: meta-steps; None takes each recipe's own.
    - `count`: number of test tasks.
    - `recalibrated`: whether predictions of every method are stretched by its errors on the arena's spare tasks.

    Raises: InputError for `recalibrated` if the arena has too few spare tasks.
    """

    arenas: tuple[AbstractArena, ...] = eqx.field(converter=_several)
    methods: tuple[str, ...] = eqx.field(static=True, converter=tuple)
    seeds: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    steps: int | None = eqx.field(static=True, default=None)
    count: int = eqx.field(static=True, default=1000)
    recalibrated: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.recalibrated:
            self._check_spare()

    def _check_spare(self) -> None:
        """Refuse tasks that cannot be recalibrated on before anything is trained."""
        name, spare = self.arenas[0].name, self.arenas[0].spare()
        if spare is None:
            raise InputError(f"{name} has no tasks to recalibrate on: only families and tables can be recalibrated.")
        if spare.total is not None and spare.total < LEAST_TASKS:
            raise InputError(
                f"{name} spares {spare.total} tasks to recalibrate on, and at least {LEAST_TASKS} are needed: give more tasks, "
                "a larger share of them to score on, or no --recalibrated."
            )

    def run(
        self,
        folder: Path,
        progress: Callable[[str], Progress] | None = None,
        said: Callable[[str], None] = lambda line: None,
    ) -> list[Entry]:
        """Train and score what `folder` does not hold yet, and the Bayes-optimal predictor if there is one.

        A method whose training stops being finite is reported and left out.

        - `progress`: makes what hears of a training, from the training's name.
        - `said`: is called with a line of text for each event.

        Raises: KeyboardInterrupt if Ctrl-C stopped a training, with its checkpoint saved; InputError if the folder holds a run
        with other settings.
        """
        entries = self._entries(folder, self.trainings, progress, said)
        optimal = self.arenas[0].optimal()
        return entries if optimal is None else [*entries, self._optimal(folder, optimal)]

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """Every method with every seed: what a job among several can do by itself."""
        return [(method, seed) for method in self.methods for seed in self.seeds]

    def run_part(
        self,
        folder: Path,
        part: int,
        parts: int,
        progress: Callable[[str], Progress] | None = None,
        said: Callable[[str], None] = lambda line: None,
    ) -> int:
        """Train and score every `parts`-th training, from the `part`-th on; return how many those are.

        Jobs that share `folder` do the parts at once, and `run` then finds everything done.

        - `part`, `parts`: which part (from 1) of how many.
        - `progress`, `said`: as in `run`.

        Raises: KeyboardInterrupt and InputError as `run` does.
        """
        chosen = self.trainings[part - 1 :: parts]
        self._entries(folder, chosen, progress, said)
        return len(chosen)

    def _entries(
        self,
        folder: Path,
        trainings: Sequence[tuple[str, int]],
        progress: Callable[[str], Progress] | None,
        said: Callable[[str], None],
    ) -> list[Entry]:
        """Train and score each of `trainings`. Once a method diverges, its further seeds are left out."""
        entries, diverged = [], set()
        for method, seed in trainings:
            if method not in diverged:
                try:
                    entries.append(self._entry(folder, method, seed, progress))
                except NonFiniteError as error:
                    said(f"{method}, seed {seed}, is left out: {error}")
                    diverged.add(method)
        return entries

    def _arena(self, seed: int) -> AbstractArena:
        return self.arenas[seed % len(self.arenas)]

    def _entry(self, folder: Path, method: str, seed: int, progress: Callable[[str], Progress] | None) -> Entry:
        name = f"{method}-{seed}".replace(":", ".")
        run = self._run(folder / "runs" / name, method, seed, progress and progress(f"{method}, seed {seed}"))
        arena = self._arena(seed)
        about = {"method": method, "seed": seed, "steps": run.step, "train_seconds": run.seconds}
        spare = arena.spare() if self.recalibrated else None
        if spare is None:
            return self._scored(folder / "scores" / f"{name}.npz", lambda: run.predictor, about, batch=10)
        changed = partial(recalibrate, run, spare, shots=arena.shots)
        return self._scored(folder / "recalibrated" / f"{name}.npz", changed, about, batch=10)

    def _run(self, path: Path, method: str, seed: int, progress: Progress | None) -> Run:
        arena = self._arena(seed)
        made, plan = arena.method(method), arena.plan(method, self.steps, seed)
        return kept_run(path, made, arena.tasks(method, seed), plan, about=arena.about(method), progress=progress)

    def _optimal(self, folder: Path, learner: AbstractLearner) -> Entry:
        about = {"method": OPTIMAL, "seed": 0, "steps": 0, "train_seconds": 0.0}
        return self._scored(folder / "scores" / f"{OPTIMAL}.npz", lambda: Predictor(learner), about, batch=AT_ONCE)

    def _scored(self, path: Path, predictor: Callable[[], Predictor], about: dict[str, Any], batch: int) -> Entry:
        arena = self._arena(about["seed"])
        stamp = about | {"shots": list(arena.shots), "count": self.count, "test": arena.name}
        kept = _read(path, stamp)
        if kept is not None:
            return kept
        found = answering(predictor(), arena.test())
        options = {
            "shots": arena.shots,
            "count": self.count,
            "queries": arena.queries,
            "seed": _TEST_SEED,
            "batch": batch,
        }
        scores = _flat(evaluate(found, arena.test(), **options))
        entry = Entry(about["method"], about["seed"], scores, about["train_seconds"], _seconds(found, arena), about["steps"])
        _write(path, entry, stamp)
        return entry


def _seconds(predictor: Predictor, arena: AbstractArena) -> float:
    """Return the median seconds to adapt to one task's most points and predict its query, compiled before."""
    task = arena.example(jax.random.key(_TEST_SEED))

    @jax.jit
    def answer(meta: Meta, task: Any, key: jax.Array) -> jax.Array:
        return predictor.learner.adapt(meta, task.support, key=key).predict(task.query.x).mean

    spent = []
    for i in range(_TIMED + 1):
        began = time.perf_counter()
        jax.block_until_ready(answer(predictor.meta, task, jax.random.key(i)))
        spent.append(time.perf_counter() - began)
    return float(np.median(spent[1:]))


def _flat(evaluation: Evaluation) -> Scores:
    return {(shots, name): values for (shots, _), each in evaluation.scores.items() for name, values in each.items()}


def _write(path: Path, entry: Entry, stamp: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"stamp": stamp, "adapt_seconds": entry.adapt_seconds})
    content = io.BytesIO()
    arrays: dict[str, Any] = {f"{shots}/{name}": values for (shots, name), values in entry.scores.items()}
    np.savez_compressed(content, head=np.array(head), **arrays)
    write_atomically(path, content.getvalue())


def _read(path: Path, stamp: dict[str, Any]) -> Entry | None:
    """Return a kept entry, or None if it is missing, damaged, or one of something else."""
    try:
        with np.load(io.BytesIO(read_plain(path)), allow_pickle=False) as kept:
            head = json.loads(str(kept["head"]))
            if head["stamp"] != stamp:
                return None
            names = [name.split("/", 1) for name in kept.files if name != "head"]
            scores = {(int(shots), name): kept[f"{shots}/{name}"] for shots, name in names}
    except Exception:  # A damaged archive also raises zlib.error, struct.error, MemoryError, ...
        return None
    return Entry(stamp["method"], stamp["seed"], scores, stamp["train_seconds"], head["adapt_seconds"], stamp["steps"])
