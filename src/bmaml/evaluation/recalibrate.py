"""Recalibration: how much too sure or too unsure a learner's predictions are, measured on tasks that were not trained on.

Training on few tasks makes predictions too sure on tasks of another kind. A model that cannot be right (features that do
not fit, on data without noise) has small errors on most tasks and large ones on a few. Further tasks reveal both. Two
numbers for each number of given points correct most of it: a stretch of the predictive, and the weight of its tails. For
classes and whole numbers one number does: the temperature that divides logits, or the factor on what counts scatter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from bmaml.data import Data, same_rank
from bmaml.distributions import AbstractContinuous, AbstractDistribution, AbstractNumeric, Limited, Mixture, Pool, StudentT, pit
from bmaml.errors import InputError
from bmaml.evaluation.curves import chosen, smoothed
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
_WIDEST, _HALVINGS = 4.0, 13
# Width of the edge of an interval, in probability. With an edge of no width the coverage of few targets would be a staircase,
# on which 0.9 may not be a step. A coverage this near to 0.9 is reached.
_EDGE, _NEAR = 0.02, 0.01
# Log stretches on both sides of the one found, from which its error is read, and the least change of coverage that is believed.
_BESIDE, _LEAST_SLOPE = 0.1, 0.02
# Log stretches that are tried where the likelihood decides. A target costs no more nats than this.
_TRIED, _MOST = np.linspace(-2.0, 2.0, 41), 60.0
LEAST_TASKS = 10
"""Tasks that a recalibration needs. Of fewer, not one is expected to lie outside of its 90% interval."""
_AT_ONCE = 10
# Query points of a task.
_QUERIES = 10


class _Asked(NamedTuple):
    """Predictives and their queries, one task each on the leading axis.

    `which` numbers the tasks, since a task may be asked several times. `weight` is 0 for a task without a query.
    """

    predictive: AbstractDistribution
    query: Data
    which: Int[Array, " tasks"]
    weight: Float[Array, " tasks"]


class _Found(NamedTuple):
    """A log stretch after one number of points.

    - `stretch`: the log stretch.
    - `cost`: nats that the targets then cost, a mean for each task and the sum over tasks.
    - `influence`: how far each task pulls the stretch from where the others have it.
    - `least`: the least variance of the stretch, by the number of targets.
    """

    stretch: float
    cost: float
    influence: np.ndarray
    least: float


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
    """Return a predictor whose 90% intervals cover 90% on `tasks`, and which is as sure of classes there as it is right.

    After each number of shots, the function finds for each of several tails the stretch with which 90% intervals cover 90% of
    the targets. Each task has the same weight. Where no stretch reaches 90% (particles that lie too far apart, however sure
    each one is), for classes and for whole numbers, the most likely stretch is taken. The likelihood chooses the tails.
    Stretches and tails are smooth over numbers of shots, so that a number with few tasks borrows from the others, and
    `deviation` of the result's `change` says how sure each log stretch is. Means of numbers and draws of functions stay.

    This follows Kuleshov et al. (2018), https://arxiv.org/abs/1807.00263, but stretches each component of a mixture about its
    own mean, so modes stay apart. Classes follow Guo et al. (2017), https://arxiv.org/abs/1706.04599. If the learner was
    recalibrated before, the learner inside is recalibrated once more.

    - `run`: a trained run, or a `Predictor`.
    - `tasks`: at least 10 tasks that were not trained on.
    - `shots`: numbers of given points; for `Episodes` of images of each class.
    - `count`: tasks for each number of shots (each task in turn, if the source has a `total`).
    - `queries`: query points of each task (None: 10, or as many as the tasks have).

    Raises: InputError if fewer than 10 tasks have more points than some number of shots, or predictions are not finite.
    """
    counts = sorted(set(shot_counts(shots)))
    predictor = answering(run, tasks)
    queries = scored_queries(tasks, queries, _QUERIES)
    learner, meta = predictor.learner, predictor.meta
    if isinstance(learner, RecalibratedLearner):
        learner, meta = learner.inner, meta.inner
    # A task that is too short for some number of shots is left out there and not refused. Every task has enough rows for 0
    # shots.
    tasks = tasks.sized(counts if tasks.total is None else (0, *counts), queries)
    inner = Predictor(learner, meta)
    held, found = zip(*(_found(inner, tasks, given, count, seed) for given in counts), strict=True)
    tails = chosen(np.array([[one.cost for one in each] for each in found]), np.array(_TAILS[: len(found[0])]))
    best = [each[tail] for each, tail in zip(found, tails, strict=True)]
    pulls = np.stack([one.influence for one in best])
    noise = pulls @ pulls.T
    noise += np.diag(np.maximum([one.least for one in best] - np.diag(noise), 0.0))
    log_stretch, deviation = smoothed(np.array(counts, float), np.array([one.stretch for one in best]), noise)
    values = (counts, held, log_stretch, np.array(_TAILS)[tails], deviation)
    change = Recalibration(*(jnp.asarray(value, jnp.float32) for value in values))
    return Predictor(RecalibratedLearner(learner, len(counts)), RecalibratedMeta(meta, change))


def _found(predictor: Predictor, tasks: AbstractTasks, given: int, count: int, seed: int) -> tuple[float, list[_Found]]:
    """Return the coverage of 90% intervals (of classes the accuracy) after `given` points, and what is found for each tail."""
    asked = _asked(predictor, tasks, jax.random.key(seed), jnp.asarray(given), count)
    weight, which = np.asarray(asked.weight, np.float64), np.asarray(asked.which)
    distinct = len(set(which[weight > 0].tolist()))
    if distinct < LEAST_TASKS:
        raise InputError(
            f"tasks of more than {given} points are {distinct}, and a recalibration needs at least {LEAST_TASKS}, since of "
            "fewer not one is expected to lie outside of its 90% interval: give more tasks, or fewer shots."
        )
    # Weights and rows as of the tasks that there are, however often each was asked.
    weight = weight * distinct / weight.sum()
    rows = float((np.asarray(asked.query.mask, np.float64).mean(-1) * weight).sum() * asked.query.mask.shape[-1])
    tasks_of = _Weights(weight, which, rows)
    if not isinstance(asked.predictive, AbstractContinuous):
        held, tried = map(np.asarray, _tried(asked, (0.0,)))
        found = [_by_likelihood(each, tasks_of) for each in tried]
    else:
        held, stretch, covered, cost = map(np.asarray, _covering(asked))
        reached = np.abs(covered[:, 1] @ weight / distinct - LEVEL) < _NEAR
        tried = covered if reached.all() else np.asarray(_tried(asked, _TAILS)[1])
        found = [
            _by_coverage(float(stretch[i]), covered[i], cost[i], tasks_of) if reached[i] else _by_likelihood(tried[i], tasks_of)
            for i in range(len(_TAILS))
        ]
    if not np.isfinite([(one.stretch, one.cost) for one in found]).all():
        raise InputError(f"predictions after {given} shots are not finite on the tasks to recalibrate on: use another model.")
    return float(held), found


class _Weights(NamedTuple):
    """The `weight` of each task asked, `which` task it is, and how many `rows` were asked of all tasks together."""

    weight: np.ndarray
    which: np.ndarray
    rows: float

    def pulls(self, each: np.ndarray) -> np.ndarray:
        """Return the sum over each task's own entries of `each`, for small numbers of tasks a little larger."""
        summed = np.bincount(self.which, each * self.weight, minlength=int(self.which.max()) + 1)
        distinct = self.weight.sum()
        return summed * np.sqrt(distinct / (distinct - 1))


