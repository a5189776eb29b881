"""The library's models for tables, with one compiled program for all questions of a fold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from data import GIVEN, Question, Rows, Spec
from scores import Answer

_AT_ONCE = 16


def model(method: str):
    """Return the method of the bench that fits the model called `method`."""

    def fit(train: Rows, spec: Spec):
        from bmaml import FewShotRegressor

        # The Gaussian process knows numbers only, and is asked for the probability of a step on both sides of the outcome.
        family = spec.family if method == "mixture" else "normal"
        fitted = FewShotRegressor(method, selection="first" if spec.forecast else "random", family=family)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted.fit(
                _table(train),
                task="task",
                x=list(spec.x),
                y=[spec.y],
                order=spec.x[0] if spec.forecast else None,
                categorical=list(spec.categorical),
            )
        return lambda asked: _answers(fitted, asked, spec)

    return fit


def _table(rows: Rows) -> dict[str, np.ndarray]:
    return rows.columns | {"task": rows.task.astype(str)}


def _answers(fitted: Any, asked: list[Question], spec: Spec) -> list[Answer]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from bmaml.distributions import AbstractDiscrete
    from bmaml.evaluation.metrics import crps
    from bmaml.io.programs import compiler_options

    schema = fitted.schema_
    assert all(column.level is None for column in (*schema.inputs, *schema.outputs))
    scale = float(np.asarray(schema.scales)[0])
    half = jnp.asarray(0.5 * spec.step / scale, jnp.float32)
    whole = fitted.run_.method.name == "mixture" and spec.family != "normal"

    # A compiler in a hurry saves more than a fast program does.
    @eqx.filter_jit(compiler_options=compiler_options(runs_once=True))  # pyright: ignore[reportCallIssue]
    def answer(learner, meta, pairs):
        def one(pair):
            support, query = pair
            predictive = learner.adapt(meta, support, key=jax.random.key(0)).predict(query.x)
            log_prob, scored = predictive.log_prob(query.y), crps(predictive, query.y, jax.random.key(1))
            assert isinstance(predictive, AbstractDiscrete) == whole
            # Whole numbers have a probability of their own: one below, and up to the outcome.
            sides = ((-1, 1) if spec.step else (0,)) if not whole else (-2, 0)
            ends = [predictive.cdf(query.y + side * half) for side in sides]
            above = [predictive.survival(query.y + side * half) for side in sides]
            return predictive.mean, log_prob, scored, jnp.stack(ends), jnp.stack(above)

        return jax.lax.map(one, pairs, batch_size=_AT_ONCE)

    longest = max(len(question.asked.task) for question in asked)
    # A number that is no multiple would make two programs.
    filled = [*asked, *[asked[0]] * (-len(asked) % _AT_ONCE)]
    given = _padded(fitted, [question.given for question in filled], max(GIVEN))
    wanted = _padded(fitted, [question.asked for question in filled], longest)
    parts = answer(fitted.run_.method.answerer, fitted.run_.meta, (given, wanted))
    mean, log_prob, scored, cdf, survival = (np.asarray(part, np.float64) for part in parts)
    answers = []
    for i, question in enumerate(asked):
        rows = slice(0, len(question.asked.task))
        below, upto = cdf[i, 0, rows, 0], cdf[i, -1, rows, 0]
        if spec.step and not whole:
            # The difference on the side of the nearer tail keeps its digits.
            mass = np.where(below > 0.5, survival[i, 0, rows, 0] - survival[i, -1, rows, 0], upto - below)
            log_score = np.log(np.maximum(mass, 1e-30))
        else:
            log_score = schema.decode_log_prob(log_prob[i, rows])
        answers.append(Answer(schema.decode_value(mean[i, rows])[:, 0], log_score, below, upto, scale * scored[i, rows]))
    return answers


def _padded(fitted: Any, parts: list[Rows], length: int):
    """Return rows as the model sees them, padded to a length, on a leading axis."""
    from bmaml.data import Data, stack
    from bmaml.tables import read_table

    every = {name: np.concatenate([rows.columns[name] for rows in parts]) for name in parts[0].columns}
    table = read_table(every | {"task": np.concatenate([rows.task for rows in parts]).astype(str)})
    cuts = np.cumsum([len(rows.task) for rows in parts])[:-1]
    encoded = (np.split(part, cuts) for part in (fitted.schema_.encode_x(table), fitted.schema_.encode_y(table)))
    padded = []
    for x, y in zip(*encoded, strict=True):
        extra = length - len(x)
        mask = np.pad(np.ones(len(x), np.float32), (0, extra))
        values = [np.pad(np.asarray(part, np.float32), ((0, extra), (0, 0))) for part in (x, y)]
        padded.append(Data(values[0], values[1], mask))  # pyright: ignore[reportArgumentType]
    return stack(padded)
