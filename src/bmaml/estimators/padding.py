"""Rows padded to a few lengths, so that JAX compiles one program for each of these lengths instead of each number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data, pad
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.base import AbstractLearner, Meta

_FEWEST, _MOST = 8, 1024


def bucket(count: int) -> int:
    """Return the length that so many rows are filled up to: a power of two, at least 8."""
    return max(_FEWEST, 1 << (count - 1).bit_length() if count else 0)


def chunks(x: np.ndarray, most: int = _MOST) -> Iterator[tuple[slice, jax.Array]]:
    """Yield slices of at most `most` rows of `x` and their inputs, each padded with repeats of its own rows.

    So an acquisition that looks at all rows together sees only rows that exist.
    """
    for start in range(0, len(x), most):
        rows = slice(start, min(start + most, len(x)))
        count = rows.stop - rows.start
        yield rows, jnp.asarray(x[rows][np.arange(bucket(count)) % count])


def over_rows(
    answer: Callable[[jax.Array], tuple[jax.Array, ...]], x: np.ndarray, axis: int = 0, most: int = _MOST
) -> tuple[np.ndarray, ...]:
    """Return the arrays that `answer` returns on all rows of `x`, computed in padded chunks of at most `most` rows.

    `axis` is the axis of the rows in each array.
    """
    parts = []
    for rows, padded in chunks(x, most):
        count = rows.stop - rows.start
        parts.append([np.asarray(array).take(range(count), axis) for array in answer(padded)])
    return tuple(np.concatenate(arrays, axis) for arrays in zip(*parts, strict=True))


def adapt_padded(learner: AbstractLearner, meta: Meta, support: Data, seed: int) -> AbstractPosterior:
    """Return the posterior of a task whose support is filled up with masked rows."""
    return _adapt(learner, meta, pad(support, bucket(len(support.mask))), jax.random.key(seed))


@eqx.filter_jit
def _adapt(learner: AbstractLearner, meta: Meta, support: Data, key: jax.Array) -> AbstractPosterior:
    return learner.adapt(meta, support, key=key)
