"""A model adapted to many new tasks: tasks of about equal length adapt together, in one compiled program for each length.

Rows are padded to a few lengths as for a single task, so that the numbers are those of a single task to rounding. Tasks come
in batches, and what is kept of one is gone when the next one comes. So memory does not grow with the number of tasks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import Data, length_class
from bmaml.distributions import interval_tail, level_shares
from bmaml.estimators.answers import around_unknown, check_finite, share_ends
from bmaml.estimators.padding import MOST
from bmaml.estimators.surprise import COMPARED, known_outputs, surprise, transforms
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.likelihoods import FAMILIES
from bmaml.tables import Schema, Table
from bmaml.tables.fit_columns import first_known
from bmaml.tables.new import NewBatch, NewRows
from bmaml.tables.outside import say_outside
from bmaml.tables.table import listed
from bmaml.training.run import Run

# Tasks that adapt together at most, and padded rows of all of them. More would no longer fit a CPU's cache.
_TOGETHER, _CELLS = 64, 1024


@dataclass(frozen=True)
class ManyAnswers:
    """What a model answers for the rows of some new tasks, in the table's units.

    - `batch`: the tasks and the rows asked for.
    - `names`: the task's name of each row.
    - `mean`, `std`, `low`, `high`: mean, standard deviation and interval at each row, of shape (rows, outputs).
    - `shares`: probability of each level of an ordered outcome, of shape (rows, levels). Other outcomes have no levels.
    - `surprise`: for each task of the batch how likely given rows as unlikely as its own are (see `AdaptedTask.surprise`), NaN
      where this was not asked for.
    """

    batch: NewBatch
    names: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shares: np.ndarray
    surprise: np.ndarray

    @property
    def rows(self) -> Table:
        """The rows that are answered."""
        return self.batch.asked


class _Encoded(NamedTuple):
    """The rows of a batch, standardised, and what each task is seen from."""

    x: np.ndarray
    y: np.ndarray
    asked: np.ndarray
    seen: dict[str, np.ndarray]


@dataclass
class ManyTasks:
    """A fitted model that answers for many tasks.

    - `run`, `schema`: the fitted run, and the meaning of the columns.
    - `level`: share of measurements that an interval should hold.
    - `seed`: seed of adaptation.
    - `checked`: of how many tasks, from the first one on, it is found out how unlike the fitted ones they are.

    Raises: InputError if `level` is not a probability strictly between 0 and 1.
    """

    run: Run[Data, AbstractPosterior]
    schema: Schema
    level: float = 0.9
    seed: int = 0
    checked: int = 0
    _filled: set[tuple[int, ...]] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._tail = interval_tail(self.level)
        family = FAMILIES.find(self.schema.family)
        self._cells, self._shares = family.cells, family.shares
        self._key = jax.random.key(self.seed)

    def answers(self, rows: NewRows) -> Iterator[ManyAnswers]:
        """Yield the answers for the tasks of `rows`, in order, a batch at a time.

        Raises: InputError for a cell that does not fit, or an answer that is not finite.
        """
        left = self.checked
        for batch in rows.batches():
            encoded = self._encode(batch)
            found, shares = self._answer(batch, encoded)
            share = self._surprises(batch, encoded, min(left, len(batch.tasks)))
            left -= min(left, len(batch.tasks))
            names = np.array([rows.names[place] for place in batch.tasks], dtype=object)[batch.asked_by]
            mean, std, low, high = self._decode(batch, encoded, found)
            yield ManyAnswers(batch, names, mean, std, low, high, shares, share)

    def _encode(self, batch: NewBatch) -> _Encoded:
        schema, count = self.schema, len(batch.tasks)
        seen = _references(schema, batch.given, batch.given_by, count)
        some = {name: values.copy() for name, values in seen.items()}
        bare = np.bincount(batch.given_by, minlength=count)[batch.asked_by] == 0
        relative = [column.name for column in schema.inputs if column.level is not None]
        if relative and bare.any():
            first = _references(schema, batch.asked, batch.asked_by, count, tuple(relative))
            some |= {name: np.where(np.isnan(some[name]), first[name], some[name]) for name in relative}
            self._say(
                "reference", f"tasks without a given row have {listed(relative)} counted from the first row that is asked for."
            )
        at = {name: values[batch.asked_by] for name, values in some.items()}
        own = {name: values[batch.given_by] for name, values in seen.items()}
        self._said |= say_outside(batch.asked, schema, {name: seen[name][batch.asked_by] for name in seen}, but=self._said)
        x, y = schema.encode_x(batch.given, own), schema.encode_y(batch.given, own)
        return _Encoded(x, y, schema.encode_x(batch.asked, at), seen)

    def _say(self, what: str, sentence: str) -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(sentence, stacklevel=4)

    def _answer(self, batch: NewBatch, encoded: _Encoded) -> tuple[np.ndarray, np.ndarray]:
        """Return mean, deviation and both ends at each asked row, standardised, of shape (4, rows, outputs), and the shares of
        levels.
        """
        predictor, found = self.run.predictor, np.empty((4, len(encoded.asked), encoded.y.shape[1]))
        levels = len(self.schema.outputs[0].levels) if self._cells == "ordered" else 0
        shares = np.empty((len(encoded.asked), levels))
        for (given, asked), items in _by_length(batch).items():
            for some in self._together(items, given, asked):
                support = _supports(encoded, some[:, :2], given)
                places, real = _places(some[:, 2:], asked)
                x: Any = encoded.asked[places]
                parts = _answers(predictor.learner, predictor.meta, support, x, self._key, self._tail, self._cells)
                *numbers, likely = map(np.asarray, parts)
                found[:, places[real]] = [part[real] for part in numbers]
                shares[places[real]] = likely[real]
        check_finite(found.swapaxes(0, 1), batch.asked, lambda row: int((batch.given_by == batch.asked_by[row]).sum()))
        return found, shares

    def _together(self, items: np.ndarray, *lengths: int) -> Iterator[np.ndarray]:
        """Yield `items` in groups of a few sizes, so that a few programs serve all. The last ones are filled with repeats."""
        most = max(1, min(_TOGETHER, _CELLS // max(lengths)))
        for start in range(0, len(items), most):
            some = items[start : start + most]
            if len(some) == most:
                self._filled.add(lengths)
            size = most if lengths in self._filled else 1 << (len(some) - 1).bit_length()
            yield some[np.arange(size) % len(some)]

    def _surprises(self, batch: NewBatch, encoded: _Encoded, count: int) -> np.ndarray:
        """Return the surprise of the first `count` tasks of a batch, NaN for the others."""
        found, skipped = np.full(len(batch.tasks), np.nan), int(any(column.level is not None for column in self.schema.outputs))
        rows = _slices(batch.given_by, len(batch.tasks))[:count]
        rows[:, 1] = np.minimum(rows[:, 1], COMPARED)
        known = rows[:, 1] > skipped
        found[:count][~known] = 1.0
        classes, predictor = _classes(rows[:, 1]), self.run.predictor
        for length in np.unique(classes[known]).tolist():
            for some in self._together(np.flatnonzero(known & (classes == length)), length):
                support = _supports(encoded, rows[some], length)
                each = np.asarray(transforms(predictor.learner, predictor.meta, support, self._key))
                each = np.where(known_outputs(self.schema, np.asarray(support.x)), each, 0.5)
                for task, own in zip(some.tolist(), each, strict=True):
                    found[task] = surprise(own[skipped : int(rows[task, 1])])
        return found

    def _decode(self, batch: NewBatch, encoded: _Encoded, found: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return answers in the table's units. The level of a task without a given row is unknown."""
        schema, seen = self.schema, {name: values[batch.asked_by] for name, values in encoded.seen.items()}
        unknown = schema.unknown_levels(seen)
        mean, low, high = (schema.decode_value(found[place], seen) for place in (0, 2, 3))
        std = np.hypot(schema.decode_std(found[1]), unknown)
        if self._shares or not unknown.any():
            return mean, std, low, high
        ends = (around_unknown(end, mean, std, unknown, self._tail, upper=upper) for end, upper in ((low, False), (high, True)))
        return mean, std, *ends


