"""The table of task families: one row for each, with what training and scoring need."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from bmaml.errors import InputError, said
from bmaml.rows import Rows
from bmaml.tasks.base import AbstractTasks, drawn_sizes
from bmaml.tasks.gaussian_process import KERNELS, GaussianProcesses, Kernel
from bmaml.tasks.sinusoid import Sinusoids, ambiguous, maml_sinusoids

Build = Callable[[], AbstractTasks]
_Build = TypeVar("_Build", bound=Build)
# Support sizes of Gaussian processes. The papers draw them from 3 to 47.
_COUNTS = (5, 10, 20, 40)


@dataclass(frozen=True)
class TaskSpec:
    """A row of the table of task families.

    - `name`: in lower case with hyphens, as it is typed.
    - `build`: a source class, or a function that returns a source. It is called without arguments.
    - `shots`: support sizes in training (None: those of the source as it is built).
    - `judged`: support sizes at which a leaderboard scores (None: those in training).
    - `queries`: query points of a task in training (None: those of the source as it is built).
    - `settings`: which settings of a method apply: those for "sinusoids", for Gaussian "processes" of one input, or for
      "tables", which suit inputs and targets of about unit scale.
    - `hidden`: widths of the hidden layers of a network that is adapted as a whole.
    - `inner_steps`, `clip`: inner steps, and the bound on the norm of an inner gradient, for methods without their own.
    - `input_scale`: multiplies the inputs of the features below exact heads.
    """

    name: str
    build: Build
    shots: tuple[int, ...] | None = None
    judged: tuple[int, ...] | None = None
    queries: int | None = None
    settings: Literal["sinusoids", "processes", "tables"] = "tables"
    hidden: tuple[int, ...] = (64, 64)
    inner_steps: int = 5
    clip: float | None = 10.0
    input_scale: float = 1.0

    @property
    def made_by(self) -> Build:
        """The class or function that makes the source."""
        return self.build

    def source(self, shots: tuple[int, ...] | None = None, queries: int | None = None) -> AbstractTasks:
        """Return the family's tasks, with other support sizes (`shots`) or query points (`queries`) if given.

        Raises: InputError if the tasks cannot have so many.
        """
        tasks, shots, queries = self.build(), shots or self.shots, queries or self.queries
        if shots is None and queries is None:
            return tasks
        drawn = drawn_sizes(tasks)
        return tasks.sized(shots or (drawn.shots,), queries or drawn.queries)


def _processes(name: str, *kernels: Kernel) -> TaskSpec:
    return TaskSpec(name, functools.partial(GaussianProcesses, kernels=kernels), _COUNTS, _COUNTS, 20, "processes")


_ROWS = (
    TaskSpec("sinusoid", Sinusoids, (3, 5, 10), (3, 5, 10, 20), 20, "sinusoids", (40, 40, 40), input_scale=0.4),
    TaskSpec("maml-sinusoid", maml_sinusoids, (5, 10), (5, 10), 20, "sinusoids", (40, 40), 1, None, 0.4),
    TaskSpec("ambiguous", ambiguous, (5, 10), (5, 10), 20, "sinusoids", (40, 40), input_scale=0.4),
    _processes("gp-rbf", "rbf"),
    _processes("gp-matern", "matern"),
    _processes("gp-periodic", "periodic"),
    _processes("gp-mixture", *KERNELS),
)


def as_family(name: str, found: Any) -> TaskSpec:
    """Return a row called `name` for what a plug-in or a path leads to (`found`): a row, a source, or what makes a source.

    Raises: InputError for anything else.
    """
    if isinstance(found, TaskSpec):
        return replace(found, name=name) if ":" in name else found
    if isinstance(found, AbstractTasks):
        return TaskSpec(name, lambda: found)
    if not callable(found) or (inspect.isclass(found) and not issubclass(found, AbstractTasks)):
        raise InputError(
            f"{name} is {said(found)}, and no source of tasks: give a bmaml.tasks.TaskSpec, a bmaml.tasks.AbstractTasks, or a "
            "function that returns one."
        )
    make: Any = found
    return TaskSpec(name, make)


FAMILIES: Rows[TaskSpec] = Rows("task family", "bmaml.tasks", as_family, _ROWS)
"""Every family of tasks whose points are given."""


def add(spec: TaskSpec) -> TaskSpec:
    """Add the row `spec` to the table of task families and return it. The command line and the leaderboard then know it by
    name.

    Raises: InputError for a name that is taken, or that is not lower case with hyphens.
    """
    return FAMILIES.add(spec)


def family(name: str, **row: Any) -> Callable[[_Build], _Build]:
    """Return a decorator that adds a source class, or a function that makes a source, to the table of task families as `name`.

    `row` holds further fields of `TaskSpec`, such as `shots` or `judged`.
    Raises: InputError in the cases of `add`.
    """

    def decorate(build: _Build) -> _Build:
        add(TaskSpec(name, build, **row))
        return build

    return decorate
