"""bmaml's table front door on the learning curves, at its defaults: what `bmaml fit` does with the same table."""

import os
import warnings
from typing import Any, NamedTuple

import numpy as np
from baselines_curves import SHOTS, SMALLEST_SD, Prediction

# The baselines' floor on the standard deviation, as a ceiling on the density: it can only lower what we score.
HIGHEST = -np.log(SMALLEST_SD * np.sqrt(2 * np.pi))


def bmaml(train):
    """FewShotRegressor at its defaults, told the learner's name as a categorical input."""
    return _fit(train, ["learner"])


def bmaml_no_learner(train):
    """The same, not told the learner's name."""
    return _fit(train, [])


def _fit(train, categorical):
    from bmaml import FewShotRegressor  # imported here: slow, and only this needs it

    model = FewShotRegressor(selection="first", progress=bool(os.environ.get("BMAML_PROGRESS")))
    model.fit(
        table_of(train),
        task="curve",
        x=["train_size", *categorical],
        y=["error"],
        order="train_size",
        log=["train_size"],
        categorical=categorical,
    )
    return Predictor(model)


class Predictor(NamedTuple):
    """A fitted model; `many` gives what a call gives, for all questions of a fold in a few compiled programs."""

    model: Any

    def __call__(self, context, queries):
        """The public path: adapt to the context, predict the queries."""
        task = self.model.adapt(_inputs(context, context.x), context.y)
        asked = _inputs(context, queries)
        return Prediction(
            np.clip(task.predict(asked), 0, 1),  # an error rate, as LightGBM's
            lambda y: np.minimum(task.log_prob(asked, y), HIGHEST),
            lambda level: task.interval(asked, level),
        )

    def many(self, asked, level):
        """Mean, log-density of the targets and whether the central interval covers them (q,), of each question."""
        schema, answers = self.model.schema_, _answers(self.model, asked)
        for q, (mean, log_prob, cdf) in zip(asked, answers, strict=True):
            count = len(q.queries)
            found = schema.decode_value(mean[:count])[:, 0], schema.decode_log_prob(log_prob[:count])
            # A target lies within the central interval where its CDF does, and the CDF needs no bisection.
            yield np.clip(found[0], 0, 1), np.minimum(found[1], HIGHEST), abs(cdf[:count, 0] - 0.5) <= level / 2


def _answers(model, asked):
    """Mean, log-density and CDF of the targets of each question, standardised, padded to the longest."""
    import equinox as eqx
    import jax

    @eqx.filter_jit
    def answer(learner, meta, pairs):
        def one(pair):
            predictive = learner.adapt(meta, pair[0], key=jax.random.key(model.seed)).predict(pair[1].x)
            return predictive.mean, predictive.log_prob(pair[1].y), predictive.cdf(pair[1].y)

        return jax.lax.map(one, pairs, batch_size=32)

    given = _padded(model.schema_, [q.context for q in asked], max(SHOTS))
    longest = max(len(q.queries) for q in asked)
    targets = _padded(model.schema_, [q.context._replace(x=q.queries, y=q.noisy) for q in asked], longest)
    found = answer(model.run_.method.answerer, model.run_.meta, (given, targets))
    return zip(*(np.asarray(part) for part in found), strict=True)


def _padded(schema, curves, rows):
    """Curves as one encoded, padded `Data` with a leading axis."""
    from bmaml.data import Data
    from bmaml.tables import read_table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a learner that training lacks is encoded as none of the known ones
        x, y = schema.encode(read_table(table_of(curves)))
    counts = np.array([len(c.x) for c in curves])
    mask = np.arange(rows) < counts[:, None]
    out = Data(*(np.zeros((len(curves), rows, part.shape[1]), np.float32) for part in (x, y)), mask=mask.astype(np.float32))
    out.x[mask], out.y[mask] = x, y
    return out


def _inputs(curve, x):
    """The input columns of one curve at log2 sizes x (r,)."""
    return {"train_size": 2.0**x, "learner": np.full(len(x), curve.learner)}


def table_of(curves):
    """Columns of all rows of all curves."""
    rows = [_inputs(c, c.x) for c in curves]
    columns = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
    task = np.repeat(np.arange(len(curves)), [len(c.x) for c in curves])
    return {"curve": task, "error": np.concatenate([c.y for c in curves])} | columns
