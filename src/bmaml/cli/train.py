"""`bmaml train` and `bmaml resume`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bmaml.cli.groups import OptionGroup, add_command, refuse
from bmaml.cli.names import FAMILY_NAMES, NUMBER_METHODS, OBJECTIVE_NAMES, PATHS, POLICY_NAMES, WORLD_NAMES
from bmaml.cli.options import TYPED, must_be_a_run, whole_numbers

if TYPE_CHECKING:
    from bmaml.methods import Method
    from bmaml.rl import AbstractWorld, PolicyMethod
    from bmaml.tasks.base import AbstractTasks
    from bmaml.training.plan import Plan

Settings = Annotated[
    str, typer.Option(help="tuned (this library's), or paper: the settings, network and training of the method's own paper.")
]
Shots = Annotated[str | None, typer.Option(help="Support sizes, such as 5 or 3,5,10: a task has one of them at random.")]


@dataclass(frozen=True)
class PlanOptions(OptionGroup):
    """How long a run trains, and its outer steps. None takes the recipe's value."""

    TITLE: ClassVar[str] = "Training"
    steps: Annotated[int | None, typer.Option(min=1, help="Meta-steps.")] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Tasks in a meta-batch.")] = None
    learning_rate: Annotated[float | None, typer.Option(help="Outer step size.")] = None
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0


@dataclass(frozen=True)
class InnerOptions(OptionGroup):
    """How to adapt to a task. None takes the recipe's value."""

    TITLE: ClassVar[str] = "Adaptation"
    particles: Annotated[int | None, typer.Option(min=1, help="Particles (codes of experts).")] = None
    inner_steps: Annotated[int | None, typer.Option(min=0, help="Inner steps of adaptation.")] = None
    inner_learning_rate: Annotated[float | None, typer.Option(help="Inner step size.")] = None


@dataclass(frozen=True)
class PointOptions(OptionGroup):
    """Options for tasks with given points alone."""

    TITLE: ClassVar[str] = "For tasks of points"
    objective: Annotated[
        str | None, typer.Option(help=f"Another objective for the method's learner: {OBJECTIVE_NAMES}; {PATHS}.")
    ] = None
    shots: Shots = None
    queries: Annotated[int | None, typer.Option(min=1, help="Query points of a task (default: the family's).")] = None
    task_count: Annotated[
        int | None,
        typer.Option(min=1, help="Train on this many fixed tasks, not endless ones. With few, --steps is less by default."),
    ] = None
    samples: Annotated[int | None, typer.Option(min=2, help="Points of each fixed task (default: 40).")] = None
    settings: Settings = "tuned"


@dataclass(frozen=True)
class PolicyOptions(OptionGroup):
    """Options for policies alone."""

    TITLE: ClassVar[str] = "For policies"
    trajectories: Annotated[int | None, typer.Option(min=1, help="Trajectories a particle gathers for a gradient.")] = None
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps after which an episode is cut off.")] = None
    surrogate: Annotated[str | None, typer.Option(help="What policies climb inside: sum, ratio or dice.")] = None
    outer: Annotated[str | None, typer.Option(help="How policies step outside: trust-region, clipped or gradient.")] = None
    fisher_episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes of each policy in the trust region's products (default: all).")
    ] = None


@dataclass(frozen=True)
class ProcessOptions(OptionGroup):
    """Options for one of several processes that train together."""

    TITLE: ClassVar[str] = "For several processes"
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Train with the other processes of a cluster, found by itself or given here.")
    ] = False
    coordinator: Annotated[str | None, typer.Option(help="Address and port of the first process (10.0.0.1:1234).")] = None
    processes: Annotated[int | None, typer.Option(min=1, help="How many processes there are.")] = None
    process: Annotated[int | None, typer.Option(min=0, help="Number of this process, from 0.")] = None

    def join(self) -> None:
        """Join the other processes, if there are to be several."""
        import bmaml

        if self.distributed:
            bmaml.distributed(self.coordinator, processes=self.processes, process=self.process)
        else:
            refuse(self, "one process trains alone without --distributed")


def add(app: typer.Typer) -> None:
    """Add this module's commands."""
    add_command(app, train, "bmaml train sinusoid --method bmaml --particles 10 --out runs/sine")
    add_command(app, resume, "bmaml resume runs/sine")


