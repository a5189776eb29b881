"""What a task by itself and many tasks together share when they answer."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.tables import Table

FUNCTIONS = 1000
"""Draws of the probability of yes, for its interval."""


def share_ends(posterior: AbstractPosterior, x: Array, key: PRNGKeyArray, tail: Array) -> tuple[Array, Array]:
    """Return both ends of the interval of a probability at rows `x`: what is not known of the task.

    The functions of `posterior` are drawn with `key`, and a share `tail` of the draws lies outside of each end.
    """
    drawn = posterior.sample_functions(x, key=key, count=FUNCTIONS)
    low, high = jnp.quantile(drawn, jnp.stack([tail, 1 - tail]), axis=0)
    return low, high


def check_finite(answers: np.ndarray | jax.Array, table: Table, points: Callable[[int], int]) -> None:
    """Check that the `answers` at the rows of `table`, on the first axis, are finite.

    `points` returns how many points the task of a row has adapted to.
    Raises: InputError that names the first row whose answer is not, and what to change.
    """
    finite = np.isfinite(answers).reshape(len(answers), -1).all(1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(
            f"the answer at {table.name}, {table.place(row)}, is not finite once the model has adapted to {points(row)} "
            "points: leave out a point with wild numbers, or fit the model again with a lower learning rate."
        )
