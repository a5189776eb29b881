"""Ours on tides, in the form of `baselines_tides.py`: `fit(train) -> predictor`."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from baselines_curves import Prediction, student_t
from baselines_tides import NOISE, gaussian_mixture
from scipy.special import logsumexp, softmax
from tide_mixture import fit_tides
from tide_tasks import TideTasks

from bmaml.data import Data

MOST = 32  # contexts are padded to this, so that all have one shape


def experts(train):
    """`bmaml`'s exact experts, by empirical Bayes: a mixture of Gaussians with heavy tails, fitted by EM."""
    return predictor(*fit_tides(_tasks(train)))


def experts_trained(train):
    """The same, then trained to predict by gradient."""
    return predictor(*fit_tides(_tasks(train), steps=400))


def _tasks(train) -> TideTasks:
    speed = jnp.asarray(np.radians(train.speeds), float)
    return TideTasks(jnp.asarray(train.coefficients, float), speed, jnp.zeros(len(train.coefficients)), noise=NOISE)


@eqx.filter_jit
def _components(learner, meta, support, queries):
    """Log weights (k,), degrees of freedom (k,), locations and scales (k, q): meta is an argument, so one program serves."""
    mixture = learner.adapt(meta, support).predict(queries)
    parts = mixture.components
    return mixture.log_weights, parts.df[:, 0, 0], parts.loc[:, :, 0], parts.scale[:, :, 0]


def predictor(learner, meta):
    """The predictor of a learner, contexts of up to `MOST` readings."""

    def predict(context, queries):
        x, y, mask = np.zeros((MOST, 1)), np.zeros((MOST, 1)), np.arange(MOST) < len(context.t)
        x[: len(context.t), 0], y[: len(context.t), 0] = context.t, context.y
        support = Data(*(jnp.asarray(leaf, float) for leaf in (x, y, mask)))
        found = _components(learner, meta, support, jnp.asarray(queries, float)[:, None])
        return _prediction(*(np.asarray(leaf, float) for leaf in found))

    return predict


def _prediction(log_weights, df, loc, scale) -> Prediction:
    """A mixture of Student-t with log weights (k,), degrees of freedom (k,), locations and scales (k, q)."""

    def log_prob(y):
        each = [student_t(*part).log_prob(y) for part in zip(loc, scale, df, strict=True)]
        return logsumexp(np.stack(each) + (log_weights - logsumexp(log_weights))[:, None], axis=0)

    # With thousands of degrees of freedom the parts are normal to three digits, and normal quantiles are cheap.
    interval = gaussian_mixture(log_weights, loc, scale).interval
    return Prediction(softmax(log_weights) @ loc, log_prob, interval)
