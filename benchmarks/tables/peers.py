"""What people fit to such tables: a mixed model, a generalised mixed model, and trees that see what is given."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
from data import GIVEN, Question, Rows, Spec, design
from scipy import stats
from scores import Answer, discrete, normal

# Rows that a mixed model is fitted on: more change nothing and cost minutes.
_MOST_ROWS = 8000


def mixed_model(train: Rows, spec: Spec):
    """Return the linear mixed model with the least AIC, by maximum likelihood (statsmodels).

    Tried: polynomials of degree 1 to 3 in the first number, with and without its products with the other inputs, a random
    intercept with and without a random slope. A new task is predicted exactly, given the variances; the uncertainty of the
    fixed effects is carried.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    like, y = train.columns, train.columns[spec.y]
    some = np.sort(np.random.default_rng(0).permutation(len(y))[:_MOST_ROWS])
    best: Any = None
    for degree, products, slopes in itertools.product((1, 2, 3), (False, True), (False, True)):
        fixed, random = _effects(train.columns, spec, like, degree, products, slopes)
        if np.linalg.matrix_rank(fixed) < fixed.shape[1]:
            continue
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = MixedLM(y[some], fixed[some], train.task[some], exog_re=random[some]).fit(reml=False)
        except (np.linalg.LinAlgError, ValueError):
            continue
        size = fixed.shape[1] + random.shape[1] * (random.shape[1] + 1) // 2 + 1
        aic = 2 * size - 2 * found.llf
        if np.isfinite(aic) and np.isfinite(found.fe_params).all() and (best is None or aic < best[0]):
            best = (aic, (degree, products, slopes), found)
    _, form, found = best
    beta, between, noise = np.asarray(found.fe_params), np.asarray(found.cov_re), float(found.scale)
    spread = np.nan_to_num(np.asarray(found.cov_params())[: len(beta), : len(beta)])

    def answer(question: Question) -> Answer:
        (fixed, random), (at, at_random) = (_effects(r.columns, spec, like, *form) for r in (question.given, question.asked))
        covariance = fixed @ spread @ fixed.T + random @ between @ random.T + noise * np.eye(len(fixed))
        cross = at @ spread @ fixed.T + at_random @ between @ random.T
        gain = np.linalg.solve(covariance, cross.T).T
        mean = at @ beta + gain @ (question.given.columns[spec.y] - fixed @ beta)
        before = ((at @ spread) * at).sum(1) + ((at_random @ between) * at_random).sum(1)
        variance = np.maximum(before - (gain * cross).sum(1), 0) + noise
        return normal(mean, np.sqrt(variance), question.asked.columns[spec.y], spec.step)

    return lambda asked: [answer(question) for question in asked]