def _by_coverage(stretch: float, covered: np.ndarray, cost: np.ndarray, tasks: _Weights) -> _Found:
    """Return the log stretch with which intervals cover the level.

    `covered` is the coverage of each task a little below the log stretch `stretch`, at it and a little above it.
    """
    share = tasks.weight / tasks.weight.sum()
    low, middle, high = covered.astype(np.float64) @ share
    slope = max((high - low) / (2 * _BESIDE), _LEAST_SLOPE)
    influence = tasks.pulls((covered[1] - middle) / tasks.weight.sum()) / slope
    return _Found(stretch, _total(cost, tasks), influence, LEVEL * (1 - LEVEL) / tasks.rows / slope**2)


def _by_likelihood(nll: np.ndarray, tasks: _Weights) -> _Found:
    """Return the most likely log stretch; `nll` is that of each task at each of `_TRIED`."""
    nll = np.minimum(nll.astype(np.float64), _MOST)
    total, step = nll @ tasks.weight, _TRIED[1] - _TRIED[0]
    best = int(np.clip(np.argmin(total), 1, len(total) - 2))
    # A parabola through the least value and its neighbours.
    bend = max(total[best - 1] - 2 * total[best] + total[best + 1], 1e-6)
    shift = float(np.clip(0.5 * (total[best - 1] - total[best + 1]) / bend, -1.0, 1.0))
    pull = (nll[best + 1] - nll[best - 1]) * step / (2 * bend)
    influence = tasks.pulls(pull - pull @ tasks.weight / tasks.weight.sum())
    least = step**2 / bend * tasks.weight.sum() / tasks.rows
    return _Found(float(_TRIED[best] + shift * step), _total(nll[best], tasks), influence, least)


def _total(cost: np.ndarray, tasks: _Weights) -> float:
    return float(np.minimum(cost.astype(np.float64), _MOST) @ tasks.weight)


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
        # Of a source without end every task has as many points as were asked for, of images as many of each class.
        whole = (tasks.total is None) | (task.support.mask.sum() == given.astype(task.support.mask.dtype))
        weight = (whole & (task.query.mask.sum() > 0)).astype(float)
        return _Asked(posterior.predict(task.query.x), task.query, which, weight)

    return jax.lax.map(one_task, jnp.arange(count), batch_size=min(_AT_ONCE, count))


