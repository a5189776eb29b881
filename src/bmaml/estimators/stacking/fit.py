"""The mixture: candidates trained on folds, weighed and stretched by what they say of the tasks left out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from bmaml.distributions import AbstractDiscrete, Shape, has_shape
from bmaml.errors import InputError
from bmaml.estimators.stacking.candidates import AHEAD, CANDIDATES, Candidate, Setting
from bmaml.estimators.stacking.correlated_candidates import CORRELATED_CANDIDATES
from bmaml.estimators.stacking.family_candidates import FAMILY_CANDIDATES
from bmaml.estimators.stacking.folds import Stopped
from bmaml.estimators.stacking.questions import Answers, Questions, ask, log_density, predictives, row_weights, score
from bmaml.estimators.stacking.shapes import Parts, errors, fit_shape
from bmaml.estimators.stacking.weights import stretches, weigh, widening
from bmaml.learners.base import AbstractLearner
from bmaml.learners.pooled import PooledLearner, PooledMeta
from bmaml.tasks.base import FixedTasks

# Numbers of given points that have weights of their own.
_COUNTS = (0, 1, 2, 3, 5, 8, 12, 20)
# Candidates are left out while all that are left out cost less than this, in nats a row: each makes answers slower.
_LEAST_GAIN = 0.004
# A candidate with so many times the squared error of the best one is left out.
_FAR_WORSE = 4.0
# Factors on the scales of the mixture that are tried.
_FACTORS = np.exp(np.linspace(-0.4, 0.6, 6))


class Judged(NamedTuple):
    """The `answers` of one candidate, or of the mixture, to the questions about tasks left out, and its `name`."""

    name: str
    answers: Answers


class Stacked(NamedTuple):
    """The mixture and how it was found.

    - `learner`, `meta`: the mixture, trained on all tasks.
    - `names`: names of its candidates.
    - `counts`, `weights`, `factors`: numbers of given points, and the weights of the candidates and the factor on all scales
      after each of them.
    - `asked`: the questions about tasks left out.
    - `judged`: the answers of the mixture (first) and of every candidate.
    - `each`: the predictives of the mixture's candidates, with the questions on a leading axis.
    """

    learner: PooledLearner
    meta: PooledMeta
    names: list[str]
    counts: list[int]
    weights: np.ndarray
    factors: np.ndarray
    asked: Questions
    judged: list[Judged]
    each: list[Any]


def stack_candidates(setting: Setting, names: Sequence[str]) -> Stacked:
    """Return the mixture of the candidates called `names`, trained and weighed as `setting` says.

    Raises: Stopped (a KeyboardInterrupt) if Ctrl-C or SIGTERM came.
    """
    found: list[Candidate] = []
    with ThreadPoolExecutor(1) as thread:
        setting.shared.update({name: thread.submit(AHEAD[name], setting) for name in names if name in AHEAD})
        for place, name in enumerate(names, 1):
            setting.progress.say(f"model {place} of {len(names)}, {name}")
            found += (CANDIDATES | FAMILY_CANDIDATES | CORRELATED_CANDIDATES)[name](setting)
            if setting.interrupt.raised:
                raise Stopped(0, setting.plan.steps)
    return mix(found, setting.tasks, setting.folds, setting.plan.seed, setting.known)


def mix(found: Sequence[Candidate], tasks: FixedTasks, folds: np.ndarray, seed: int, known: int = 0) -> Stacked:
    """Return the mixture of trained candidates.

    - `found`: the candidates.
    - `tasks`, `folds`: all tasks, and which of them each training saw.
    - `seed`: seed of the questions.
    - `known`: how many of the last inputs say which outcomes of a row are known.
    """
    longest = int(np.asarray(tasks.rows.count).max())
    counts = [count for count in _COUNTS if count <= max(tasks.shots) and count < longest and (count or 0 in tasks.shots)]
    asked = ask(tasks, folds, counts or [min(tasks.shots)], seed, known)
    counts = sorted(set(asked.given.tolist()))
    each = [_predicted(candidate, asked) for candidate in found]
    y, weight = asked.task.query.y, row_weights(asked)
    plain = [score(predictive, y) for predictive in each]
    sane = _sane(plain, np.asarray(y), weight)
    found, each, plain = [found[i] for i in sane], [each[i] for i in sane], [plain[i] for i in sane]
    kept, weights = _weights(plain, weight, asked.given, counts)
    factors, shape, mixed = _calibrated([each[i] for i in kept], weights, asked, weight, counts)
    learner, meta = _pool([found[i] for i in kept], counts, weights, factors, shape)
    judged = [Judged("mixture", mixed), *(Judged(c.name, a) for c, a in zip(found, plain, strict=True))]
    names, each = [found[i].name for i in kept], [each[i] for i in kept]
    return Stacked(learner, meta, names, counts, weights, factors, asked, judged, each)


def _predicted(candidate: Candidate, asked: Questions) -> Any:
    support = candidate.support(asked.task.support)
    return candidate.of_targets(predictives(candidate.learner, candidate.metas, support, asked.task.query.x, asked.fold))


def _sane(plain: list[Answers], y: np.ndarray, weight: np.ndarray) -> list[int]:
    """Return the candidates whose mean is not far worse than the best one's, so that no weight can spoil the mean.

    Raises: InputError if no candidate's mean is finite.
    """
    errors = [float((np.where(weight > 0, ((part.mean - y) ** 2).mean(-1), 0.0) * weight).sum()) for part in plain]
    finite = [error if np.isfinite(error) else np.inf for error in errors]
    if not np.isfinite(min(finite)):
        raise InputError(
            "no candidate predicts the tasks left out by finite numbers: look for rows with wild numbers, or give columns in "
            "other units."
        )
    return [i for i, error in enumerate(finite) if error <= _FAR_WORSE * min(finite)]


def _weights(plain: list[Answers], weight: np.ndarray, given: np.ndarray, counts: list[int]) -> tuple[list[int], np.ndarray]:
    """Return which candidates are kept, and their weights. Candidates that add nothing are left out, one after the other."""
    every = np.stack([answers.log_prob for answers in plain])
    kept = list(range(len(plain)))
    weights, best = weigh(every, weight, given, counts)
    while len(kept) > 1:
        tried = {i: weigh(every[[j for j in kept if j != i]], weight, given, counts) for i in kept}
        least = max(tried, key=lambda i: tried[i][1])
        if tried[least][1] < best - _LEAST_GAIN:
            break
        kept.remove(least)
        weights = tried[least][0]
    return kept, weights


def _calibrated(
    each: list[Any], weights: np.ndarray, asked: Questions, weight: np.ndarray, counts: list[int]
) -> tuple[np.ndarray, Parts | None, Answers]:
    """Return the factor on all scales after each number of given points, the shape of the errors, and the mixture's answers."""
    y, place = asked.task.query.y, np.searchsorted(counts, asked.given)
    if isinstance(each[0], AbstractDiscrete):  # Whole numbers have no scale.
        return np.ones(len(counts)), None, _mixed([score(predictive, y) for predictive in each], weights[place])

    tried = [[log_density(predictive, y, np.full(len(place), factor)) for predictive in each] for factor in _FACTORS]
    log_prob = np.stack([_pooled(parts, weights[place]) for parts in tried])
    wider = widening(len(np.unique(asked.owner)))
    factors = stretches(log_prob, weight, asked.given, counts, _FACTORS) * wider
    mixed = _mixed([score(predictive, y, factors[place]) for predictive in each], weights[place])
    # Of several outputs one shape would tie the errors together.
    if mixed.cdf.shape[-1] > 1 or not all(map(has_shape, each)):
        return factors, None, mixed
    parts = fit_shape(mixed.cdf[..., 0], weight, asked.owner, wider)
    return factors, parts, mixed if parts is None else _reshaped(mixed, parts)


