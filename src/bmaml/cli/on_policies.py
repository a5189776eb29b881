"""The policy half of `bmaml train` and `bmaml evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bmaml.evaluation.evaluate import Evaluation
    from bmaml.training.run import Run


def known(family: str) -> bool:
    """Return whether `family` is the name of a family of environments."""
    from bmaml.rl.recipes import WORLDS

    return family in WORLDS


def train(
    family: str,
    method: str,
    settings: dict[str, Any],
    sizes: dict[str, Any],
    out: Path,
    *,
    horizon: int | None,
    save_every: int | None,
) -> Run:
    """Meta-train a method for policies on a family of environments and save the run in the folder `out`.

    - `family`, `method`: names of the family and of the method.
    - `settings`: settings of the method.
    - `sizes`: meta-steps, batch and other fields of the plan.
    - `horizon`: steps of an episode; None takes the family's.
    - `save_every`: meta-steps between checkpoints.

    Raises: InputError for a setting that the method does not have.
    """
    import bmaml
    from bmaml.rl.recipes import build_policy_method, build_policy_plan, build_world
    from bmaml.training.progress import BarProgress

    world = build_world(family, horizon=horizon)
    chosen, plan = build_policy_method(method, family, world, **settings), build_policy_plan(family, **sizes)
    about = {"kind": "control", "tasks": family, "method": method}
    progress = BarProgress(f"{method} on {family}")
    return bmaml.train(chosen, world, plan, directory=out, about=about, save_every=save_every, progress=progress)


def evaluate(folder: Path, *, steps: Sequence[int] | None, count: int, seed: int) -> Evaluation:
    """Return the mean return of the saved run in `folder` on `count` new tasks, after the numbers of updates in `steps`."""
    import dataclasses

    import bmaml
    from bmaml.rl import PolicyMethod
    from bmaml.rl.returns import evaluate_policies
    from bmaml.training.run import source

    run, wanted = bmaml.load(folder), sorted(set(steps or (0, 1, 2, 3)))
    assert isinstance(run.method, PolicyMethod)  # its record says so
    world = source(folder)
    found = evaluate_policies(run.method, run.meta, world, updates=wanted[-1], count=count, seed=seed)
    rows = [row for row in found.rows if row.steps in wanted]
    return dataclasses.replace(found, rows=rows, scores={k: v for k, v in found.scores.items() if k[1] in wanted})


def show(results: dict[str, Evaluation]) -> None:
    """Print a table for each method in `results`."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    for name, evaluation in results.items():
        console.print(evaluation.table(name, given="trajectories", taken="updates"))
