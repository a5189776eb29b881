"""Questions about tasks that a training did not see, and what a candidate answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bmaml.data import Data, Task
from bmaml.distributions import AbstractDiscrete, AbstractNumeric, pit, widened
from bmaml.errors import InputError
from bmaml.io.programs import compiler_options
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.tasks.base import FixedTasks, split_rows

_QUERIES = 16
# Questions that are answered at once. Their number is filled up to a multiple, since a remainder would be a second program.
_AT_ONCE = 16
# Up to so many questions, or numbers of predictives over whole numbers (whose CDFs take long), a program takes longer to
# compile than to run, so the compiler is told to hurry.
_FEW, _FEW_NUMBERS = 1000, 100_000
# Questions for each number of given points: more tasks need fewer draws of each.
_WANTED, _MOST_DRAWS, _MOST_TASKS = 240, 6, 400


class Questions(NamedTuple):
    """Supports and queries on a leading axis.

    - `task`: the supports and queries, padded.
    - `owner`, `given`: number of the task, and how many points are given.
    - `fold`: the training that did not see the task.
    """

    task: Task
    owner: Int[np.ndarray, " questions"]
    given: Int[np.ndarray, " questions"]
    fold: Int[np.ndarray, " questions"]


class Answers(NamedTuple):
    """What is said of each row of each query: `log_prob` (joint over outputs), `cdf` and `mean`, standardised.

    For whole numbers `cdf` is the randomised probability integral transform.
    """

    log_prob: Float[np.ndarray, "questions rows"]
    cdf: Float[np.ndarray, "questions rows outputs"]
    mean: Float[np.ndarray, "questions rows outputs"]


def ask(
    tasks: FixedTasks, folds: Bool[np.ndarray, "trainings tasks"], counts: Sequence[int], seed: int, known: int = 0
) -> Questions:
    """Return questions about the tasks that some training did not see, for each number of given points.

    - `tasks`: all tasks.
    - `folds`: which tasks each training saw.
    - `counts`: numbers of given points. A task without a further row is left out there.
    - `seed`: seed of the given points.
    - `known`: how many of the last inputs say which outcomes of a row are known. Rows that lack one are given, not asked for.
    """
    unseen = [(int(task), fold) for fold, seen in enumerate(folds[:-1]) for task in np.flatnonzero(~seen)][:_MOST_TASKS]
    draws = 1 if tasks.selection == "first" else int(np.clip(_WANTED // max(len(unseen), 1), 1, _MOST_DRAWS))
    length = np.asarray(tasks.rows.count)
    some = [
        (task, count, fold, draw)
        for count in counts
        for task, fold in unseen
        for draw in range(draws if count else 1)
        if length[task] > count
    ]
    owner, given, fold, draw = (np.array(part, int) for part in zip(*some, strict=True))
    keys = jax.vmap(lambda a, b: jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), a), b))(owner, draw)

    @jax.jit
    def split(owner: Array, given: Array, key: Array) -> Task:
        rows = jax.tree.map(lambda leaf: leaf[owner], tasks.rows)
        return split_rows(tasks.ordered(rows, key), given, max(1, *counts), min(_QUERIES, tasks.rows.mask.shape[1]))

    every = jax.vmap(split)(jnp.asarray(owner), jnp.asarray(given), keys)
    return _of_whole_rows(Questions(every, owner, given, fold), known) if known else Questions(every, owner, given, fold)


def _of_whole_rows(asked: Questions, known: int) -> Questions:
    """Return the questions about rows of which every outcome is known. The last inputs say which are."""
    support, query = asked.task.support, asked.task.query
    mask = np.asarray(query.mask) * (np.asarray(query.x)[..., -known:] > 0).all(-1)
    some = mask.sum(1) > 0
    if not some.any():
        raise InputError("no row has every outcome, so nothing can be scored: fit a model for each outcome.")
    whole = Task(support, Data(query.x, query.y, jnp.asarray(mask, query.mask.dtype)))
    return Questions(jax.tree.map(lambda leaf: leaf[some], whole), asked.owner[some], asked.given[some], asked.fold[some])


def predictives(
    learner: AbstractLearner, metas: Meta, support: Data, x: Array, fold: Int[np.ndarray, " questions"]
) -> AbstractNumeric:
    """Return the predictive of each query, with the questions on a leading axis.

    - `learner`, `metas`: the candidate, with the meta-parameters of all trainings on a leading axis.
    - `support`, `x`: supports, and inputs of queries, of the questions.
    - `fold`: the training that answers each question.
    """
    filled, cut = _filled((support, x, fold), len(fold))
    return cut(_compiled(_predict, len(fold))(learner, metas, *filled))


def _predict(learner: AbstractLearner, metas: Meta, support: Data, x: Array, fold: Array) -> AbstractNumeric:
    def one(question: tuple[Data, Array, Array]) -> AbstractNumeric:
        support, x, fold = question
        meta = jax.tree.map(lambda leaf: leaf[fold], metas)
        predictive = learner.adapt(meta, support, key=jax.random.key(0)).predict(x)
        assert isinstance(predictive, AbstractNumeric)
        return predictive

    return jax.lax.map(one, (support, x, fold), batch_size=_AT_ONCE)


def _filled(parts: Any, count: int) -> tuple[Any, Callable[[Any], Any]]:
    """Return `parts` with copies of their first question at the end, up to a multiple, and what cuts these copies off."""
    extra = -count % _AT_ONCE
    filled = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(np.asarray(leaf)[:1], extra, 0)]), parts)
    return filled, lambda found: jax.tree.map(lambda leaf: np.asarray(leaf)[:count], found)


@cache
def _quick(function: Callable) -> Callable:
    return eqx.filter_jit(function, compiler_options=compiler_options(runs_once=True))  # pyright: ignore[reportCallIssue]


@cache
def _fast(function: Callable) -> Callable:
    return eqx.filter_jit(function)


def _compiled(function: Callable, count: int, predictive: AbstractNumeric | None = None) -> Callable:
    """Return the compiled `function` of `count` questions, whose answers are those of a `predictive` if it is known."""
    slow = isinstance(predictive, AbstractDiscrete) and sum(leaf.size for leaf in jax.tree.leaves(predictive)) > _FEW_NUMBERS
    return _fast(function) if slow or count > _FEW else _quick(function)


def _scored(predictive: AbstractNumeric, y: Array, factor: Array, whole: bool) -> tuple[Array, ...]:
    # Random numbers of its own for each question, and the same for all candidates.
    keys = jax.random.split(jax.random.key(0), len(y))

    def one(question: tuple[AbstractNumeric, Array, Array, Array]) -> tuple[Array, ...]:
        predictive, y, factor, key = question
        wide = widened(predictive, factor)
        return (wide.log_prob(y), pit(wide, y, key), wide.mean) if whole else (wide.log_prob(y),)

    return jax.lax.map(one, (predictive, y, factor, keys), batch_size=_AT_ONCE)


def score(predictive: AbstractNumeric, y: Array, factor: np.ndarray | None = None) -> Answers:
    """Return what `predictive` (questions on a leading axis) says of targets `y`, with all scales multiplied by `factor`."""
    return Answers(*_score(predictive, y, np.ones(len(y)) if factor is None else factor, True))


def log_density(predictive: AbstractNumeric, y: Array, factor: np.ndarray) -> Float[np.ndarray, "questions rows"]:
    """Return the `log_prob` of `score` alone, which costs much less than the CDF.

    `predictive`, `y` and `factor` are those of `score`.
    """
    # With few questions a second program would cost more.
    return _score(predictive, y, factor, len(y) <= _FEW)[0]


def _score(predictive: AbstractNumeric, y: Array, factor: np.ndarray, whole: bool) -> list[np.ndarray]:
    filled, cut = _filled((predictive, y, np.asarray(factor, y.dtype)), len(y))
    program = _compiled(_scored, len(y), predictive)
    return [np.asarray(part, np.float64) for part in cut(program(*filled, whole))]


def row_weights(asked: Questions) -> np.ndarray:
    """Return the weight of each row of each query of `asked`: a task has weight 1 at each number of given points."""
    mask = np.asarray(asked.task.query.mask, np.float64)
    each = mask / np.maximum(mask.sum(1, keepdims=True), 1)
    pair = asked.owner * (asked.given.max() + 1) + asked.given
    return each / np.bincount(pair)[pair][:, None]
