"""The policy half of `bmaml evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bmaml.evaluation.evaluate import Evaluation


def evaluate(
    folder: Path,
    *,
    steps: Sequence[int] | None,
    count: int,
    seed: int,
    episodes: int | None = None,
    slower: float | None = None,
) -> Evaluation:
    """Return the mean return of the saved run in `folder` on `count` new tasks, after the numbers of updates in `steps`.

    An update takes `episodes` trajectories of each particle (None: as many as in training). The rate of updates after the first
    is that of the first times `slower` (None: the default of `evaluate_policies`).
    """
    import dataclasses

    import bmaml
    from bmaml.rl import PolicyMethod
    from bmaml.rl.returns import evaluate_policies
    from bmaml.training.run import source

    run, wanted = bmaml.load(folder), sorted(set(steps or (0, 1, 2, 3)))
    assert isinstance(run.method, PolicyMethod)  # its record says so
    world = source(folder)
    score = evaluate_policies if slower is None else partial(evaluate_policies, slower=slower)
    found = score(run.method, run.meta, world, updates=wanted[-1], count=count, seed=seed, episodes=episodes)
    rows = [row for row in found.rows if row.steps in wanted]
    return dataclasses.replace(found, rows=rows, scores={k: v for k, v in found.scores.items() if k[1] in wanted})