def _reshaped(answers: Answers, parts: Parts) -> Answers:
    """Return answers of one output with errors of another shape.

    This is exact for one normal. Of a mixture it bends the whole and not each component, which differs by some thousandths of a
    nat on average and costs nothing.
    """
    error = errors(answers.cdf)
    bent = parts.log_prob(error) + 0.5 * (error**2 + np.log(2 * np.pi))
    return Answers(answers.log_prob + bent[..., 0], parts.cdf(error), answers.mean)


def _pooled(log_prob: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the log density of the mixture; `weights` are those of each question (questions, parts)."""
    with np.errstate(divide="ignore"):
        return np.asarray(logsumexp(np.stack(log_prob) + np.log(weights.T)[..., None], 0))


def _mixed(parts: list[Answers], weights: np.ndarray) -> Answers:
    """Return the answers of the mixture; `weights` are those of each question (questions, parts)."""
    log_prob = _pooled([part.log_prob for part in parts], weights)
    cdf, mean = (
        sum(w[:, None, None] * values for w, values in zip(weights.T, side, strict=True))
        for side in ([part.cdf for part in parts], [part.mean for part in parts])
    )
    return Answers(log_prob, np.asarray(cdf), np.asarray(mean))


def _pool(
    kept: list[Candidate], counts: list[int], weights: np.ndarray, factors: np.ndarray, shape: Parts | None
) -> tuple[PooledLearner, PooledMeta]:
    """Return the mixture. Candidates of equal learners are copies of one part, so that fewer programs are compiled."""
    groups: list[tuple[AbstractLearner, list[int], list[Any]]] = []
    for i, candidate in enumerate(kept):
        learner, meta = candidate.finished()
        same = next((group for group in groups if group[0] == learner), None)
        if same is None:
            groups.append((learner, [i], [meta]))
        else:
            same[1].append(i)
            same[2].append(meta)
    order = [i for _, places, _ in groups for i in places]
    # By NumPy, because JAX would compile a program for each shape.
    metas = tuple(jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *part) for _, _, part in groups)
    learners, copies = zip(*((learner, len(places)) for learner, places, _ in groups), strict=True)
    learner = PooledLearner(learners, copies, len(counts), 0 if shape is None else len(shape.shifts))
    single = jnp.zeros(()).dtype
    numbers = (np.asarray(counts), weights[:, order], np.log(factors))
    kind = None if shape is None else Shape(*(jnp.asarray(part, single) for part in (np.log(shape.weights), *shape[1:])))
    shots, mixed, log_stretch = (jnp.asarray(part, single) for part in numbers)
    return learner, PooledMeta(metas, shots, mixed, log_stretch, kind)
