"""Rows padded to a few lengths, so that JAX compiles one program for each of these lengths instead of each number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import length_class

MOST = 1024
"""Rows that are asked for together at most."""


def chunks(x: np.ndarray, most: int = MOST) -> Iterator[tuple[slice, jax.Array]]:
    """Yield slices of at most `most` rows of `x` and their inputs, each padded with repeats of its own rows.

    So an acquisition that looks at all rows together sees only rows that exist.
    """
    for start in range(0, len(x), most):
        rows = slice(start, min(start + most, len(x)))
        count = rows.stop - rows.start
        yield rows, jnp.asarray(x[rows][np.arange(length_class(count)) % count])


def over_rows(
    answer: Callable[[jax.Array], tuple[jax.Array, ...]], x: np.ndarray, axis: int = 0, most: int = MOST
) -> tuple[np.ndarray, ...]:
    """Return the arrays that `answer` returns on all rows of `x`, computed in padded chunks of at most `most` rows.

    `axis` is the axis of the rows in each array.
    """
    parts = []
    for rows, padded in chunks(x, most):
        count = rows.stop - rows.start
        parts.append([np.asarray(array).take(range(count), axis) for array in answer(padded)])
    return tuple(np.concatenate(arrays, axis) for arrays in zip(*parts, strict=True))
