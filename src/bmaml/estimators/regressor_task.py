"""A model adapted to one task: predictions, intervals and what to measure next, in the table's units."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bmaml.data import Data, data, length_class, pad
from bmaml.distributions import interval_tail, level_shares, split_level
from bmaml.errors import InputError
from bmaml.estimators.answers import around_unknown, check_finite, share_ends
from bmaml.estimators.given_tables import as_rows, with_outputs
from bmaml.estimators.padding import chunks, over_rows
from bmaml.estimators.scores import in_units, reach_of
from bmaml.estimators.suggestions import By, Limits, Wish, suggested
from bmaml.estimators.surprise import COMPARED, known_outputs, surprise, transforms
from bmaml.inference.acquisitions import ACQUISITIONS
from bmaml.inference.decisions import Goal
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.checked import Count, Seed, checked
from bmaml.io.notebook import facts_html
from bmaml.likelihoods import FAMILIES
from bmaml.tables import Schema, Table, TableLike
from bmaml.tables.outside import say_outside
from bmaml.tables.table import listed
from bmaml.training.run import Run

_ACQUISITIONS = {name: eqx.filter_jit(function) for name, function in ACQUISITIONS.items()}


@dataclass(frozen=True)
class AdaptedTask:
    """A fitted model after it has seen some points of one task. The object is immutable.

    Answers are arrays of shape (rows,) for a model of one output and (rows, outputs) for several, in the table's units. Of a
    class the outputs are the probabilities of the classes. `X` is
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
        none = data(np.zeros((0, schema.width)), np.zeros((0, len(schema.answers))))
        return _adapted(run, schema, none, seed)

    def observe(self, X: TableLike | ArrayLike, y: ArrayLike | None = None) -> AdaptedTask:
        """Return a new object that has also seen the points `X` and `y`. A table `X` may hold the outputs itself.

        Raises: InputError if a value does not fit, or the table holds several tasks.
        """
        table = as_rows(X, self.schema)
        if y is not None:
            table = with_outputs(table, y, self.schema)
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
        """Return the predictive mean at `X`, and with `return_std` also the standard deviation.

        A warning names inputs that lie outside of the rows fitted on.
        """
        X = as_rows(X, self.schema)
        say_outside(X, self.schema, self.reference)
        mean, std = self._over_rows(lambda x: _moments(self.posterior, x), X)
        mean = self._squeeze(self.schema.decode_value(mean, self.reference))
        std = self._squeeze(np.hypot(self.schema.decode_std(std), self._unknown))
        return (mean, std) if return_std else mean

    def probabilities(self, X: TableLike | ArrayLike) -> np.ndarray:
        """Return the probability of each level or class of an outcome at each row of `X`, of shape (rows, levels).

        Raises: InputError for a model of another family.
        """
        cells = FAMILIES.find(self.schema.family).cells
        if cells == "classes":
            return np.asarray(self.predict(X))
        if cells != "ordered":
            raise InputError(f"the model is of family {self.schema.family!r}, which has no levels: use predict, or sample.")
        return self._over_rows(lambda x: (_shares(self.posterior, x),), X)[0]

    def quantile(self, X: TableLike | ArrayLike, q: float | Sequence[float]) -> np.ndarray:
        """Return the quantile of level `q` of each output at `X`. Several levels are on a leading axis.

        Raises: InputError if a level is not a probability strictly between 0 and 1, or leaves less than 1e-37 in a tail.
        """
        if np.ndim(q) == 1:
            X = as_rows(X, self.schema)
            return np.stack([self.quantile(X, float(level)) for level in np.asarray(q)])
        return self._at_tail(X, *split_level(q))  # type: ignore[arg-type]

    def frame(self, X: TableLike, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Any:
        """Return means, standard deviations and `quantiles` at `X`, as a data frame of the library that `X` is of.

        A frame of pandas keeps its index. A mapping or a file gives a dictionary of arrays. A column's name is that of the
        outcome with `_mean`, `_std` or the level, as `_q0.05`.
        Raises: InputError if a value does not fit.
        """
        table, names = as_rows(X, self.schema), [column.name for column in self.schema.answers]
        mean, std = self.predict(table, return_std=True)
        parts = [mean, std, *self.quantile(table, list(quantiles))]
        each = np.stack([np.reshape(part, (len(table), len(names))) for part in parts], -1)
        labels = ["mean", "std", *(f"q{level:g}" for level in quantiles)]
        columns = {f"{name}_{label}": each[:, i, j] for i, name in enumerate(names) for j, label in enumerate(labels)}
        return like(X, columns)

    def interval(self, X: TableLike | ArrayLike, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return the central interval (low, high) that should hold a share `level` of the next measurements at `X`, for each
        output.

        Counts have an interval of whole numbers, which holds at least this share. The outcome yes or no and classes have an
        interval of their probability instead: what is not known of the task.
        Raises: InputError if `level` is not one probability strictly between 0 and 1.
        """
        tail = interval_tail(level)
        if FAMILIES.find(self.schema.family).shares:
            key = jax.random.key(self.seed)
            low, high = self._over_rows(lambda x: _share_ends(self.posterior, x, key, tail), X)
            return self._squeeze(low), self._squeeze(high)
        return self._at_tail(X, tail, jnp.asarray(False)), self._at_tail(X, tail, jnp.asarray(True))

    def _at_tail(self, X: TableLike | ArrayLike, tail: jax.Array, upper: jax.Array) -> np.ndarray:
        (value,) = self._over_rows(lambda x: (_tail_quantile(self.posterior, x, tail, upper),), X)
        values = self.schema.decode_value(value, self.reference)
        if self._unknown.any():
            mean, std = (np.reshape(part, values.shape) for part in self.predict(X, return_std=True))
            values = around_unknown(values, mean, std, self._unknown, tail, upper=bool(upper))
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
        """Return the log predictive density of `y` at each row of `X`: nats, joint over outputs, per unit of the table.

        Of an outcome that is known up to a limit, such as <0.1, it is the log probability of what is known.
        """
        table = with_outputs(as_rows(X, self.schema), y, self.schema)
        if self._unknown.any():
            mean, std = (np.reshape(part, (len(table), -1)) for part in self.predict(table, return_std=True))
            values = self.schema.targets(table)
            return -(0.5 * ((values - mean) / std) ** 2 + np.log(std * np.sqrt(2 * np.pi))).sum(1)
        if self.schema.partial and self.schema.lacking(table).any():
            raise InputError("y lacks outcomes of some rows, and a density is that of all of them: give every outcome.")
        targets = self.schema.encode_y(table, self.reference)
        parts = [
            _log_prob(self.posterior, x, _padded(targets[rows], len(x)))[: len(targets[rows])]
            for rows, x in chunks(self._encoded(table))
        ]
        answers = np.concatenate([np.asarray(part) for part in parts])
        self._check_finite(answers, table)
        return -in_units(-answers, reach_of(self.schema, self._encoded(table)), self.schema)

    @checked
    def suggest(
        self,
        X_pool: TableLike | ArrayLike,
        n: Count = 1,
        by: By | None = None,
        *,
        goal: Goal | None = None,
        target: float | None = None,
        of: str | None = None,
        costs: ArrayLike | str | None = None,
        limits: Limits | None = None,
        outside: bool = False,
    ) -> np.ndarray:
        """Return the indices of the `n` rows of a pool that are most worth measuring next, the best first.

        - `X_pool`: the pool, in the form of `X`.
        - `by`: to learn, `"variance"` takes the row with the least sure prediction, `"information"` the one that would tell
          most of the task (the mutual information of target and task), `"reduction"` the one that makes the whole pool surest,
          and `"random"` any row. To decide, `"improvement"`, `"log-improvement"` and `"bound"` take the rows that come nearest
          to what is wanted (`bmaml.inference.decisions.choose`). None is `"improvement"` with a goal or a target, and
          `"variance"` without.
        - `goal`: `"max"` (the default of a decision) or `"min"`: whether large or small values are wanted.
        - `target`: the value to reach, in the outcome's units, such as the concentration of a wanted effect.
        - `of`: name of the outcome that is to reach it, if there are several.
        - `costs`: what a measurement of each row costs (numbers above 0, or the name of a column). Worth is divided by it.
        - `limits`: lowest and highest value that an outcome may have, by name, as `{"toxicity": (None, 3.0)}`.
        - `outside`: whether rows outside of the inputs' fitted range may be suggested.

        Decisions choose their rows jointly. To learn, the model is told its own mean after each pick, so that the next pick is
        elsewhere.
        Raises: InputError for more rows than the pool has, or wishes that do not fit; PairError for information without
        particles.
        """
        wish = Wish(by, goal, target, of, costs, limits, outside)
        return suggested(cast(AdaptedTask, self), as_rows(X_pool, self.schema), n, wish)

    def surprise(self) -> float:
        """Return the probability that rows of a task like those fitted on are as unlikely as the rows seen, or more.

        Each row is compared with its prediction from the rows before it. A task that is unlike the fitted ones in level, shape
        or noise has a small probability. It is 1 before any row, and of several outcomes the smallest counts. At most the
        first 16 rows are compared.
        """
        skipped = int(self.reference is not None and any(column.level is not None for column in self.schema.outputs))
        count = min(int(np.asarray(self.support.mask).sum()), COMPARED)
        if count <= skipped:
            return 1.0
        rows = jax.tree.map(lambda leaf: leaf[:count], self.support)
        predictor, support = self.run.predictor, pad(rows, length_class(count))
        found = transforms(predictor.learner, predictor.meta, support, jax.random.key(self.seed))
        known = known_outputs(self.schema, np.asarray(support.x))
        return surprise(np.where(known, found, 0.5)[skipped:count])

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
        if self.schema.partial:  # Every outcome of the row is believed.
            x[:, -len(self.schema.outputs) :] = 1.0
        return _adapted(self.run, self.schema, self.support | data(x, mean), self.seed, self.reference)

    def _over_rows(
        self, answer: Callable[[jax.Array], tuple[jax.Array, ...]], X: TableLike | ArrayLike, axis: int = 0
    ) -> tuple[np.ndarray, ...]:
        """Return a function's answers on all rows."""
        table = as_rows(X, self.schema)
        answers = over_rows(answer, self._encoded(table), axis)
        for array in answers:
            self._check_finite(np.moveaxis(array, axis, 0), table)
        return answers

    def _check_finite(self, answers: np.ndarray, table: Table) -> None:
        check_finite(answers, table, lambda _: self.points)

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
        return self.schema.unknown_levels(self.reference)

    def _squeeze(self, values: np.ndarray) -> np.ndarray:
        return values[..., 0] if len(self.schema.answers) == 1 else values


def _adapted(
    run: Run[Data, AbstractPosterior], schema: Schema, support: Data, seed: int, reference: Mapping[str, float] | None = None
) -> AdaptedTask:
    posterior = run.predictor.adapt(support, key=jax.random.key(seed))
    return AdaptedTask(run, schema, support, posterior, seed, reference)


def _padded(values: np.ndarray, rows: int) -> jax.Array:
    return jnp.asarray(np.pad(values, ((0, rows - len(values)), (0, 0))))


@eqx.filter_jit
def _moments(posterior: AbstractPosterior, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    predictive = posterior.predict(x)
    return predictive.mean, predictive.std


@eqx.filter_jit
def _shares(posterior: AbstractPosterior, x: jax.Array) -> jax.Array:
    return level_shares(posterior.predict(x))


_share_ends = eqx.filter_jit(share_ends)


@eqx.filter_jit
def _tail_quantile(posterior: AbstractPosterior, x: jax.Array, tail: jax.Array, upper: jax.Array) -> jax.Array:
    return posterior.predict(x).tail_quantile(tail, upper)  # type: ignore[attr-defined]


@eqx.filter_jit
def _sample(posterior: AbstractPosterior, x: jax.Array, key: jax.Array, n: int) -> jax.Array:
    return posterior.predict(x).sample(key, (n,))


@eqx.filter_jit
def _log_prob(posterior: AbstractPosterior, x: jax.Array, y: jax.Array) -> jax.Array:
    return posterior.predict(x).log_prob(y)


def like(X: Any, columns: dict[str, np.ndarray]) -> Any:
    """Return `columns` as a data frame of the library of `X`, with its index if it has one, or as they are."""
    import narwhals.stable.v2 as nw

    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        return columns
    made: Any = nw.from_dict(columns, backend=frame.implementation).to_native()
    if hasattr(X, "index") and hasattr(made, "index"):
        made.index = X.index
    return made