def _slices(by: np.ndarray, count: int) -> np.ndarray:
    """Return the first row of each of `count` tasks, whose places `by` rises, and how many rows each has: (count, 2)."""
    counts = np.bincount(by, minlength=count)
    return np.stack([np.cumsum(counts) - counts, counts], 1)


def _classes(counts: np.ndarray) -> np.ndarray:
    """Return the padded length of each number of rows."""
    several, which = np.unique(counts, return_inverse=True)
    return np.array([length_class(int(count)) for count in several], np.int64)[which]


def _by_length(batch: NewBatch) -> dict[tuple[int, int], np.ndarray]:
    """Return the items to answer by the padded lengths of their given and asked rows.

    An item is a row of four numbers: the first given row of a task, how many it has, the first asked row, and how many of them.
    Asked rows past a limit are another item.
    """
    count = len(batch.tasks)
    given, asked = _slices(batch.given_by, count), _slices(batch.asked_by, count)
    pieces = -(-asked[:, 1] // MOST)
    task = np.repeat(np.arange(count), pieces)
    start = MOST * (np.arange(len(task)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    items = np.concatenate([given[task], asked[task]], 1)
    items[:, 2], items[:, 3] = items[:, 2] + start, np.minimum(items[:, 3] - start, MOST)
    lengths = np.stack([_classes(items[:, 1]), _classes(items[:, 3])], 1)
    several, which = np.unique(lengths, axis=0, return_inverse=True)
    return {(int(pair[0]), int(pair[1])): items[which == place] for place, pair in enumerate(several)}


def _places(some: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of each item (its first row and how many), repeated up to `length`, and which are no repeats."""
    place = np.arange(length)
    return some[:, :1] + place % np.maximum(some[:, 1:], 1), place < some[:, 1:]


def _supports(encoded: _Encoded, some: np.ndarray, length: int) -> Data:
    """Return the given rows of some tasks (the first and how many of each), padded to `length` with zeros."""
    places, real = _places(some, length)
    mask: Any = real.astype(encoded.x.dtype)
    places = np.where(real, places, 0)
    parts: list[Any] = [
        part[places] * mask[..., None] if len(part) else np.zeros((*places.shape, part.shape[1]), part.dtype)
        for part in (encoded.x, encoded.y)
    ]
    # Of the host: a compiled program takes such arrays sooner than JAX makes its own of them.
    return Data(parts[0], parts[1], mask)


def _references(
    schema: Schema, rows: Table, by: np.ndarray, count: int, names: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """Return what each of `count` tasks is seen from in the columns whose level is taken out, NaN without a row."""
    some = [column for column in schema.relative if names is None or column.name in names]
    found = {column.name: np.full(count, np.nan) for column in some}
    if not some or not len(rows):
        return found
    parts = schema.task_orders(rows, by, count)
    for column in some:
        values = column.raw(rows)
        for task, own in enumerate(parts):
            found[column.name][task] = first_known(values[own])
    return found


@eqx.filter_jit
def _answers(
    learner: AbstractLearner, meta: Meta, support: Data, x: Array, key: PRNGKeyArray, tail: Array, cells: str
) -> tuple[Array, ...]:
    """Return mean, deviation, both ends of an interval, and the shares of levels, at the rows `x` of each task.

    `cells` says what the outcome is. The interval of two things and of classes is that of drawn functions, and only ordered
    levels have shares.
    """

    def one(support: Data, x: Array) -> tuple[Array, ...]:
        posterior = learner.adapt(meta, support, key=key)
        predictive: Any = posterior.predict(x)
        if cells in ("two", "classes"):
            low, high = share_ends(posterior, x, key, tail)
        else:
            low, high = (predictive.tail_quantile(tail, jnp.asarray(upper)) for upper in (False, True))
        shares = level_shares(predictive) if cells == "ordered" else jnp.zeros((len(x), 0))
        return predictive.mean, predictive.std, low, high, shares

    return jax.vmap(one)(support, x)
