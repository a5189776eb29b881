"""Methods and plans for task families by name: what the command line trains and leaderboards compare."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bmaml.errors import InputError
from bmaml.methods import METHODS, Method, MethodSpec, Tuned, as_published, choose, fitting
from bmaml.methods.made_of import Offer
from bmaml.methods.spec import Outcome
from bmaml.objectives import OBJECTIVES
from bmaml.recipes.processes import process_offer
from bmaml.recipes.sinusoids import sinusoid_offer
from bmaml.recipes.tables import as_pair, class_offer, table_offer
from bmaml.tasks import FAMILIES, AbstractTasks, FiniteTasks, Sinusoids, TaskSpec
from bmaml.tasks.base import drawn_sizes
from bmaml.training.plan import Plan


def build_tasks(
    name: str,
    *,
    shots: tuple[int, ...] | None = None,
    queries: int | None = None,
    count: int | None = None,
    samples: int = 40,
    seed: int = 0,
) -> AbstractTasks:
    """Return the task source of the family `name`.

    - `shots`, `queries`: support sizes and query points; None takes the family's.
    - `count`: number of tasks of a finite set; None is endless.
    - `samples`: points of each task in a finite set of sinusoids. A task of another family is the same draw every time.
    - `seed`: seed of a finite set.

    Raises: InputError for an unknown family, or shots that leave no query point in a fixed task.
    """
    tasks = FAMILIES.find(name).source(shots, queries)
    if count is None:
        return tasks
    if not isinstance(tasks, Sinusoids):
        return FiniteTasks(tasks, count, seed)
    if max(tasks.shots) >= samples:
        raise InputError(
            f"{max(tasks.shots)} shots leave no query point of {samples} samples: use fewer shots or more samples."
        )
    return tasks.fixed(count, samples, jax.random.key(seed))


def outcome(family: TaskSpec) -> Outcome:
    """Return what the targets of `family` are: "numbers", or "classes" if they are whole numbers, one for each row."""
    query = jax.eval_shape(family.source().sample, jax.random.key(0)).query
    return "classes" if jnp.issubdtype(query.y.dtype, jnp.integer) and query.y.ndim == 1 else "numbers"


def methods_for(name: str, *, published: bool = False) -> tuple[str, ...]:
    """Return the names of the methods that fit the family `name`; with `published` of those whose papers have settings for it.

    Raises: InputError for an unknown family.
    """
    every = fitting(outcome(FAMILIES.find(name)))
    return tuple(method for method in every if name in METHODS[method].published) if published else every


def default_method(name: str) -> str:
    """Return the name of the method that a family is trained with unless another is asked for.

    Raises: InputError for an unknown family.
    """
    return "protonet" if outcome(FAMILIES.find(name)) == "classes" else "experts"


def judged_shots(name: str) -> tuple[int, ...]:
    """Return the support sizes at which a leaderboard scores the family `name`: the row's, those of training, or the source's.

    Raises: InputError for an unknown family.
    """
    row = FAMILIES.find(name)
    return row.judged or row.shots or (drawn_sizes(row.source()).shots,)


def _offer(family: TaskSpec) -> Offer:
    if family.settings == "sinusoids":
        return sinusoid_offer(family)
    if family.settings == "processes":
        return process_offer(family)
    tasks = family.source()
    offer = class_offer if outcome(family) == "classes" else table_offer
    own = {"hidden": family.hidden, "inner_steps": family.inner_steps, "clip": family.clip}
    return offer(tasks.inputs, tasks.outputs, **own)


def _tuned(row: MethodSpec, family: TaskSpec) -> Tuned:
    known = {"sinusoids": row.sinusoids, "processes": row.processes or row.tables, "tables": row.tables}
    return known[family.settings]


def build_method(
    name: str, family: str = "sinusoid", *, objective: str | None = None, published: bool = False, **settings: Any
) -> Method:
    """Return the method `name` for a `family` with its tuned settings, changed by those of `settings` that are not None.

    With `published` the settings and the network are those of the method's paper.

    With an `objective` by name the method's learner is scored by that one, and the pair has no name of its own.
    Raises: InputError for an unknown name, a method that does not fit the family's targets, or a setting that the method does
    not have, or a paper that gives no settings for the family; PairError for an objective that does not fit the learner.
    """
    family_row = FAMILIES.find(family)
    row = choose(name, outcome(family_row))
    if published:
        method = as_published(name, family, **settings)[0]
    else:
        method = as_pair(row.build(_offer(family_row), _tuned(row, family_row), **settings), name)
    if objective is None:
        return method
    # Another pair is another method, which has no row.
    return dataclasses.replace(method, objective=OBJECTIVES.find(objective).objective, name=None)


def build_plan(
    name: str,
    family: str = "sinusoid",
    *,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    published: bool = False,
    tasks: int | None = None,
) -> Plan:
    """Return how to train the method `name` on a `family`; with `published` as its paper's authors train it.

    `steps`, `batch` and `learning_rate` replace the recipe's meta-steps, meta-batch and outer rate. `tasks` is their number if
    they are finite. A method that learns few tasks by heart then has fewer meta-steps.
    Raises: InputError for an unknown name, or a paper that gives no settings for the family.
    """
    row = METHODS.find(name)
    tuned = row.as_published(family) if published else _tuned(row, FAMILIES.find(family))
    return tuned.trained(steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, tasks=tasks)
