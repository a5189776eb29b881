"""What the folds say of a mixture: scores on the tasks left out, beside its candidates and a plain guess."""

from __future__ import annotations

from typing import Any, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.distributions import AbstractNumeric, Shape, pooled, shaped, widened
from bmaml.estimators.calibration import Calibration, calibration, calibration_lines, rows_in_words
from bmaml.estimators.left_out import LeftOut, Names, Predicted, left_out
from bmaml.estimators.scores import Errors, Score, averaged, in_units, missed, normal_errors, reach_of, summary
from bmaml.estimators.stacking.fit import Stacked
from bmaml.estimators.stacking.plain import plain_errors
from bmaml.estimators.stacking.questions import Answers, row_weights
from bmaml.estimators.surprise import known_outputs
from bmaml.evaluation.metrics import LEVEL
from bmaml.likelihoods import FAMILIES, Family
from bmaml.tables import Schema

PLAIN, PLAIN_OF_NONE = "mean of the given rows", "mean of all rows"
"""Name of the plain guess that a model is compared with, and its name where no row is given."""
AS_GOOD = "Where tasks differ in their level alone, this guess is right; else do not trust the model there."
"""What it means that the plain guess is as good."""
# With fewer tasks a coverage of 90% is uncertain by more than ten points.
_FEW_TASKS = 30


class Report(TypedDict):
    """What the folds say of a mixture, as JSON can hold it.

    - `candidates`, `given`: names of the candidates, and numbers of given rows.
    - `weights`, `factors`: weights of the candidates, and the factor on all scales, after each of these numbers.
    - `scores`: the scores, as `Score.to_json` gives them.
    - `family`: name of the family of the outcomes.
    - `calibration`: how often what was said came true.
    """

    candidates: list[str]
    given: list[int]
    weights: list[list[float]]
    factors: list[float]
    scores: list[dict[str, Any]]
    family: str
    calibration: list[Calibration]


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
        reach = reach_of(schema, np.asarray(stacked.asked.task.query.x)[here])
        for judged in stacked.judged:
            answers = Answers(*(part[here] for part in judged.answers))
            name = method if judged.name == "mixture" else judged.name
            found.append(_score(count, name, _errors(answers, y, mask, reach, schema), owner, schema))
        if family.exact:
            plain = _plain(stacked, here, y, mask, schema)
        else:
            plain = plain_errors(family, stacked.asked, here, schema)
        found.append(_score(count, PLAIN if count else PLAIN_OF_NONE, plain, owner, schema))
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
        "family": schema.family,
        "calibration": _calibration(stacked, FAMILIES.find(schema.family)),
    }


def _calibration(stacked: Stacked, family: Family) -> list[Calibration]:
    """Return how often what the mixture said came true, after each number of given rows."""
    asked, said = stacked.asked, stacked.judged[0].answers
    y, weight, found = np.asarray(asked.task.query.y), row_weights(asked), []
    for count in stacked.counts:
        here = asked.given == count
        found.append(calibration(count, said.mean[here], said.cdf[here], y[here], weight[here], family))
    return found


def scores_of(report: Report) -> list[Score]:
    """Return the scores in a `report`."""
    return [Score.from_json(values) for values in report["scores"]]


def shown_score(report: Report, method: object) -> dict[str, object]:
    """Return in words how well new tasks are predicted after about three given rows: a line for each outcome.

    `report` is what the folds say, and `method` the mixture's name.
    """
    lines: dict[str, object] = {}
    own = [score for score in scores_of(report) if score.method == method]
    for score in sorted(own, key=lambda one: abs(one.shots - 3))[:1]:
        for name, error in score.rmse.items():
            held = f"{LEVEL:.0%} intervals held {score.coverage[name].value:.0%}"
            lines[f"{name} after {score.shots} rows of a new task"] = f"RMSE {error.value:.3g}, {held}"
    return lines


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
        low, high = _ends(each, weights, factors, stacked.meta.shape)
        return np.asarray(low, np.float64), np.asarray(high, np.float64)

    answers = (said.mean, -said.log_prob, said.cdf)
    return left_out(
        Predicted(asked.owner, asked.given, asked.task.support, asked.task.query, *answers, interval), tasks, schema
    )


