"""Data sets with padding, and tasks made of two of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Num

from bmaml.errors import InputError, said
from bmaml.io.notebook import facts_html
from bmaml.io.registry import register

# NumPy arrays stand in for JAX's on the host, as in a table that is still being split. A type checker need not tell them apart.
if TYPE_CHECKING:
    Leaf = Array
else:
    Leaf = Array | np.ndarray
_SHORT, _LONG = 8, 1024


@register("data/points")
class Data(eqx.Module):
    """A padded data set of one task: inputs, targets, and a mask that says which rows are real.

    - `x`: inputs of shape `(n, inputs)`.
    - `y`: targets of shape `(n, outputs)` for regression, or integers of shape `(n,)` for classes.
    - `mask`: shape `(n,)`. An entry of 0 removes a row from every sum, and 1 keeps the row. Another value multiplies the row's
      log-likelihood (exact heads accept only 0 and 1). Numbers in a masked row must be finite.
    """

    x: Num[Leaf, "*batch n inputs"]
    y: Num[Leaf, "*batch n"] | Num[Leaf, "*batch n outputs"]
    mask: Float[Leaf, "*batch n"]

    def __or__(self, other: Data) -> Data:
        """Return the union of two data sets of the same task, rows of `self` first."""
        axis = self.mask.ndim - 1
        joined = [jnp.concatenate([a, b], axis) for a, b in ((self.x, other.x), (self.y, other.y))]
        return Data(joined[0], joined[1], jnp.concatenate([self.mask, other.mask], axis))

    @property
    def count(self) -> Float[Array, "*batch"]:
        """Number of real rows (the sum of the mask)."""
        return self.mask.sum(-1)


@register("data/task")
class Task(eqx.Module):
    """One task: `support` holds the points to adapt to, and `query` holds the points to predict."""

    support: Data
    query: Data

    def _repr_html_(self) -> str:
        return facts_html("Task", {"support": shape_of(self.support), "query": shape_of(self.query)})


def shape_of(rows: Data) -> str:
    """Return in words how many real rows a data set has (`rows`), and how wide they are."""
    if rows.mask.ndim > 1:
        return f"{rows.mask.shape[0]} data sets of up to {rows.mask.shape[-1]} rows"
    targets = "a class" if rows.y.ndim == 1 else f"{rows.y.shape[-1]} output{'s' * (rows.y.shape[-1] > 1)}"
    return f"{int((np.asarray(rows.mask) > 0).sum())} rows, {rows.x.shape[-1]} input{'s' * (rows.x.shape[-1] > 1)}, {targets}"


def data(x, y, mask=None, *, dtype=None) -> Data:
    """Return `Data` from array-likes.

    - `x`: inputs, `(n, inputs)`; a one-dimensional array becomes one column.
    - `y`: targets; one-dimensional floats become one column, integers stay classes.
    - `mask`: weights of the rows, `(n,)`; all 1 by default.
    - `dtype`: type of the floats; JAX's default float by default.

    Raises: InputError if `x` and `y` have different numbers of rows, or hold something else than numbers.

    >>> data([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    Data(x=f32[3,1], y=f32[3,1], mask=f32[3])
    """
    dtype = dtype or jnp.zeros(()).dtype
    x, y = (values if isinstance(values, Tracer) else rows_of(values, name) for values, name in ((x, "x"), (y, "y")))
    # A column of whole numbers is a column of numbers. Without an axis of outputs, whole numbers are classes.
    numbers = jnp.issubdtype(y.dtype, jnp.floating) or y.ndim > 1
    with np.errstate(over="ignore"):  # Infinite numbers are named where they are used.
        # NumPy does this, since JAX would need a program for each number of rows.
        x, y = x.astype(dtype), y.astype(dtype) if numbers else y
    x = x[:, None] if x.ndim == 1 else x
    y = y[:, None] if numbers and y.ndim == 1 else y
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} rows and y has {len(y)}: give one target row for each input row.")
    weights = np.ones(len(x), dtype) if mask is None else mask
    return Data(_on_device(x), _on_device(y), jnp.asarray(_on_device(weights), dtype))


def _on_device(values: Array | np.ndarray) -> Array:
    """Return `values` as an array of JAX. One of NumPy is copied, for which `jnp.asarray` may compile a program."""
    return jax.device_put(values) if isinstance(values, np.ndarray) else jnp.asarray(values)


def rows_of(values: object, name: str) -> np.ndarray:
    """Return array-like `values` as an array of numbers whose first axis is its rows; `name` is their name in messages.

    Truths become 0 and 1.
    Raises: InputError for what has no rows, rows of different lengths, masked numbers, or cells that are no numbers.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise InputError(f"{name} is a masked array with masked numbers: fill these in, or leave their rows out.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype.kind == "O" and values is not None else array
    except (TypeError, ValueError):
        array = None
    if array is None or not (array.dtype.kind in "biuf" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise InputError(
            f"{name} is {said(values)}, which is no array of numbers: give rows of equal length, such as [[0.5], [1.0]]."
        )
    if not array.ndim:
        raise InputError(f"{name} is the number {array}: give rows, such as [[{array}]].")
    return array.astype(np.int32) if array.dtype.kind == "b" else array


def check_finite(values: np.ndarray, name: str) -> None:
    """Check that every number in the rows `values` is finite; `name` is their name in messages.

    Raises: InputError that names the row and the column of the first one that is not.
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        column = f", column {bad[0][1]}" if values.ndim > 1 else ""
        number = values[tuple(bad[0])]
        raise InputError(
            f"{name}, row {bad[0][0]}{column} (counted from 0) is {number} in the model's precision: give a finite number, or "
            "leave the row out."
        )


def check_points(points: Data, name: str = "the points") -> None:
    """Check that the numbers of the data set `points` are finite, and that its mask is of weights of at least 0.

    `name` is the name of the data set in messages.
    Raises: InputError that names the row and the column of the first number that does not fit.
    """
    for part in ("x", "y", "mask"):
        check_finite(np.asarray(getattr(points, part)), f"{part} of {name}")
    if (np.asarray(points.mask) < 0).any():
        raise InputError(f"the mask of {name} has a weight below 0: give 1 for each row that counts, and 0 for the others.")


def same_rank(*arrays: Array | np.ndarray) -> tuple[Array, ...]:
    """Return `arrays` with axes of length 1 in front, so that all have as many axes as the one with the most.

    So the code says where arrays broadcast as in NumPy. A number without axes stays as it is.
    """
    most = max(jnp.ndim(array) for array in arrays)
    return tuple(_led(array, most - jnp.ndim(array)) for array in arrays)


def _led(array: Array | np.ndarray, extra: int) -> Array:
    array = jnp.asarray(array) if isinstance(array, np.ndarray) else array
    return jnp.expand_dims(array, tuple(range(extra))) if extra and jnp.ndim(array) else array


def pad(points: Data, rows: int) -> Data:
    """Return the data set `points` with masked rows of zeros appended, so that it has `rows` rows.

    Raises: InputError if the data set is already longer.

    >>> pad(data([0.0, 1.0], [1.0, 3.0]), 4).mask
    Array([1., 1., 0., 0.], dtype=float32)
    """
    extra = rows - points.mask.shape[-1]
    if extra < 0:
        raise InputError(f"a data set of {points.mask.shape[-1]} rows cannot be padded to {rows}: ask for at least as many.")

    def grow(leaf: Array) -> Array:
        ends = [(0, extra)] + [(0, 0)] * (leaf.ndim - 1)
        # NumPy needs no program for each number of rows. Inside a program there is nothing to save.
        return jnp.pad(leaf, ends) if isinstance(leaf, Tracer) else jnp.asarray(np.pad(np.asarray(leaf), ends))

    return Data(grow(points.x), grow(points.y), grow(points.mask))


def length_class(rows: int) -> int:
    """Return the length that `rows` rows are filled up to: a power of two, at least 8, and past 1,024 a multiple of that.

    Programs are then compiled for each of a few lengths, and not for each number of rows.
    """
    if rows > _LONG:
        return -(-rows // _LONG) * _LONG
    return max(_SHORT, 1 << (rows - 1).bit_length() if rows else 0)


def stack(sets: Sequence[Data]) -> Data:
    """Return the ragged data sets `sets` as one padded `Data` with a leading task axis. NumPy does the work on the host, with
    one copy.
    """
    rows = max(len(s.mask) for s in sets)

    def column(name: str) -> Array:
        leaves = [np.asarray(getattr(s, name)) for s in sets]
        out = np.zeros((len(leaves), rows, *leaves[0].shape[1:]), leaves[0].dtype)
        for i, leaf in enumerate(leaves):
            out[i, : len(leaf)] = leaf
        return jnp.asarray(out)

    return Data(column("x"), column("y"), column("mask"))
