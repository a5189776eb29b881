"""Draw the tasks that a learner is scored on: a function of seed and index alone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import Task
from bmaml.errors import InputError
from bmaml.tasks.base import AbstractTasks, FixedTasks, split_rows
from bmaml.tasks.episodes import Episodes
from bmaml.tasks.sinusoid import Sinusoids


def total_tasks(tasks: AbstractTasks, shots: int, count: int) -> int:
    """Return the number of tasks to score."""
    if not isinstance(tasks, FixedTasks):
        return count
    fewest = int(np.asarray(tasks.rows.count).min())
    if shots >= fewest:
        raise InputError(f"{shots} shots leave nothing to ask for in a task of {fewest} rows: use fewer shots.")
    return min(count, len(tasks.rows.mask))


def draw_task(tasks: AbstractTasks, key: PRNGKeyArray, i: Array, given: Array, most: int, queries: int) -> tuple[Task, Array]:
    """Return the task of an index and its noise-free targets (the targets there are, where none is known).

    The support is always padded to the most shots, so that one program serves all; fewer shots are a prefix of more.
    """
    key = jax.random.fold_in(jax.random.fold_in(key, 7), i)
    if isinstance(tasks, Sinusoids):
        task, truth = _wave_task(tasks, key, most, queries)
        return _given(task, given), truth
    if isinstance(tasks, FixedTasks):
        rows = jax.tree.map(lambda leaf: leaf[i], tasks.rows)
        task = split_rows(tasks.ordered(rows, key), given, most, queries)
    else:
        task = _sized(tasks, most, queries).sample(key)
        if len(task.support.mask) < most:
            few = f"{type(tasks).__name__} gives {len(task.support.mask)} points of a task and shots are {most}"
            raise InputError(f"{few}: use fewer shots, or give it a field `shots` to set.")
        # Shots of an episode are rows of each class, and its rows go shot by shot.
        given = given * tasks.way if isinstance(tasks, Episodes) else given
    return _given(task, given), task.query.y


def _sized(tasks: AbstractTasks, shots: int, queries: int) -> AbstractTasks:
    """Return a source that gives so many shots and asks for so many points; of a source made from another, that one does."""
    known = {field.name for field in dataclasses.fields(tasks)}  # pyright: ignore[reportArgumentType]
    if "source" in known:
        source = _sized(tasks.source, shots, queries)  # pyright: ignore[reportAttributeAccessIssue]
        return dataclasses.replace(tasks, source=source)  # pyright: ignore[reportCallIssue]
    wanted = {"shots": (shots,), "queries": queries}
    return dataclasses.replace(tasks, **{name: value for name, value in wanted.items() if name in known})


def _given(task: Task, count: Array) -> Task:
    """Return the task with all but the first `count` rows of its support masked."""
    mask = task.support.mask * (jnp.arange(len(task.support.mask)) < count)
    return Task(dataclasses.replace(task.support, mask=mask), task.query)


def _wave_task(tasks: Sinusoids, key: PRNGKeyArray, shots: int, queries: int) -> tuple[Task, Array]:
    wave_key, support_key, query_key = jax.random.split(key, 3)
    wave = tasks.wave(wave_key)
    query = tasks.points(wave, query_key, queries)
    return Task(tasks.points(wave, support_key, shots), query), wave(query.x)