def _of_tasks(
    score: Callable[[AbstractDistribution, Array, PRNGKeyArray], Array], asked: _Asked, stretch: Array, tails: Array
) -> Array:
    """Return the mean score of each task's queries under a stretch. Scores may need random numbers."""

    def one_task(predictive: AbstractDistribution, query: Data, key: PRNGKeyArray) -> Array:
        return masked_mean(score(stretched(predictive, jnp.exp(stretch), tails), query.y, key), query.mask)

    return jax.vmap(one_task)(asked.predictive, asked.query, jax.random.split(jax.random.key(4), len(asked.which)))


def _nll(predictive: AbstractDistribution, y: Array, key: PRNGKeyArray) -> Array:
    del key
    return -predictive.log_prob(y)


@eqx.filter_jit
def _tried(asked: _Asked, tails: tuple[float, ...]) -> tuple[Array, Array]:
    """Return the accuracy (of whole numbers the share in the middle 90%, of other numbers 0), and for each tail and each of
    `_TRIED` the NLL of each task.
    """
    pairs = [jnp.asarray(part.ravel(), jnp.float32) for part in np.meshgrid(tails, _TRIED, indexing="ij")]
    nll = jax.lax.map(lambda pair: _of_tasks(_nll, asked, pair[1], pair[0]), tuple(pairs))

    def right(predictive: AbstractDistribution, query: Data, key: jax.Array) -> Array:
        if isinstance(predictive, AbstractNumeric):
            inside = jnp.abs(2 * pit(predictive, query.y, key) - 1) < LEVEL
            return masked_mean(inside.mean(-1, dtype=query.mask.dtype), query.mask)
        return masked_mean((jnp.argmax(predictive.mean, -1) == query.y).astype(float), query.mask)

    if isinstance(asked.predictive, AbstractContinuous):
        held = jnp.zeros(())
    else:
        keys = jax.random.split(jax.random.key(3), len(asked.which))
        held = masked_mean(jax.vmap(right)(asked.predictive, asked.query, keys), asked.weight)
    return held, nll.reshape(len(tails), len(_TRIED), -1)


@eqx.filter_jit
def _covering(asked: _Asked) -> tuple[Array, Array, Array, Array]:
    """Return the coverage of the intervals; and for each tail the log stretch that corrects it, the coverage of each task a
    little below it, at it and a little above it, and the NLL of each task at it.
    """

    def inside(predictive: AbstractDistribution, y: Array, key: PRNGKeyArray) -> Array:
        return (jnp.abs(2 * _quick_pit(predictive, y, key) - 1) < LEVEL).mean(-1, dtype=y.dtype)

    def softly(predictive: AbstractDistribution, y: Array, key: PRNGKeyArray) -> Array:
        return jax.nn.sigmoid((LEVEL - jnp.abs(2 * _quick_pit(predictive, y, key) - 1)) / _EDGE).mean(-1)

    def with_tails(tails: Array) -> tuple[Array, Array, Array]:
        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = 0.5 * (low + high)
            enough = masked_mean(_of_tasks(softly, asked, middle, tails), asked.weight) >= LEVEL
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        ends = (jnp.asarray(-_WIDEST), jnp.asarray(_WIDEST))
        stretch = jax.lax.fori_loop(0, _HALVINGS, halve, ends)[1]
        beside = stretch + jnp.asarray([-_BESIDE, 0.0, _BESIDE])
        covered = jax.lax.map(lambda place: _of_tasks(softly, asked, place, tails), beside)
        return stretch, covered, _of_tasks(_nll, asked, stretch, tails)

    before = masked_mean(_of_tasks(inside, asked, jnp.zeros(()), jnp.zeros(())), asked.weight)
    return before, *jax.lax.map(with_tails, jnp.asarray(_TAILS))


def _quick_pit(predictive: AbstractDistribution, y: Array, key: PRNGKeyArray) -> Array:
    """Return the probability integral transform, with `_quick_cdf` as the CDF."""
    if isinstance(predictive, Pool):
        weights = jax.nn.softmax(predictive.log_weights)
        return jnp.tensordot(weights, jnp.stack([_quick_pit(part, y, key) for part in predictive.parts]), 1)
    if isinstance(predictive, Mixture):
        return jnp.tensordot(jax.nn.softmax(predictive.log_weights), _quick_pit(predictive.components, y, key), 1)
    assert isinstance(predictive, AbstractContinuous)
    if not isinstance(predictive, Limited):
        return _quick_cdf(predictive, y)
    low, high = predictive.ends(y)
    below, above = (_quick_cdf(predictive.inner, end) for end in (low, high))
    # All parts of a mixture draw the same number.
    return below + (above - below) * same_rank(jax.random.uniform(key, y.shape, y.dtype), below)[0]


def _quick_cdf(predictive: AbstractContinuous, y: Array) -> Array:
    """Return the CDF, for Student-ts accurate to 0.002 and forty times as fast: Wallace (1959)."""
    if not isinstance(predictive, StudentT):
        return predictive.cdf(y)
    y, df, loc, scale = same_rank(y, predictive.df, predictive.loc, predictive.scale)
    t = (y - loc) / scale
    size = (8 * df + 1) / (8 * df + 3) * jnp.sqrt(df * jnp.log1p(t**2 / df))
    return ndtr(jnp.sign(t) * size)
