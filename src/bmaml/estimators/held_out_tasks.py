"""How well a fitted table model predicts unseen tasks, beside predictions that need no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data, stack
from bmaml.distributions import pit
from bmaml.errors import InputError
from bmaml.estimators.calibration import Calibration, calibration
from bmaml.estimators.left_out import LeftOut, Predicted, left_out, names_of
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.scores import Errors, Score, averaged, in_units, missed, normal_errors, reach_of, summary
from bmaml.evaluation.metrics import LEVEL
from bmaml.likelihoods import FAMILIES
from bmaml.tables import Schema, Table, task_rows
from bmaml.tasks.base import Selection

_DRAWS = 5  # random supports of a task; a forecast has one
_MOST_QUERIES = 64


class _Questions(NamedTuple):
    """Padded supports and queries (on a leading axis), and the task of each."""

    support: Data
    query: Data
    task: np.ndarray


class _Answered(NamedTuple):
    """Questions at each shot count, all their supports and queries, and what a model answered: see `_answers`."""

    asked: list[_Questions]
    support: Data
    query: Data
    mean: np.ndarray
    nll: np.ndarray
    cdf: np.ndarray


def score_held_out(
    model: FewShotRegressor,
    held: Table,
    training: Table | None,
    shots: Sequence[int],
    seed: int = 0,
    *,
    by: str | None = None,
) -> tuple[list[Score], list[Calibration]]:
    """Return the scores of a model, and of plain baselines, on the held-out tasks at each number of given rows, and how often
    what the model predicted came true.

    Each task is used five times with random given rows (once if the model forecasts), with at most 64 other rows as the query.
    The baselines are normals around the mean of the given rows (for a forecast also around the last row). Their deviation is
    the error of this guess on the training tasks. Outcomes of other families than numbers have no baselines.

    - `model`: the fitted model.
    - `held`: the held-out rows.
    - `training`: rows that were trained on. Without them there are no baselines.
    - `shots`: numbers of given rows.
    - `seed`: seed of the given rows.
    - `by`: column whose values are the units of the intervals. Tasks that share a value may be alike, so that an interval over
      tasks would be too narrow.

    Raises: InputError if no held-out task has more rows than a shot count, a task has two values of `by`, or a cell does not
    fit.
    """
    answered = _answered(model, held, shots, seed)
    return _scores(model, answered, held, training, shots, seed, by), _calibration(answered, shots, model.schema_)


def judge_held_out(
    model: FewShotRegressor,
    held: Table,
    training: Table | None,
    shots: Sequence[int],
    seed: int = 0,
    *,
    by: str | None = None,
) -> tuple[list[Score], LeftOut]:
    """Return the scores of `score_held_out`, and what the model says of each held-out task with examples.

    `model`, `held`, `training`, `shots`, `seed` and `by` are as in `score_held_out`. The model answers once for both.
    Raises: InputError as `score_held_out`.
    """
    answered = _answered(model, held, shots, seed)
    return _scores(model, answered, held, training, shots, seed, by), _left_out(model, answered, held, shots)


def _calibration(answered: _Answered, shots: Sequence[int], schema: Schema) -> list[Calibration]:
    """Return how often what was predicted came true at each number of given rows."""
    family, start, found = FAMILIES.find(schema.family), 0, []
    for count, asked in zip(shots, answered.asked, strict=True):
        here = slice(start, start + len(asked.task))
        mask = _mask(asked)
        each = mask / mask.sum(1, keepdims=True) / np.bincount(asked.task)[asked.task][:, None]
        found.append(calibration(count, answered.mean[here], answered.cdf[here], np.asarray(asked.query.y), each, family))
        start = here.stop
    return found


def _scores(
    model: FewShotRegressor,
    answered: _Answered,
    held: Table,
    training: Table | None,
    shots: Sequence[int],
    seed: int,
    by: str | None,
) -> list[Score]:
    seen = [None if training is None else _questions(training, model, count, max(shots), seed) for count in shots]
    scores, units = [], _units(held, model.schema_, by)
    for count, here, past, own in zip(shots, answered.asked, seen, _model_errors(answered, model.schema_), strict=True):
        errors = {_name(model): own}
        if past is not None and FAMILIES.find(model.schema_.family).exact:
            errors |= {
                name: _plain_errors(guess, here, past, model.schema_)
                for name, guess in _baselines(model.selection, count).items()
            }
        tasks = np.unique(here.task)
        counts = (len(tasks), len(np.unique(units[tasks])))
        scores += [Score(count, name, *counts, *summary(e, here.task, units, model.schema_)) for name, e in errors.items()]
    return scores


def _units(table: Table, schema: Schema, by: str | None) -> np.ndarray:
    """Return the unit of each task, as a number."""
    parts = task_rows(table, schema)
    if by is None:
        return np.arange(len(parts))
    _, codes = np.unique(table.texts(by).astype(str), return_inverse=True)
    for name, rows in parts.items():
        if len(set(codes[rows].tolist())) > 1:
            raise InputError(f"task {name!r} of {table.name} has several values of {by!r}: give each task one.")
    return np.array([codes[rows[0]] for rows in parts.values()])


def _name(model: FewShotRegressor) -> str:
    return model.method if isinstance(model.method, str) else "model"


def _questions(table: Table, model: FewShotRegressor, count: int, most: int, seed: int) -> _Questions | None:
    """Return the questions at one shot count, supports padded to `most` rows; None where every task is too short."""
    x, y = model.schema_.encode(table)
    rng = np.random.default_rng([seed, count])
    forecast = model.selection == "first"
    parts, owners = [], []
    for index, rows in enumerate(task_rows(table, model.schema_).values()):
        for _ in range(1 if forecast or not count else _DRAWS) if len(rows) > count else ():
            order = rows if forecast else rng.permutation(rows)
            rest = rng.permutation(order[count:])[:_MOST_QUERIES]
            parts.append((_rows(x, y, order[:count], max(most, 1)), _rows(x, y, rest, _MOST_QUERIES)))
            owners.append(index)
    if not parts:
        return None
    support, query = (stack(part) for part in zip(*parts, strict=True))
    return _Questions(support, query, np.array(owners))


def _rows(x: np.ndarray, y: np.ndarray, rows: np.ndarray, length: int) -> Data:
    extra = length - len(rows)
    mask = np.pad(np.ones(len(rows), np.float32), (0, extra))
    padded = (np.pad(part[rows], ((0, extra), (0, 0))) for part in (x, y))
    return Data(*padded, mask)  # type: ignore[arg-type]


def _answered(model: FewShotRegressor, held: Table, shots: Sequence[int], seed: int) -> _Answered:
    """Return what the model answers at each shot count; all are asked in one call, so that one program is compiled."""
    most = max(shots)
    asked = [one for count in shots if (one := _questions(held, model, count, most, seed)) is not None]
    if len(asked) < len(shots):
        raise InputError(f"no held-out task of {held.name} has more than {most} rows: score with fewer shots.")
    support, query = (jax.tree.map(lambda *parts: jnp.concatenate(parts), *(q[i] for q in asked)) for i in (0, 1))
    found = _answers(model.run_.method.answerer, model.run_.meta, support, query)
    return _Answered(asked, support, query, *(np.asarray(part) for part in found))


def _model_errors(answered: _Answered, schema: Schema) -> list[Errors]:
    """Return the model's errors at each shot count."""
    cuts = np.cumsum([len(questions.task) for questions in answered.asked])[:-1]
    parts = (np.split(part, cuts) for part in (answered.mean, answered.nll, answered.cdf))
    errors = []
    for questions, *answers in zip(answered.asked, *parts, strict=True):
        reach = reach_of(schema, np.asarray(questions.query.x))
        error = missed(answers[0], np.asarray(questions.query.y), reach)
        parts = (error**2, in_units(answers[1], reach, schema), np.abs(answers[2] - 0.5) < LEVEL / 2)
        errors.append(Errors(*(averaged(part, _mask(questions)) for part in parts)))
    return errors


