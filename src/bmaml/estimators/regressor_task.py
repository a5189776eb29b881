"""A model adapted to one task: predictions, intervals and what to measure next, in the table's units."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Literal, cast, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from bmaml.data import Data, data
from bmaml.distributions import interval_tail, split_level
from bmaml.errors import InputError
from bmaml.estimators.padding import chunks, over_rows
from bmaml.estimators.picks import picks
from bmaml.inference.acquisitions import ACQUISITIONS, Acquisition
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.checked import Count, Seed, checked
from bmaml.io.notebook import facts_html
from bmaml.likelihoods import FAMILIES
from bmaml.tables import Schema, Table, TableLike, read_table
from bmaml.tables.read import DataFrame
from bmaml.tables.table import as_array, listed
from bmaml.training.run import Run

_FUNCTIONS = 1000  # draws of the probability of yes, for its interval
_ACQUISITIONS = {name: eqx.filter_jit(function) for name, function in ACQUISITIONS.items()}


@dataclass(frozen=True)
class AdaptedTask:
    """A fitted model after it has seen some points of one task. The object is immutable.

    Answers are arrays of shape (rows,) for a model of one output and (rows, outputs) for several, in the table's units. `X` is
    an array of shape (rows, inputs), or a table (path, data frame, mapping) with the input columns.

    - `run`, `schema`: the fitted run, and the meaning of the columns.
    - `support`: the points seen, standardised.
    - `posterior`: the adapted posterior.
    - `seed`: seed of adaptation and acquisitions.
    - `reference`: what the task is seen from, in columns whose level is taken out; None before any point.
    """

    run: Run[Data, AbstractPosterior]
    schema: Schema
    support: Data
    posterior: AbstractPosterior
    seed: int = 0
    reference: Mapping[str, float] | None = None

    @staticmethod
    def prior(run: Run[Data, AbstractPosterior], schema: Schema, seed: int = 0) -> AdaptedTask:
        """Return what the model of `run` expects of a task before any point. `schema` says what the columns mean."""
        none = data(np.zeros((0, schema.width)), np.zeros((0, len(schema.outputs))))
        return _adapted(run, schema, none, seed)

    def observe(self, X: TableLike | ArrayLike, y: ArrayLike | None = None) -> AdaptedTask:
        """Return a new object that has also seen the points `X` and `y`. A table `X` may hold the outputs itself.

        Raises: InputError if a value does not fit, or the table holds several tasks.
        """
        table = _as_table(X, self.schema)
        if y is not None:
            table = _with_outputs(table, y, self.schema)
        elif self.schema.names_task(table) and len(self.schema.tasks(table)[1]) > 1:
            raise InputError(f"{table.name} holds several tasks in column {self.schema.task!r}: give the rows of one.")
        seen = self.schema.reference(table) if self.reference is None else self.reference
        new = data(self.schema.encode_x(table, seen), self.schema.encode_y(table, seen))
        return _adapted(self.run, self.schema, self.support | new, self.seed, seen)

    def __repr__(self) -> str:
        """Show what is predicted, and from how many points."""
        names = ", ".join(column.name for column in self.schema.outputs)
        return f"AdaptedTask({names} from {self.points} points)"

    def _repr_html_(self) -> str:
        """Say in a notebook what is predicted, from what, and from how many points."""
        outputs, inputs = (", ".join(c.name for c in part) for part in (self.schema.outputs, self.schema.inputs))
        task = "any task before a row is known" if not self.points else f"a task after {self.points} of its rows"
        return facts_html(f"AdaptedTask: {task}", {"predicts": outputs, "from": inputs, "method": self.run.method.name})

    @property
    def points(self) -> int:
        """How many points of the task have been seen."""
        return len(self.support.mask)

    @overload
    def predict(self, X: TableLike | ArrayLike, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: TableLike | ArrayLike, return_std: bool) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: TableLike | ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the predictive mean at `X`, and with `return_std` also the standard deviation."""
        mean, std = self._over_rows(lambda x: _moments(self.posterior, x), X)
        mean = self._squeeze(self.schema.decode_value(mean, self.reference))
        std = self._squeeze(np.hypot(self.schema.decode_std(std), self._unknown))
        return (mean, std) if return_std else mean

    def quantile(self, X: TableLike | ArrayLike, q: float) -> np.ndarray:
        """Return the quantile of level `q` of each output at `X`.

        Raises: InputError if `q` is not one probability strictly between 0 and 1, or leaves less than 1e-37 in a tail.
        """
        return self._at_tail(X, *split_level(q))

    def interval(self, X: TableLike | ArrayLike, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return the central interval (low, high) that should hold a share `level` of the next measurements at `X`, for each
        output.

        Counts have an interval of whole numbers, which holds at least this share. The outcome yes or no has an interval of its
        probability instead: what is not known of the task.
        Raises: InputError if `level` is not one probability strictly between 0 and 1.
        """
        tail = interval_tail(level)
        if FAMILIES.find(self.schema.family).cells == "two":
            key = jax.random.key(self.seed)
            (drawn,) = self._over_rows(lambda x: (_functions(self.posterior, x, key),), X, axis=1)
            low, high = np.quantile(drawn, [float(tail), 1 - float(tail)], axis=0)
            return self._squeeze(low), self._squeeze(high)
        return self._at_tail(X, tail, jnp.asarray(False)), self._at_tail(X, tail, jnp.asarray(True))

    def _at_tail(self, X: TableLike | ArrayLike, tail: jax.Array, upper: jax.Array) -> np.ndarray:
        (value,) = self._over_rows(lambda x: (_tail_quantile(self.posterior, x, tail, upper),), X)
        values = self.schema.decode_value(value, self.reference)
        if self._unknown.any():
            mean, std = (np.reshape(part, values.shape) for part in self.predict(X, return_std=True))
            away = ndtri(float(tail)) * (-1.0 if upper else 1.0)
            values = np.where(self._unknown > 0, mean + std * away, values)
        return self._squeeze(values)

    @checked
    def sample(self, X: TableLike | ArrayLike, n: Count = 1, seed: Seed = 0) -> np.ndarray:
        """Return `n` draws of a measurement at each row of `X`, independent over rows, on a leading axis."""
        key = jax.random.key(seed)
        (draws,) = self._over_rows(lambda x: (_sample(self.posterior, x, key, n),), X, axis=1)
        values = self.schema.decode_value(draws, self.reference)
        levels = self._unknown * np.random.default_rng(seed).normal(size=(n, 1, len(self._unknown)))
        return self._squeeze(values + levels)

    def log_prob(self, X: TableLike | ArrayLike, y: ArrayLike) -> np.ndarray:
        """Return the log predictive density of `y` at each row of `X`: nats, joint over outputs, per unit of the table."""
        table = _with_outputs(_as_table(X, self.schema), y, self.schema)
        if self._unknown.any():
            mean, std = (np.reshape(part, (len(table), -1)) for part in self.predict(table, return_std=True))
            values = np.stack([column.raw(table) + column.origin for column in self.schema.outputs], 1)
            return -(0.5 * ((values - mean) / std) ** 2 + np.log(std * np.sqrt(2 * np.pi))).sum(1)
        targets = self.schema.encode_y(table, self.reference)
        parts = [
            _log_prob(self.posterior, x, _padded(targets[rows], len(x)))[: len(targets[rows])]
            for rows, x in chunks(self._encoded(table))
        ]
        answers = np.concatenate([np.asarray(part) for part in parts])
        self._check_finite(answers, table)
        return self.schema.decode_log_prob(answers)

    @checked
    def suggest(self, X_pool: TableLike | ArrayLike, n: Count = 1, by: Acquisition = "variance") -> np.ndarray:
        """Return the indices of the `n` rows of a pool that are most worth measuring next, the best first.

        - `X_pool`: the pool, in the form of `X`.
        - `by`: `"variance"` takes the row with the least sure prediction, and `"information"` the one that would tell most
          of the task (the mutual information of target and task). `"reduction"` takes the row that makes the whole pool
          surest, and `"random"` any row.

        After each pick the model is told its own mean there, so that the next pick is elsewhere.
        Raises: InputError for more rows than the pool has or an unknown `by`; PairError for information without particles.
        """
        table = _as_table(X_pool, self.schema)
        if by not in _ACQUISITIONS or not 1 <= n <= len(table):
            raise InputError(
                f"cannot suggest {n} rows by {by!r} from a pool of {len(table)}: ask for 1 to {len(table)}, "
                f"by {', '.join(_ACQUISITIONS)}."
            )
        return picks(
            cast(AdaptedTask, self), n, lambda task: task._worth(table, by), lambda task, row: task._believe(table, row)
        )

    def _worth(self, table: Table, by: str) -> np.ndarray:
        """Return an acquisition at every row. Random numbers depend on the seed and on the number of points seen."""
        key = jax.random.fold_in(jax.random.key(self.seed), self.points)
        parts = []
        for rows, x in chunks(self._encoded(table)):
            worth = _ACQUISITIONS[by](self.posterior, x, key=jax.random.fold_in(key, rows.start))
            parts.append(np.asarray(worth, np.float64)[: rows.stop - rows.start])
        self._check_finite(np.concatenate(parts), table)
        return np.concatenate(parts)

    def _believe(self, table: Table, row: int) -> AdaptedTask:
        x = self._encoded(table)[row : row + 1]
        mean = _moments(self.posterior, jnp.asarray(x))[0]
        return _adapted(self.run, self.schema, self.support | data(x, mean), self.seed, self.reference)

    def _over_rows(
        self, answer: Callable[[jax.Array], tuple[jax.Array, ...]], X: TableLike | ArrayLike, axis: int = 0
    ) -> tuple[np.ndarray, ...]:
        """Return a function's answers on all rows."""
        table = _as_table(X, self.schema)
        answers = over_rows(answer, self._encoded(table), axis)
        for array in answers:
            self._check_finite(np.moveaxis(array, axis, 0), table)
        return answers

    def _check_finite(self, answers: np.ndarray, table: Table) -> None:
        """Check that the answers at the rows of a table, on the first axis, are finite.

        Raises: InputError that names the first row whose answer is not, and what to change.
        """
        finite = np.isfinite(answers).reshape(len(answers), -1).all(1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise InputError(
                f"the answer at {table.name}, {table.place(row)}, is not finite once the model has adapted to {self.points} "
                "points: leave out a point with wild numbers, or fit the model again with a lower learning rate."
            )

    def _encoded(self, table: Table) -> np.ndarray:
        """Return the standardised inputs of `table`, as they are seen from the task's reference."""
        seen = self.reference
        if seen is None and any(column.level is not None for column in self.schema.inputs):
            seen = self.schema.reference(table)
            warnings.warn(
                f"no row of the task is given, so {listed(list(seen))} is counted from the first row that is asked for.",
                stacklevel=4,
            )
        return self.schema.encode_x(table, seen)

    @property
    def _unknown(self) -> np.ndarray:
        """The standard deviation of the task's own level in each output, in the table's units, as long as no row tells it."""
        known = self.reference or {}
        return np.array([0.0 if c.level is None or c.name in known else c.level[1] for c in self.schema.outputs])

    def _squeeze(self, values: np.ndarray) -> np.ndarray:
        return values[..., 0] if len(self.schema.outputs) == 1 else values


def _adapted(
    run: Run[Data, AbstractPosterior], schema: Schema, support: Data, seed: int, reference: Mapping[str, float] | None = None
) -> AdaptedTask:
    posterior = run.predictor.adapt(support, key=jax.random.key(seed))
    return AdaptedTask(run, schema, support, posterior, seed, reference)


def _padded(values: np.ndarray, rows: int) -> jax.Array:
    return jnp.asarray(np.pad(values, ((0, rows - len(values)), (0, 0))))


def _as_table(X: TableLike | ArrayLike, schema: Schema) -> Table:
    """Return inputs as a table. The columns of an array are the schema's inputs in order."""
    if isinstance(X, Table | str | Mapping | PathLike | DataFrame):
        return read_table(X, "X")
    array = as_array(X, "X")
    names = schema.given
    array = array[:, None] if array.ndim == 1 and len(names) == 1 else array
    if array.ndim != 2 or array.shape[1] != len(names):
        raise InputError(
            f"X has shape {array.shape} and the model has {len(names)} inputs ({', '.join(names)}): give (rows, {len(names)})."
        )
    return read_table({name: array[:, i] for i, name in enumerate(names)}, "X")


def _with_outputs(table: Table, y: ArrayLike, schema: Schema) -> Table:
    """Return the table with the targets as its output columns."""
    array = np.asanyarray(y)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape != (len(table), len(schema.outputs)):
        raise InputError(
            f"y has shape {np.shape(y)} and X has {len(table)} rows: give one row of {len(schema.outputs)} for each."
        )
    return table.with_columns({c.name: array[:, i] for i, c in enumerate(schema.outputs)})


@eqx.filter_jit
def _moments(posterior: AbstractPosterior, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    predictive = posterior.predict(x)
    return predictive.mean, predictive.std


@eqx.filter_jit
def _functions(posterior: AbstractPosterior, x: jax.Array, key: jax.Array) -> jax.Array:
    return posterior.sample_functions(x, key=key, count=_FUNCTIONS)


@eqx.filter_jit
def _tail_quantile(posterior: AbstractPosterior, x: jax.Array, tail: jax.Array, upper: jax.Array) -> jax.Array:
    return posterior.predict(x).tail_quantile(tail, upper)  # type: ignore[attr-defined]


@eqx.filter_jit
def _sample(posterior: AbstractPosterior, x: jax.Array, key: jax.Array, n: int) -> jax.Array:
    return posterior.predict(x).sample(key, (n,))


@eqx.filter_jit
def _log_prob(posterior: AbstractPosterior, x: jax.Array, y: jax.Array) -> jax.Array:
    return posterior.predict(x).log_prob(y)