def _effects(
    columns: dict[str, np.ndarray], spec: Spec, like: dict[str, np.ndarray], degree: int, products: bool, slopes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fixed and the random effects' columns."""
    ones = np.ones((len(columns[spec.y]), 1))
    inputs = design(columns, spec, like)
    line = _main(columns, spec, like)
    powers = [line**power for power in range(2, degree + 1)]
    crossed = [line * inputs[:, 1:]] if products and inputs.shape[1] > 1 and like[spec.x[0]].dtype.kind == "f" else []
    fixed = np.concatenate([ones, inputs, *powers, *crossed], 1)
    return fixed, np.concatenate([ones, line], 1) if slopes else ones


def _main(columns: dict[str, np.ndarray], spec: Spec, like: dict[str, np.ndarray]) -> np.ndarray:
    """Return the first input that is a number, standardised; zeros if none is."""
    name = next((name for name in spec.x if like[name].dtype.kind == "f"), None)
    if name is None:
        return np.zeros((len(columns[spec.y]), 1))
    return ((columns[name] - like[name].mean()) / (like[name].std() + 1e-12))[:, None]


def generalised_mixed_model(train: Rows, spec: Spec):
    """Return a Poisson or logistic model with a random intercept (statsmodels), for counts and yes/no.

    Inputs are linear, and the first number also has its square. A new task's intercept is integrated on a grid.
    """
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM, PoissonBayesMixedGLM

    like, y, counts = train.columns, train.columns[spec.y], spec.family == "count"
    fixed = _effects(train.columns, spec, like, 2, False, False)[0]
    kind = PoissonBayesMixedGLM if counts else BinomialBayesMixedGLM
    tasks = (train.task[:, None] == np.unique(train.task)[None]).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = kind(y, fixed, tasks, np.zeros(tasks.shape[1], int), vcp_p=1.0, fe_p=3.0).fit_vb()
    beta, deviation = np.asarray(found.fe_mean), float(np.exp(found.vcp_mean[0]))
    nodes = np.linspace(-5, 5, 101)
    values = np.arange(0, max(20, 6 * int(y.max()))) if counts else np.array([0.0, 1.0])

    def mass(columns: dict[str, np.ndarray]) -> np.ndarray:
        """Return the probability of each value at each node (nodes, rows, values)."""
        place = (_effects(columns, spec, like, 2, False, False)[0] @ beta)[None] + deviation * nodes[:, None]
        if counts:
            return stats.poisson.pmf(values, np.exp(np.clip(place, -20, 9))[..., None])
        one = 1 / (1 + np.exp(-place))
        return np.stack([1 - one, one], -1)

    def answer(question: Question) -> Answer:
        given = question.given.columns[spec.y].astype(int)
        seen = mass(question.given.columns)[:, np.arange(len(given)), given]
        log_weight = np.log(np.maximum(seen, 1e-300)).sum(1) - 0.5 * nodes**2
        weight = np.exp(log_weight - log_weight.max())
        total = np.tensordot(weight / weight.sum(), mass(question.asked.columns), 1)
        return discrete(values.astype(float), total / total.sum(1, keepdims=True), question.asked.columns[spec.y])

    return lambda asked: [answer(question) for question in asked]


def trees(train: Rows, spec: Spec):
    """Return LightGBM on the inputs and on what is known of the given rows.

    Trees learn the distance from the mean of the given rows. The deviation is that of tasks left out, for each number of given
    rows.
    """
    import lightgbm

    rng = np.random.default_rng(0)
    tasks = rng.permutation(np.unique(train.task))[:300]
    asked = [question for task in tasks for question in _training_questions(train, spec, task, rng)]
    x, y = (
        np.concatenate(part) for part in zip(*[_features(question, spec, train.columns) for question in asked], strict=True)
    )
    owner = np.concatenate([np.full(len(question.asked.task), question.task) for question in asked])
    count = np.concatenate([np.full(len(question.asked.task), question.count) for question in asked])

    def fitted(rows: np.ndarray) -> Any:
        return lightgbm.LGBMRegressor(
            n_estimators=200, learning_rate=0.05, num_leaves=15, min_child_samples=10, verbose=-1, n_jobs=1, random_state=0
        ).fit(x[rows], y[rows])

    part = np.searchsorted(np.sort(tasks), owner) % 3
    error = np.empty(len(y))
    for fold in range(3):
        error[part == fold] = y[part == fold] - fitted(part != fold).predict(x[part == fold])
    deviation = {n: np.sqrt((error[count == n] ** 2).mean()) + 1e-9 for n in GIVEN if (count == n).any()}
    whole = fitted(np.ones(len(y), bool))

    def answer(question: Question) -> Answer:
        features, _ = _features(question, spec, train.columns)
        mean = whole.predict(features) + question.given.columns[spec.y].mean()
        return normal(mean, np.full(len(mean), deviation[question.count]), question.asked.columns[spec.y], spec.step)

    return lambda asked: [answer(question) for question in asked]


def _training_questions(train: Rows, spec: Spec, task: int, rng: np.random.Generator) -> list[Question]:
    places = np.flatnonzero(train.task == task)
    found = []
    for count in GIVEN:
        for _ in range(1 if spec.forecast else 4):
            order = places if spec.forecast else rng.permutation(places)
            if len(order) > count:
                found.append(Question(int(task), train.take(order[:count]), train.take(order[count:][:30])))
    return found


def _features(question: Question, spec: Spec, like: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the rows asked for, and their distance from the mean of the given rows."""
    given, asked = (_main(rows.columns, spec, like)[:, 0] for rows in (question.given, question.asked))
    seen = question.given.columns[spec.y]
    near = np.abs(asked[:, None] - given[None]).argmin(1)
    slope = np.polyfit(given, seen, 1)[0] if np.ptp(given) > 1e-9 else 0.0
    common = [seen.mean(), seen.std(), seen[-1], slope, given.mean(), len(seen)]
    each = np.stack([asked - given[near], seen[near], asked - given.mean()], 1)
    whole = np.tile(common, (len(asked), 1))
    features = np.concatenate([design(question.asked.columns, spec, like), each, whole], 1)
    return features, question.asked.columns[spec.y] - seen.mean()