def _left_out(model: FewShotRegressor, answered: _Answered, held: Table, shots: Sequence[int]) -> LeftOut:
    asked, support, query, *answers = answered
    mean, nll, cdf = (np.asarray(part, np.float64) for part in answers)

    def interval(questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sides = (jax.tree.map(lambda leaf: leaf[questions], side) for side in (support, query))
        low, high = (np.asarray(end, np.float64) for end in _ends(model.run_.method.answerer, model.run_.meta, *sides))
        return low, high

    owner = np.concatenate([questions.task for questions in asked])
    given = np.repeat(list(shots), [len(questions.task) for questions in asked])
    answers = Predicted(owner, given, support, query, mean, nll, cdf, interval)
    return left_out(answers, names_of(held, model.schema_), model.schema_)


@eqx.filter_jit
def _ends(learner: Any, meta: Any, support: Data, query: Data):
    """Return the ends of the intervals at every query row of every question."""

    def task_ends(asked: tuple[Data, Data]):
        return learner.adapt(meta, asked[0], key=jax.random.key(0)).predict(asked[1].x).interval(LEVEL)

    return jax.lax.map(task_ends, (support, query))


@eqx.filter_jit
def _answers(learner: Any, meta: Any, support: Data, query: Data):
    """Return mean, NLL and the CDF (of whole numbers a random one) at the target of every query row of every question."""

    def task_answers(asked: tuple[Data, Data, Any]):
        support, query, key = asked
        predictive = learner.adapt(meta, support, key=jax.random.key(0)).predict(query.x)
        return predictive.mean, -predictive.log_prob(query.y), pit(predictive, query.y, key)

    keys = jax.random.split(jax.random.key(1), len(query.mask))
    return jax.lax.map(task_answers, (support, query, keys), batch_size=32)


def _mask(asked: _Questions) -> np.ndarray:
    return np.asarray(asked.query.mask, np.float64)


Guess = Callable[[_Questions], np.ndarray]


def _baselines(selection: Selection, count: int) -> dict[str, Guess]:
    if not count:
        return {"mean of all training rows": lambda q: np.zeros_like(np.asarray(q.query.y[:, :1]))}
    plain: dict[str, Guess] = {"mean of the given rows": _given_mean}
    return plain | ({"last given row": lambda q: np.asarray(q.support.y)[:, count - 1, None]} if selection == "first" else {})


def _given_mean(asked: _Questions) -> np.ndarray:
    mask = np.asarray(asked.support.mask)[:, :, None]
    return (np.asarray(asked.support.y) * mask).sum(1, keepdims=True) / mask.sum(1, keepdims=True)


def _plain_errors(guess: Guess, asked: _Questions, seen: _Questions, schema: Schema) -> Errors:
    """Return the errors of a normal around a guess. Its deviation is the guess's root mean square error on the training
    tasks.
    """
    deviation = np.sqrt(averaged((guess(seen) - np.asarray(seen.query.y)) ** 2, _mask(seen)).mean(0)) + 1e-6
    return normal_errors(guess(asked) - np.asarray(asked.query.y), deviation, _mask(asked), schema)