def train(
    tasks: Annotated[str, typer.Argument(help=f"Task family: {FAMILY_NAMES}; for policies {WORLD_NAMES}; {PATHS}.")],
    out: Annotated[Path, typer.Option(help="Folder for the run; must not hold one yet.")],
    plan: PlanOptions,
    inner: InnerOptions,
    points: PointOptions,
    acting: PolicyOptions,
    together: ProcessOptions,
    method: Annotated[str | None, typer.Option(help=f"{NUMBER_METHODS}; for policies {POLICY_NAMES}; {PATHS}.")] = None,
    save_every: Annotated[int | None, typer.Option(min=1, help="Meta-steps between checkpoints.")] = None,
) -> None:
    """Meta-train a method on a task family and save the run."""
    import bmaml
    from bmaml.cli.output import report
    from bmaml.cli.typed import typed_family, typed_method
    from bmaml.recipes.families import default_method
    from bmaml.rl.recipes import WORLDS
    from bmaml.training.processes import is_first
    from bmaml.training.progress import BarProgress

    together.join()
    tasks = typed_family(tasks)
    acts = tasks in WORLDS
    method = typed_method(method, policies=acts) if method else "maml" if acts else default_method(tasks)
    common = {
        "directory": out,
        "about": {
            "kind": "control" if acts else "family",
            "tasks": tasks,
            "method": _title(method, points.objective),
            "command": TYPED.get(),
        },
        "save_every": save_every,
        "progress": BarProgress(f"{method} on {tasks}"),
    }
    if acts:
        refuse(points, f"{tasks} is a family of environments, whose tasks are not given points")
        run = bmaml.train(*_of_policies(tasks, method, plan, inner, acting), **common)
    else:
        refuse(acting, f"{tasks} is no family of environments, in which policies act")
        run = bmaml.train(*_of_points(tasks, method, plan, inner, points), **common)
    if is_first():
        report(run, out)


def _title(method: str, objective: str | None) -> str:
    """Return what a run is called: its learner's method, and another objective if one was asked for."""
    return method if objective is None else f"{method} by {objective}"


def _of_points(
    family: str, method: str, plan: PlanOptions, inner: InnerOptions, points: PointOptions
) -> tuple[Method, AbstractTasks, Plan]:
    """Return what to train on tasks of points, on which tasks, and how long."""
    from bmaml.cli.options import is_paper
    from bmaml.cli.typed import typed_objective
    from bmaml.recipes.families import build_method, build_plan, build_tasks

    published = is_paper(points.settings)
    objective = typed_objective(points.objective) if points.objective else None
    tasks = build_tasks(
        family,
        seed=plan.seed,
        shots=whole_numbers(points.shots, "--shots"),
        queries=points.queries,
        count=points.task_count,
        samples=points.samples or 40,
    )
    chosen = build_method(method, family, objective=objective, published=published, **vars(inner))
    return chosen, tasks, build_plan(method, family, published=published, tasks=tasks.total, **vars(plan))


def _of_policies(
    family: str, method: str, plan: PlanOptions, inner: InnerOptions, acting: PolicyOptions
) -> tuple[PolicyMethod, AbstractWorld, Plan]:
    """Return what to train in a family of environments, the family, and how long."""
    from bmaml.rl.recipes import build_policy_method, build_policy_plan, build_world

    settings = vars(inner) | vars(acting)
    world = build_world(family, horizon=settings.pop("horizon"))
    return build_policy_method(method, family, world, **settings), world, build_policy_plan(family, **vars(plan))


def resume(run: Annotated[Path, typer.Argument(help="Folder of the run.")], together: ProcessOptions) -> None:
    """Continue an interrupted run from its last checkpoint.

    A fit of a table or of images is then scored on what it held out, as `bmaml fit` would have done.
    """
    import bmaml
    from bmaml.cli.output import report
    from bmaml.training.processes import is_first
    from bmaml.training.progress import BarProgress

    must_be_a_run(run)
    together.join()
    resumed = bmaml.resume(run, progress=BarProgress(str(run)))
    if not is_first():
        return
    report(resumed, run)
    kind = bmaml.about(run).get("kind")
    if kind == "FewShotRegressor":
        from bmaml.cli import on_tables

        on_tables.finish(run)
    elif kind == "FewShotClassifier":
        from bmaml.cli import on_images

        on_images.finish(run)
