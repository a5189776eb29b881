"""What the folds say of a mixture: scores on the tasks left out, beside its candidates and a plain guess."""

from __future__ import annotations

from typing import Any, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.distributions import AbstractNumeric, interval_tail, pooled, widened
from bmaml.estimators.left_out import LeftOut, Names, Predicted, left_out
from bmaml.estimators.scores import Errors, Score, averaged, normal_errors, summary
from bmaml.estimators.stacking.fit import Stacked
from bmaml.estimators.stacking.plain import plain_errors
from bmaml.estimators.stacking.questions import Answers
from bmaml.evaluation.metrics import LEVEL
from bmaml.likelihoods import FAMILIES
from bmaml.tables import Schema

PLAIN = "mean of the given rows"
# With fewer tasks a coverage of 90% is uncertain by more than ten points.
_FEW_TASKS = 30


class Report(TypedDict):
    """What the folds say of a mixture, as JSON can hold it.

    - `candidates`, `given`: names of the candidates, and numbers of given rows.
    - `weights`, `factors`: weights of the candidates, and the factor on all scales, after each of these numbers.
    - `scores`: the scores, as `Score.to_json` gives them.
    """

    candidates: list[str]
    given: list[int]
    weights: list[list[float]]
    factors: list[float]
    scores: list[dict[str, Any]]


def scores(stacked: Stacked, schema: Schema, method: str) -> list[Score]:
    """Return the scores of the mixture, of its candidates and of a plain guess, at each number of given rows.

    Every task was predicted by a training that did not see it. The weights and the factors of the mixture were found on the
    same predictions, but they are few. The plain guess is a normal around the mean of the given rows (0 given rows: around the
    mean of all rows) whose deviation is its own error.

    - `stacked`: the mixture.
    - `schema`: what the columns mean.
    - `method`: the mixture's name.
    """
    found, family = [], FAMILIES.find(schema.family)
    for count in stacked.counts:
        here = stacked.asked.given == count
        owner = stacked.asked.owner[here]
        y, mask = (np.asarray(part, np.float64)[here] for part in (stacked.asked.task.query.y, stacked.asked.task.query.mask))
        for judged in stacked.judged:
            answers = Answers(*(part[here] for part in judged.answers))
            name = method if judged.name == "mixture" else judged.name
            found.append(_score(count, name, _errors(answers, y, mask), owner, schema))
        if family.likelihood is None:
            plain = _plain(stacked, here, y, mask)
        else:
            plain = plain_errors(family, stacked.asked, here, int(schema.exposure is not None))
        found.append(_score(count, PLAIN, plain, owner, schema))
    return found


def report(stacked: Stacked, schema: Schema, method: str) -> Report:
    """Return a record of a mixture for JSON: its weights, factors and scores.

    `stacked` is the mixture, `schema` says what the columns mean, and `method` is the mixture's name.
    """
    return {
        "candidates": stacked.names,
        "given": stacked.counts,
        "weights": np.round(stacked.weights, 4).tolist(),
        "factors": np.round(stacked.factors, 4).tolist(),
        "scores": [score.to_json() for score in scores(stacked, schema, method)],
    }


def scores_of(report: Report) -> list[Score]:
    """Return the scores in a `report`."""
    return [Score.from_json(values) for values in report["scores"]]


def answers_of(stacked: Stacked, tasks: Names, schema: Schema) -> LeftOut:
    """Return what the mixture said of the tasks left out, task by task.

    - `stacked`: the mixture.
    - `tasks`, `schema`: names of the tasks, and what the columns mean.
    """
    asked, said = stacked.asked, stacked.judged[0].answers

    def interval(questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = np.searchsorted(stacked.counts, asked.given[questions])
        each = [jax.tree.map(lambda leaf: leaf[questions], predictive) for predictive in stacked.each]
        weights, factors = (jnp.asarray(part[place], jnp.zeros(()).dtype) for part in (stacked.weights, stacked.factors))
        low, high = _ends(each, weights, factors, interval_tail(LEVEL))
        return np.asarray(low, np.float64), np.asarray(high, np.float64)

    answers = (said.mean, -said.log_prob, said.cdf)
    return left_out(
        Predicted(asked.owner, asked.given, asked.task.support, asked.task.query, *answers, interval), tasks, schema
    )


@eqx.filter_jit
def _ends(each: list[AbstractNumeric], weights: Array, factors: Array, tail: Array) -> tuple[Array, Array]:
    """Return the ends of the mixture's intervals, with the questions on a leading axis."""

    def one(question: tuple[list[AbstractNumeric], Array, Array]) -> tuple[Array, Array]:
        each, weights, factor = question
        mixed = pooled(jnp.log(weights), [widened(predictive, factor) for predictive in each])
        return mixed.tail_quantile(tail, jnp.asarray(False)), mixed.tail_quantile(tail, jnp.asarray(True))

    return jax.lax.map(one, (each, weights, factors))


def verdict(report: Report, method: str) -> list[str]:
    """Return sentences that say whether to trust a mixture: its coverage, its weights, and what predicts better.

    `report` is what the folds say, and `method` the mixture's name.
    """
    every, lines = scores_of(report), []
    by_name = {(score.method, score.shots): score for score in every}
    for count in report["given"]:
        own, plain = by_name[method, count], by_name[PLAIN, count]
        for name, held in own.coverage.items():
            if held.low is not None and held.high is not None and not held.low <= LEVEL <= held.high:
                found = f"After {count} rows the {LEVEL:.0%} intervals of {name} held {held.value:.0%}"
                lines.append(f"{found}: recalibrate on further tasks.")
        if own.nll.value > plain.nll.value:
            lines.append(f"After {count} rows the {PLAIN} predicts as well: do not trust the model there.")
    last, weights = report["given"][-1], report["weights"][-1]
    best = int(np.argmax(weights))
    lines.append(f"After {last} rows {weights[best]:.0%} of the weight is on the {report['candidates'][best]}.")
    tasks = max(score.tasks for score in every)
    if tasks < _FEW_TASKS:
        lines.append(f"The table has {tasks} tasks: these scores are rough, and more tasks would make them sure.")
    return lines


def _score(count: int, name: str, errors: Errors, owner: np.ndarray, schema: Schema) -> Score:
    tasks = len(set(owner.tolist()))
    return Score(count, name, tasks, tasks, *summary(errors, owner, np.arange(owner.max() + 1), schema))


def _errors(answers: Answers, y: np.ndarray, mask: np.ndarray) -> Errors:
    inside = np.abs(answers.cdf - 0.5) < LEVEL / 2
    return Errors(*(averaged(part, mask) for part in ((answers.mean - y) ** 2, -answers.log_prob, inside)))


def _plain(stacked: Stacked, here: np.ndarray, y: np.ndarray, mask: np.ndarray) -> Errors:
    support = stacked.asked.task.support
    given, seen = (np.asarray(part, np.float64)[here] for part in (support.y, support.mask))
    guess = (given * seen[..., None]).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
    error = guess[:, None] - y
    deviation = np.sqrt(averaged(error**2, mask).mean(0)) + 1e-6
    return normal_errors(error, deviation, mask)
