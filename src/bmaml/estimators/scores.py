"""Scores of a method on tasks of a table, in the table's units, with intervals over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from bmaml.evaluation.intervals import bootstrap, share_ends
from bmaml.evaluation.metrics import LEVEL
from bmaml.tables import Schema


class Estimate(NamedTuple):
    """A mean over tasks (`value`) with its 95% interval `low` to `high` (None for a single task)."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Score:
    """How a method predicts the other rows of unseen tasks from `shots` of their rows. Each task has the same weight.

    Intervals are over units: tasks, or groups of tasks that were held out together.

    - `method`, `tasks`, `units`: name of the method, and numbers of tasks and units.
    - `rmse`: root mean squared error by output, in its units.
    - `nll`: nats a row, joint over outputs, as a density per unit of the table.
    - `coverage`: share of rows in the central 90% interval, by output.
    """

    shots: int
    method: str
    tasks: int
    units: int
    rmse: dict[str, Estimate]
    nll: Estimate
    coverage: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return the score as values that JSON can hold."""
        values = asdict(self)
        estimates = {name: {k: Estimate(*v)._asdict() for k, v in values[name].items()} for name in ("rmse", "coverage")}
        return values | estimates | {"nll": self.nll._asdict()}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Score:
        """Return the score that `to_json` wrote as `values`."""
        parts = {name: {k: Estimate(**v) for k, v in values[name].items()} for name in ("rmse", "coverage")}
        return Score(**{**values, **parts, "nll": Estimate(**values["nll"])})


class Errors(NamedTuple):
    """What a method says of questions about tasks, standardised but for the NLL.

    - `square`: squared error of each question and output.
    - `nll`: NLL of each question, in the table's units.
    - `covered`: share of the rows of each question in the interval, by output.
    """

    square: np.ndarray
    nll: np.ndarray
    covered: np.ndarray


def reach_of(schema: Schema, x: np.ndarray) -> np.ndarray | None:
    """Return how far the true outcomes of encoded rows `x` may lie from the given ones, with an axis of outputs: 0 where they
    are known. It is None if `schema` has an outcome without limits.
    """
    limited = schema.side is not None and schema.side.form == "reach"
    return np.asarray(x, np.float64)[..., -1:] if limited else None


def missed(mean: np.ndarray, y: np.ndarray, reach: np.ndarray | None) -> np.ndarray:
    """Return how far each `mean` lies from the outcome `y`, or from the interval in which the outcome lies.

    `reach` is that of `reach_of`.
    """
    error = np.asarray(mean, np.float64) - np.asarray(y, np.float64)
    if reach is None:
        return error
    return error - np.clip(error, np.minimum(reach, 0.0), np.maximum(reach, 0.0))


def in_units(nll: np.ndarray, reach: np.ndarray | None, schema: Schema) -> np.ndarray:
    """Return the `nll` of standardised rows in the table's units: of densities, and of the probabilities of intervals, which
    have no unit. `reach` is as in `missed`, and `schema` says what the units are.
    """
    nll = np.asarray(nll, np.float64)
    decoded = -schema.decode_log_prob(-nll)
    return decoded if reach is None else np.where(reach[..., 0] == 0, decoded, nll)


def averaged(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean of `values` over the rows of each query (second axis). Rows that `mask` leaves out may hold anything."""
    share = mask / mask.sum(1, keepdims=True)
    share = share.reshape(*share.shape, *[1] * (values.ndim - 2))
    # 0 times infinity, which an amount of 0 can cost, would be no number.
    return (share * np.where(share > 0, values, 0.0)).sum(1)


def normal_errors(error: np.ndarray, deviation: np.ndarray, mask: np.ndarray, schema: Schema) -> Errors:
    """Return the errors of a normal around a guess.

    - `error`: guess less target, for each row of each query and each output.
    - `deviation`: standard deviation of the normal, for each output.
    - `mask`: which rows are real.
    - `schema`: what the columns mean.
    """
    z = error / deviation
    nll = 0.5 * (z**2 + np.log(2 * np.pi * deviation**2)).sum(-1)
    inside = np.abs(z) < NormalDist().inv_cdf(0.5 + LEVEL / 2)
    return Errors(*(averaged(part, mask) for part in (error**2, in_units(nll, None, schema), inside)))


def summary(
    errors: Errors, owner: np.ndarray, units: np.ndarray, schema: Schema
) -> tuple[dict[str, Estimate], Estimate, dict[str, Estimate]]:
    """Return RMSE, NLL and coverage in the table's scales, with their intervals over units.

    - `errors`: those of a method.
    - `owner`: number of each question's task.
    - `units`: the unit of each task.
    - `schema`: what the columns mean.
    """
    each = np.concatenate([errors.square, errors.nll[:, None], errors.covered], 1)
    own = np.unique(owner)
    tasks = np.stack([np.append(each[owner == index].mean(0), 1.0) for index in own])
    sums = np.stack([tasks[units[own] == unit].sum(0) for unit in np.unique(units[own])])
    # Each task has the same weight, also in a resample of units with more tasks than others.
    ends = bootstrap(sums.T, lambda sample: sample[:-1].sum(-1) / sample[-1].sum(-1))
    names, outputs = [column.name for column in schema.answers], len(schema.answers)
    rmse = [np.sqrt(end[:outputs]) * schema.scales for end in ends]
    nll = [end[outputs] for end in ends]
    shares = np.stack([end[outputs + 1 :] for end in ends], 1).tolist()
    covered = np.array([share_ends((share, low, high), len(sums)) for share, low, high in shares]).T
    alone = len(sums) == 1
    by_output = [{n: _estimate([end[i] for end in part], alone) for i, n in enumerate(names)} for part in (rmse, covered)]
    return by_output[0], _estimate(nll, alone), by_output[1]


def _estimate(ends: Sequence[Any], alone: bool) -> Estimate:
    value, low, high = (float(end) for end in ends)
    return Estimate(value, *((None, None) if alone else (low, high)))
