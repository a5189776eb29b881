"""Recalibration: how much too sure or too unsure a learner's predictions are, measured on tasks that were not trained on.

Training on few tasks makes predictions too sure on tasks of another kind. A model that cannot be right (features that do
not fit, on data without noise) has small errors on most tasks and large ones on a few. Further tasks reveal both. Two
numbers for each number of given points correct most of it: a stretch of the predictive, and the weight of its tails.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from bmaml.data import Data, same_rank
from bmaml.distributions import AbstractContinuous, Mixture, StudentT
from bmaml.errors import InputError
from bmaml.evaluation.draws import draw_task
from bmaml.evaluation.evaluate import answering
from bmaml.evaluation.metrics import LEVEL, masked_mean
from bmaml.io.checked import Count, Seed, checked
from bmaml.learners.predictor import Predictor
from bmaml.learners.recalibrated import MOST_TAILS, RecalibratedLearner, RecalibratedMeta, Recalibration, stretched
from bmaml.tasks.base import AbstractTasks, scored_queries
from bmaml.tasks.shots import Shots, shot_counts
from bmaml.training.run import Run

# Values of 1 over degrees of freedom to try: from no tails to those of the last Student-t that has a variance.
_TAILS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, MOST_TAILS)
# Log stretches are searched between these ends, by this many halvings.
_WIDEST, _HALVINGS = 4.0, 11
# The coverage may differ from the level by this much, because points are countable.
_NEAR = 0.02
_AT_ONCE = 10
# Query points of a task.
_QUERIES = 10


class _Asked(NamedTuple):
    """Predictives and their queries, one task each on the leading axis. `weight` is 0 for a task without a query."""

    predictive: AbstractContinuous
    query: Data
    weight: Float[Array, " tasks"]


@checked
def recalibrate(
    run: Run | Predictor,
    tasks: AbstractTasks,
    *,
    shots: Shots,
    count: Count = 500,
    queries: Count | None = None,
    seed: Seed = 2,
) -> Predictor:
    """Return a predictor with corrected predictions, whose 90% intervals cover 90% on `tasks`.

    After each number of shots, the function finds for each of several tails the stretch with which 90% intervals cover 90% of
    the targets. Each task has the same weight. Of those pairs the most likely one is taken. If no pair reaches 90% (particles
    that lie too far apart, however sure each one is), nothing changes after that many shots. Values between numbers of shots
    are interpolated. Means and draws of functions stay the same. This follows Kuleshov et al. (2018),
    https://arxiv.org/abs/1807.00263, but stretches each component of a mixture about its own mean, so modes stay apart. If the
    learner was recalibrated before, the learner inside is recalibrated once more.

    - `run`: a trained run, or a `Predictor`.
    - `tasks`: tasks that were not trained on.
    - `shots`: numbers of given points.
    - `count`: tasks for each number of shots (each task in turn, if the source has a `total`).
    - `queries`: query points of each task (None: 10, or as many as the tasks have).

    Raises: InputError if no task has more points than some number of shots, predictions are not finite, or targets are classes.
    """
    counts = sorted(set(shot_counts(shots)))
    predictor = answering(run, tasks)
    queries = scored_queries(tasks, queries, _QUERIES)
    if count < 1 or queries < 1:
        raise InputError(f"tasks are {count} and queries {queries}: give at least 1 of each.")
    learner, meta = predictor.learner, predictor.meta
    if isinstance(learner, RecalibratedLearner):
        learner, meta = learner.inner, meta.inner
    # A task that is too short for some number of shots is left out there and not refused. Every task has enough rows for 0
    # shots.
    tasks = tasks.sized(counts if tasks.total is None else (0, *counts), queries)
    found = [_found(Predictor(learner, meta), tasks, given, count, seed) for given in counts]
    change = Recalibration(*(jnp.asarray(values, jnp.float32) for values in (counts, *zip(*found, strict=True))))
    return Predictor(RecalibratedLearner(learner, len(counts)), RecalibratedMeta(meta, change))


def _found(predictor: Predictor, tasks: AbstractTasks, given: int, count: int, seed: int) -> tuple[float, float, float]:
    """Return the coverage of 90% intervals, the log stretch and the tails after `given` points."""
    asked = _asked(predictor, tasks, jax.random.key(seed), jnp.asarray(given), count)
    if not isinstance(asked.predictive, AbstractContinuous):
        raise InputError("recalibration changes intervals, which classes do not have: leave it out.")
    if not float(asked.weight.sum()):
        raise InputError(f"{given} shots leave no task a point to recalibrate on: use fewer shots, or longer tasks.")
    held, stretch, reached, nll = map(np.asarray, _stretches(asked))
    if not np.isfinite(nll).all():
        raise InputError(f"predictions after {given} shots are not finite on the tasks to recalibrate on: use another model.")
    mended = np.abs(reached - LEVEL) < _NEAR
    best = int(np.argmin(np.where(mended, nll, np.inf)))
    return float(held), *((float(stretch[best]), _TAILS[best]) if mended[best] else (0.0, 0.0))


@eqx.filter_jit
def _asked(
    predictor: Predictor,
    tasks: AbstractTasks,
    key: jax.Array,
    given: Array,
    count: int,
) -> _Asked:
    total = count if tasks.total is None else tasks.total

    def one_task(i: Array) -> _Asked:
        # If there are more tasks than needed, tasks from all over the table are used, because neighbours are alike.
        which = i % total if total <= count else i * total // count
        task = draw_task(tasks, jax.random.fold_in(key, i // total), which, given).task
        posterior = predictor.learner.adapt(predictor.meta, task.support, key=jax.random.fold_in(jax.random.key(1), i))
        whole = (task.support.mask.sum() == given.astype(task.support.mask.dtype)) & (task.query.mask.sum() > 0)
        return _Asked(posterior.predict(task.query.x), task.query, whole.astype(float))  # pyright: ignore[reportArgumentType]

    return jax.lax.map(one_task, jnp.arange(count), batch_size=min(_AT_ONCE, count))


@eqx.filter_jit
def _stretches(asked: _Asked) -> tuple[Array, Array, Array, Array]:
    """Return the coverage of the intervals; and for each tail the log stretch that corrects it, the coverage then, and
    the NLL.
    """

    def over_tasks(score, stretch: Array, tails: Array) -> Array:
        def one_task(predictive: AbstractContinuous, query: Data) -> Array:
            values = score(stretched(predictive, jnp.exp(stretch), tails), query.y)
            return masked_mean(values, query.mask)

        return masked_mean(jax.vmap(one_task)(asked.predictive, asked.query), asked.weight)

    def covered(predictive: AbstractContinuous, y: Array) -> Array:
        return (jnp.abs(2 * _quick_cdf(predictive, y) - 1) < LEVEL).mean(-1, dtype=y.dtype)

    def with_tails(tails: Array) -> tuple[Array, Array, Array]:
        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = 0.5 * (low + high)
            enough = over_tasks(covered, middle, tails) >= LEVEL
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        ends = (jnp.asarray(-_WIDEST), jnp.asarray(_WIDEST))
        stretch = jax.lax.fori_loop(0, _HALVINGS, halve, ends)[1]
        nll = over_tasks(lambda predictive, y: -predictive.log_prob(y), stretch, tails)
        return stretch, over_tasks(covered, stretch, tails), nll

    return over_tasks(covered, jnp.zeros(()), jnp.zeros(())), *jax.lax.map(with_tails, jnp.asarray(_TAILS))


def _quick_cdf(predictive: AbstractContinuous, y: Array) -> Array:
    """Return the CDF of Student-ts or a mixture of them, accurate to 0.002 and forty times as fast: Wallace (1959)."""
    if isinstance(predictive, Mixture):
        return jnp.tensordot(jax.nn.softmax(predictive.log_weights), _quick_cdf(predictive.components, y), 1)
    assert isinstance(predictive, StudentT)
    y, df, loc, scale = same_rank(y, predictive.df, predictive.loc, predictive.scale)
    t = (y - loc) / scale
    size = (8 * df + 1) / (8 * df + 3) * jnp.sqrt(df * jnp.log1p(t**2 / df))
    return ndtr(jnp.sign(t) * size)
