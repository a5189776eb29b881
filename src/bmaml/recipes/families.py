"""Methods and plans for task families by name: what the command line trains and leaderboards compare."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bmaml.errors import InputError
from bmaml.methods import METHODS, Method, MethodSpec, Tuned, choose, fitting
from bmaml.methods.made_of import Offer
from bmaml.methods.spec import Outcome
from bmaml.recipes.sinusoids import sinusoid_offer
from bmaml.recipes.tables import as_pair, class_offer, table_offer
from bmaml.tasks import FAMILIES, AbstractTasks, FiniteTasks, Sinusoids, TaskSpec
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
    """Return a family's task source; with `count` a finite set of that many tasks.

    A sinusoid has `samples` fixed points. A task of another family is the same draw whenever it comes.
    Raises: InputError for an unknown family, or shots that leave no point of a fixed task to ask for.
    """
    tasks = FAMILIES.find(name).source(shots, queries)
    if count is None:
        return tasks
    if not isinstance(tasks, Sinusoids):
        return FiniteTasks(tasks, count, seed)
    if max(tasks.shots) >= samples:
        raise InputError(
            f"{max(tasks.shots)} shots leave nothing of {samples} samples to ask for: use fewer shots or more samples."
        )
    return tasks.fixed(count, samples, jax.random.key(seed))


def outcome(family: TaskSpec) -> Outcome:
    """Return what the targets of a family are: "numbers", or "classes" where they are whole numbers, one a row."""
    query = jax.eval_shape(family.source().sample, jax.random.key(0)).query
    return "classes" if jnp.issubdtype(query.y.dtype, jnp.integer) and query.y.ndim == 1 else "numbers"


def methods_for(name: str) -> tuple[str, ...]:
    """Return the names of the methods that fit a family.

    Raises: InputError for an unknown family.
    """
    return fitting(outcome(FAMILIES.find(name)))


def judged_shots(name: str) -> tuple[int, ...]:
    """Return the support sizes that a leaderboard scores a family at: the row's, those trained with, or all that is given.

    Raises: InputError for an unknown family.
    """
    row = FAMILIES.find(name)
    return row.judged or row.shots or (_most_shots(row.source()),)


def _most_shots(tasks: AbstractTasks) -> int:
    rows = len(jax.eval_shape(tasks.sample, jax.random.key(0)).support.mask)
    return rows // int(tasks.support_rows(1))


def _offer(family: TaskSpec) -> Offer:
    if family.settings == "sinusoids":
        return sinusoid_offer(family)
    tasks = family.source()
    offer = class_offer if outcome(family) == "classes" else table_offer
    own = {"hidden": family.hidden, "inner_steps": family.inner_steps, "clip": family.clip}
    return offer(tasks.inputs, tasks.outputs, **own)


def _tuned(row: MethodSpec, family: TaskSpec) -> Tuned:
    return row.sinusoids if family.settings == "sinusoids" else row.tables


def build_method(name: str, family: str = "sinusoid", **settings: Any) -> Method:
    """Return a method for a family with the settings found for it, changed by those of `settings` that are not None.

    Raises: InputError for an unknown name, a method that does not fit the family's targets, or a setting that the method does
    not have.
    """
    home = FAMILIES.find(family)
    row = choose(name, outcome(home))
    return as_pair(row.build(_offer(home), _tuned(row, home), **settings), name)


def build_plan(
    name: str,
    family: str = "sinusoid",
    *,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
) -> Plan:
    """Return how to train a method on a family, with other meta-steps, meta-batches or outer rates where they are given.

    Raises: InputError for an unknown name.
    """
    tuned = _tuned(METHODS.find(name), FAMILIES.find(family))
    return tuned.trained(steps=steps, batch=batch, learning_rate=learning_rate, seed=seed)
