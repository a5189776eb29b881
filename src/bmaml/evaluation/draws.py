"""Draws the tasks that a learner is scored on, as a function of seed and index alone."""

from __future__ import annotations

import jax
from jaxtyping import Array, PRNGKeyArray

from bmaml.tasks.base import AbstractTasks, ScoredTask


def draw_task(tasks: AbstractTasks, key: PRNGKeyArray, index: Array, given: Array) -> ScoredTask:
    """Return the task of an index, `given` shots of its support unmasked, and the noise-free targets of its query.

    The support is padded to the most shots of `tasks`, so that one program serves all. Fewer shots are a prefix of more.
    """
    return tasks.evaluation_task(jax.random.fold_in(jax.random.fold_in(key, 7), index), index, given)
