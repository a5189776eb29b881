"""`bmaml train` and `bmaml resume`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bmaml.cli.names import FAMILY_NAMES, NUMBER_METHODS, OBJECTIVE_NAMES, PATHS, POLICY_NAMES, WORLD_NAMES
from bmaml.cli.options import must_be_absent, whole_numbers

if TYPE_CHECKING:
    from bmaml.training.run import Run

Shots = Annotated[str | None, typer.Option(help="Support sizes, such as 5 or 3,5,10: a task has one of them at random.")]


def add(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(resume)


def train(
    tasks: Annotated[str, typer.Argument(help=f"Task family: {FAMILY_NAMES}; for policies {WORLD_NAMES}; {PATHS}.")],
    out: Annotated[Path, typer.Option(help="Folder for the run; must not hold one yet.")],
    method: Annotated[str | None, typer.Option(help=f"{NUMBER_METHODS}; for policies {POLICY_NAMES}; {PATHS}.")] = None,
    objective: Annotated[
        str | None, typer.Option(help=f"Another objective for the method's learner: {OBJECTIVE_NAMES}; {PATHS}.")
    ] = None,
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Tasks in a meta-batch.")] = None,
    inner_steps: Annotated[int | None, typer.Option(min=0, help="Inner steps of adaptation.")] = None,
    inner_learning_rate: Annotated[float | None, typer.Option(help="Inner step size.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Outer step size.")] = None,
    shots: Shots = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Query points of a task (default: 20).")] = None,
    task_count: Annotated[int | None, typer.Option(min=1, help="Train on this many fixed tasks, not endless ones.")] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Points of each fixed task (default: 40).")] = None,
    trajectories: Annotated[int | None, typer.Option(min=1, help="Trajectories a particle gathers for a gradient.")] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps after which an episode is cut off.")] = None,
    surrogate: Annotated[str | None, typer.Option(help="What policies climb inside: sum, ratio or dice.")] = None,
    outer: Annotated[str | None, typer.Option(help="How policies step outside: trust-region, clipped or gradient.")] = None,
    fisher_episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes of each policy in the trust region's products (default: all).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    save_every: Annotated[int | None, typer.Option(min=1, help="Meta-steps between checkpoints.")] = None,
) -> None:
    """Meta-train a method on a task family and save the run."""
    from bmaml.cli import on_policies as policies
    from bmaml.cli.typed import typed_family, typed_method, typed_objective
    from bmaml.recipes.families import default_method

    tasks = typed_family(tasks)
    acts = policies.known(tasks)
    method = typed_method(method, policies=acts) if method else "maml" if acts else default_method(tasks)
    objective = typed_objective(objective) if objective else None
    points = {
        "--objective": objective,
        "--shots": shots,
        "--queries": queries,
        "--task-count": task_count,
        "--samples": samples,
    }
    acting = {"trajectories": trajectories, "surrogate": surrogate, "outer": outer, "fisher_episodes": fisher_episodes}
    sizes = {"steps": steps, "batch": batch, "seed": seed, "learning_rate": learning_rate}
    inner = {"particles": particles, "inner_steps": inner_steps, "inner_learning_rate": inner_learning_rate}
    if acts:
        must_be_absent(points, f"{tasks} is a family of environments, whose tasks are not given points")
        run = policies.train(tasks, method, inner | acting, sizes, out, horizon=horizon, save_every=save_every)
    else:
        flags = {f"--{name.replace('_', '-')}": value for name, value in acting.items()} | {"--horizon": horizon}
        must_be_absent(flags, f"{tasks} is no family of environments, in which policies act")
        chosen = {
            "shots": whole_numbers(shots, "--shots"),
            "queries": queries,
            "count": task_count,
            "samples": samples or 40,
        }
        run = _train_points(tasks, method, chosen, inner | {"objective": objective}, sizes, out, save_every)
    report(run, out)


def _train_points(
    tasks: str,
    method: str,
    points: dict[str, Any],
    inner: dict[str, Any],
    sizes: dict[str, Any],
    out: Path,
    save_every: int | None,
) -> Run:
    import bmaml
    from bmaml.recipes.families import build_method, build_plan, build_tasks
    from bmaml.training.progress import BarProgress

    source = build_tasks(tasks, seed=sizes["seed"], **points)
    chosen, plan = build_method(method, tasks, **inner), build_plan(method, tasks, **sizes)
    about = {"kind": "family", "tasks": tasks, "method": method}
    progress = BarProgress(f"{method} on {tasks}")
    return bmaml.train(chosen, source, plan, directory=out, about=about, save_every=save_every, progress=progress)


def resume(run: Annotated[Path, typer.Argument(help="Folder of the run.")]) -> None:
    """Continue an interrupted run from its last checkpoint."""
    import bmaml
    from bmaml.training.progress import BarProgress

    report(bmaml.resume(run, progress=BarProgress(str(run))), run)


def report(run: Run, folder: Path) -> None:
    """Print how the `run` in `folder` ended."""
    skipped = f", {run.skipped} meta-steps skipped as not finite" if run.skipped else ""
    early = f" (stopped early: {run.stopped})" if run.stopped else ""
    typer.echo(f"trained {run.step} meta-steps{early}, last loss {run.loss:.4g}{skipped}; saved in {folder}")
