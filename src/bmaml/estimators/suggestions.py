"""Which rows of a pool to measure next for one task: what is asked for, and the choice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bmaml.data import Data, length_class
from bmaml.errors import InputError
from bmaml.estimators.picks import picks
from bmaml.inference.acquisitions import ACQUISITIONS
from bmaml.inference.decisions import Decision, Goal, Utilities, check_able, choose, utility, worths
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.tables import Schema, Table
from bmaml.tables.outside import outside

By = Literal["variance", "information", "reduction", "random", "improvement", "log-improvement", "bound"]
Limits = Mapping[str, tuple[float | None, float | None]]


@runtime_checkable
class Adapted(Protocol):
    """A model adapted to one task (`bmaml.estimators.regressor_task.AdaptedTask`), as far as a choice of rows needs it."""

    @property
    def schema(self) -> Schema:
        """What the columns mean."""
        ...

    @property
    def support(self) -> Data:
        """The points seen, standardised."""
        ...

    @property
    def posterior(self) -> AbstractPosterior:
        """The adapted posterior."""
        ...

    @property
    def seed(self) -> int:
        """Seed of acquisitions."""
        ...

    @property
    def reference(self) -> Mapping[str, float] | None:
        """What the task is seen from."""
        ...

    @property
    def points(self) -> int:
        """How many points of the task have been seen."""
        ...

    @property
    def predict(self) -> Callable[..., Any]:
        """Return means and standard deviations at rows."""
        ...

    @property
    def _unknown(self) -> np.ndarray: ...
    def _encoded(self, table: Table) -> np.ndarray: ...
    def _worth(self, table: Table, by: str) -> np.ndarray: ...
    def _believe(self, table: Table, row: int) -> Any: ...


_DECISIONS = get_args(Decision)
# Draws of the function, rows of a pool that are drawn together, and rows that are at least where each is judged by itself.
_DRAWS, _MOST, _PIECE = 512, 256, 24


@dataclass(frozen=True)
class Wish:
    """What a suggestion is to be good for.

    - `by`: what makes a row worth measuring (None: `"improvement"` with a goal, a target or an outcome, else `"variance"`).
    - `goal`: `"max"` or `"min"`: whether large or small values are wanted.
    - `target`: the value to reach, in the outcome's units.
    - `of`: name of the outcome with the goal or the target (None: the only one).
    - `costs`: what a measurement of each row costs: numbers above 0, or the name of a column of the pool.
    - `limits`: lowest and highest value that an outcome may have, by name (None: no such limit).
    - `outside`: whether rows outside of the inputs' fitted range may be suggested.
    """

    by: By | None = None
    goal: Goal | None = None
    target: float | None = None
    of: str | None = None
    costs: ArrayLike | str | None = None
    limits: Limits | None = None
    outside: bool = False

    @property
    def kind(self) -> str:
        """What makes a row worth measuring."""
        decides = self.goal is not None or self.target is not None or self.of is not None
        return self.by or ("improvement" if decides else "variance")

    def check(self, outcomes: list[str], pool: int, n: int) -> None:
        """Check that `n` rows of a pool of so many rows (`pool`) can be suggested for a model of these `outcomes`.

        Raises: InputError that says what does not fit.
        """
        known = (*ACQUISITIONS, *_DECISIONS)
        if self.kind not in known or not 1 <= n <= pool:
            raise InputError(
                f"cannot suggest {n} rows by {self.kind!r} from a pool of {pool}: ask for 1 to {pool}, by {', '.join(known)}."
            )
        decides = self.goal is not None or self.target is not None or self.of is not None
        if decides and self.kind not in _DECISIONS:
            raise InputError(
                f"a goal, a target or its outcome is given and rows are suggested by {self.kind!r}, which learns and decides "
                f"nothing: use by {', '.join(_DECISIONS)}."
            )
        if self.goal not in (None, "max", "min") or (self.goal is not None and self.target is not None):
            raise InputError(f"goal is {self.goal!r} and target {self.target}: give 'max' or 'min' alone, or a target alone.")
        for name in [*(self.limits or {}), *([] if self.of is None else [self.of])]:
            if name not in outcomes:
                raise InputError(f"there is no outcome {name!r} to set a goal or a limit for: use {', '.join(outcomes)}.")
        for name, (low, high) in (self.limits or {}).items():
            if low is not None and high is not None and low > high:
                raise InputError(
                    f"the limits of {name!r} are {low:g} to {high:g}, which nothing keeps: give the lower one first."
                )
        if isinstance(self.costs, str) and self.costs in outcomes:
            raise InputError(f"{self.costs!r} is the outcome and is named as the cost: name the column with what a row costs.")
        if self.kind in _DECISIONS and self.of is None and len(outcomes) > 1:
            raise InputError(f"the model has several outcomes ({', '.join(outcomes)}): say which one is to be reached with of.")


def suggested(task: Adapted, table: Table, n: int, wish: Wish) -> np.ndarray:
    """Return the numbers of the `n` rows of `table` that are best measured next for `task`, the best first.

    Rows outside of the inputs' fitted range are passed over unless the `wish` allows them.
    Raises: InputError for a wish that does not fit, or fewer rows inside than are asked for.
    """
    outcomes = [column.name for column in task.schema.answers]
    wish.check(outcomes, len(table), n)
    costs = _costs(table, wish.costs)
    inside = np.arange(len(table)) if wish.outside else _inside(task, table)
    if n > len(inside):
        raise InputError(
            f"{len(inside)} of the {len(table)} rows of the pool lie inside of the range that the model was fitted on and {n} "
            "are asked for: give rows inside, or allow others with --outside (outside=True in Python)."
        )
    if len(inside) < len(table):
        warnings.warn(
            f"{len(table) - len(inside)} of {len(table)} rows of {table.name} lie outside of the range that the model was "
            "fitted on and are passed over: allow them with --outside (outside=True in Python).",
            stacklevel=4,
        )
    pool, costs = table.take(inside), None if costs is None else costs[inside]
    if wish.kind in _DECISIONS:
        return inside[_decided(task, pool, n, wish, costs)]
    factor = np.ones(len(pool)) if costs is None else 1 / costs
    if wish.limits:
        kept = np.concatenate([_drawn(task, pool.take(rows), wish).allowed.mean(0) for rows in _pieces(task, len(pool))])
        check_able(n, kept > 0, "can keep the limits")
        factor = factor * kept
    worth = lambda one: one._worth(pool, wish.kind) * factor  # noqa: E731
    return inside[picks(task, n, worth, lambda one, row: one._believe(pool, row))]


def _inside(task: Adapted, table: Table) -> np.ndarray:
    away = np.zeros(len(table), bool)
    for rows in outside(table, task.schema, task.reference).values():
        away |= rows
    return np.flatnonzero(~away)


def _costs(table: Table, costs: ArrayLike | str | None) -> np.ndarray | None:
    if costs is None:
        return None
    values = table.numbers(costs) if isinstance(costs, str) else np.asarray(costs, np.float64)
    if values.shape != (len(table),):
        raise InputError(f"costs have shape {values.shape} for {len(table)} rows: give one number above 0 for each row.")
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        where = table.cell(costs, wrong[0]) if isinstance(costs, str) else f"cost number {wrong[0]} (counted from 0)"
        raise InputError(f"{where} is {values[wrong[0]]:g}: give a cost above 0, since worth is divided by it.")
    return values


def _decided(task: Adapted, pool: Table, n: int, wish: Wish, costs: np.ndarray | None) -> np.ndarray:
    def priced(rows: np.ndarray, by: Any) -> tuple[Utilities, Any, np.ndarray | None]:
        return _drawn(task, pool.take(rows), wish), by, None if costs is None else costs[rows]

    rows = np.arange(len(pool))
    if len(pool) > _MOST:
        # Of a large pool, the rows that are worth most by themselves. In a piece where nothing improves, only logarithms tell
        # rows apart, so all pieces are compared by them.
        by = "log-improvement" if wish.kind == "improvement" else wish.kind
        alone = np.concatenate([worths(*priced(piece, by))([]) for piece in _pieces(task, len(pool))])
        rows = np.sort(np.argsort(-alone, kind="stable")[: max(_MOST - _measured(task), n)])
    utilities, by, cost = priced(rows, wish.kind)
    return rows[choose(utilities, n, by, cost)]


def _measured(task: Adapted) -> int:
    return int((np.asarray(task.support.mask) > 0).sum())


def _pieces(task: Adapted, count: int) -> list[np.ndarray]:
    """Return the numbers of rows that are drawn together where each row is judged by itself.

    The work grows with the cube of the rows that are drawn together, which are those of the piece and the measured ones.
    """
    size = length_class(2 * _measured(task) + _PIECE) - _measured(task)
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def _drawn(task: Adapted, pool: Table, wish: Wish) -> Utilities:
    """Return how good the rows of a pool are in draws of the task's function."""
    schema = task.schema
    seen = np.asarray(task.support.x)[np.asarray(task.support.mask) > 0]
    x = np.concatenate([task._encoded(pool), seen])
    padded = jnp.asarray(x[np.arange(length_class(len(x))) % len(x)])
    key = jax.random.fold_in(jax.random.key(task.seed), task.points)
    drawn = np.asarray(_functions(task.posterior, padded, key), np.float64)[:, : len(x)]
    values = schema.decode_value(drawn, task.reference)
    rng = np.random.default_rng(task.seed)
    values = values + task._unknown * rng.normal(size=(len(values), 1, values.shape[-1]))
    if not np.isfinite(values).all():
        raise InputError(f"the model's answers at {pool.name} are not finite: leave out rows with wild numbers.")
    names = [column.name for column in schema.answers]
    good = utility(values[..., names.index(wish.of or names[0])], wish.goal, wish.target)
    allowed = np.ones(good.shape, bool)
    for name, (low, high) in (wish.limits or {}).items():
        value = values[..., names.index(name)]
        allowed &= (value >= (-np.inf if low is None else low)) & (value <= (np.inf if high is None else high))
    cut = len(pool)
    return Utilities(good[:, :cut], good[:, cut:], allowed[:, :cut], allowed[:, cut:])


@eqx.filter_jit
def _functions(posterior: AbstractPosterior, x: jax.Array, key: jax.Array) -> jax.Array:
    return posterior.sample_functions(x, key=key, count=_DRAWS)


def as_limits(text: str | None, flag: str) -> dict[str, tuple[float | None, float | None]]:
    """Return the limits that `text` names, such as "tox<=3,conc>=1"; `flag` is the option's name in messages.

    Raises: InputError for a part that is no limit.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for part in (text or "").split(","):
        mark = next((mark for mark in ("<=", ">=", "<", ">") if mark in part), None)
        if not part.strip():
            continue
        name, _, number = part.partition(mark or "<")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if mark is None or not np.isfinite(value):
            raise InputError(f"{flag} is {text!r} and {part.strip()!r} is no limit: write an outcome as in conc<=5.")
        low, high = found.get(name.strip(), (None, None))
        found[name.strip()] = (low, value) if mark.startswith("<") else (value, high)
    return found
