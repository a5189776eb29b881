"""What a task by itself and many tasks together share when they answer."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.special import ndtri

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


def around_unknown(
    ends: np.ndarray, mean: np.ndarray, std: np.ndarray, unknown: np.ndarray, tail: jax.Array, *, upper: bool
) -> np.ndarray:
    """Return one end of each interval where the task's own level may be unknown. The interval is then that of a normal.

    - `ends`: the ends where the level is known, in the table's units, of shape (..., outputs).
    - `mean`, `std`: mean and deviation, in which the unknown level is counted.
    - `unknown`: standard deviation of the unknown level, 0 where it is known.
    - `tail`, `upper`: share beyond the end, and whether it is the upper one.
    """
    away = -ndtri(float(tail)) if upper else ndtri(float(tail))
    return np.where(unknown > 0, mean + away * std, ends)


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