@eqx.filter_jit
def _ends(each: list[AbstractNumeric], weights: Array, factors: Array, shape: Shape | None) -> tuple[Array, Array]:
    """Return the ends of the mixture's intervals, with the questions on a leading axis."""

    def one(question: tuple[list[AbstractNumeric], Array, Array]) -> tuple[Array, Array]:
        each, weights, factor = question
        mixed = pooled(jnp.log(weights), [widened(predictive, factor) for predictive in each])
        return (mixed if shape is None else shaped(mixed, shape)).interval(LEVEL)

    return jax.lax.map(one, (each, weights, factors))


def verdict(report: Report, method: str) -> list[str]:
    """Return sentences that say whether to trust a mixture: its coverage, its weights, and what predicts better.

    `report` is what the folds say, and `method` the mixture's name.
    """
    every, lines = scores_of(report), []
    family = FAMILIES.find(report["family"])
    by_name = {(score.method, score.shots): score for score in every}
    for count in report["given"]:
        own, plain = by_name[method, count], by_name.get((PLAIN, count)) or by_name[PLAIN_OF_NONE, count]
        for name, held in own.coverage.items():
            if held.low is not None and held.high is not None and not held.low <= LEVEL <= held.high:
                middle = f"middle {LEVEL:.0%} of what was predicted" if family.shares else f"{LEVEL:.0%} intervals"
                found = f"After {rows_in_words(count)} the {middle} of {name} held {held.value:.0%}"
                lines.append(f"{found}: recalibrate on further tasks, and read them as {held.value:.0%} until then.")
        if own.nll.value > plain.nll.value:
            lines.append(f"After {rows_in_words(count)} the {plain.method} predicts as well as the model. {AS_GOOD}")
    if not lines:
        known = any(held.low is not None for held in by_name[method, report["given"][0]].coverage.values())
        held = f", and its {LEVEL:.0%} intervals hold what they promise" if known else ""
        lines.append(f"After every number of rows it predicts better than the {PLAIN}{held}, as far as the scores can tell.")
    lines += [] if family.exact else calibration_lines(report["calibration"][-1], family)
    last, weights = report["given"][-1], report["weights"][-1]
    best = int(np.argmax(weights))
    lines.append(f"After {rows_in_words(last)} {weights[best]:.0%} of the weight is on the {report['candidates'][best]}.")
    tasks = max(score.tasks for score in every)
    if tasks < _FEW_TASKS:
        lines.append(f"The table has {tasks} tasks: these scores are rough, and more tasks would make them sure.")
    return lines


def _score(count: int, name: str, errors: Errors, owner: np.ndarray, schema: Schema) -> Score:
    tasks = len(set(owner.tolist()))
    return Score(count, name, tasks, tasks, *summary(errors, owner, np.arange(owner.max() + 1), schema))


def _errors(answers: Answers, y: np.ndarray, mask: np.ndarray, reach: np.ndarray | None, schema: Schema) -> Errors:
    inside, error = np.abs(answers.cdf - 0.5) < LEVEL / 2, missed(answers.mean, y, reach)
    return Errors(*(averaged(part, mask) for part in (error**2, in_units(-answers.log_prob, reach, schema), inside)))


def _plain(stacked: Stacked, here: np.ndarray, y: np.ndarray, mask: np.ndarray, schema: Schema) -> Errors:
    support = stacked.asked.task.support
    given, seen, x = (np.asarray(part, np.float64)[here] for part in (support.y, support.mask, support.x))
    known = seen[..., None] * known_outputs(schema, x)
    guess = (given * known).sum(1) / np.maximum(known.sum(1), 1)
    error = guess[:, None] - y
    deviation = np.sqrt(averaged(error**2, mask).mean(0)) + 1e-6
    return normal_errors(error, deviation, mask, schema)
