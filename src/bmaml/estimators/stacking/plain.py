"""A plain guess for outcomes of other families than numbers: the given rows and the mean of all, and nothing else."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.distributions import pit
from bmaml.estimators.scores import Errors, averaged, in_units, missed, reach_of
from bmaml.estimators.stacking.questions import Questions
from bmaml.evaluation.metrics import LEVEL
from bmaml.likelihoods import Family, fitted
from bmaml.tables import Schema

# Numbers of rows that the shares of all rows count as: from almost none to so many that a task's own rows count for nothing.
_WORTH = (0.5, 1.0, 2.0, 5.0, 20.0, 1e6)
# Variances of the latent number around the guess that are tried.
_VARIANCES = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)


def plain_errors(family: Family, asked: Questions, here: np.ndarray, schema: Schema) -> Errors:
    """Return the errors of a guess that needs no model.

    The latent number of a task is the one that fits its given rows and the mean of all rows. How far tasks lie from it is the
    variance that predicts best.

    - `family`: the family of the outcomes.
    - `asked`, `here`: the questions, and which of them to answer.
    - `schema`: what the columns mean.
    """
    if family.cells == "classes":
        return _of_classes(asked, here)
    support, query = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[here], part) for part in (asked.task.support, asked.task.query)
    )
    known = [part.x[..., -1] if schema.side is not None else np.zeros(part.mask.shape) for part in (support, query)]
    real = query.mask > 0
    likelihood = fitted(family, query.y[..., 0][real], len(schema.outputs[0].levels)).likelihood
    assert likelihood is not None
    scales = {name: jnp.asarray(centre)[None] for name, (centre, _) in likelihood.priors.items()}
    usual = likelihood.centre(query.y[..., 0][real], known[1][real])
    ordinary = float(likelihood.expected(jnp.asarray(usual), jnp.asarray(0.0), jax.tree.map(lambda leaf: leaf[0], scales)))

    def guess(y: Any, side: Any, seen: Any) -> float:
        return likelihood.centre(np.append(y[seen], ordinary), np.append(side[seen], 0.0)) if seen.any() else usual

    latent = [guess(y[..., 0], side, mask > 0) for y, side, mask in zip(support.y, known[0], support.mask, strict=True)]
    mean = jnp.asarray(np.broadcast_to(np.array(latent)[:, None], real.shape), jnp.zeros(()).dtype)
    y, side = (jnp.asarray(part, mean.dtype) for part in (query.y, known[1]))

    keys = jax.random.split(jax.random.key(1), len(y))

    @jax.jit
    def answers(variance: Array) -> tuple[Array, ...]:
        def one(mean: Array, side: Array, y: Array, key: Array) -> tuple[Array, ...]:
            spread = jnp.full_like(mean, variance)
            predictive = likelihood.predictive(mean[None], spread[None], side, scales, jnp.zeros(1))
            return -predictive.log_prob(y), predictive.mean, pit(predictive, y, key)

        return jax.vmap(one)(mean, side, y, keys)

    tried = [[np.asarray(part, np.float64) for part in answers(jnp.asarray(variance))] for variance in _VARIANCES]
    nll, centre, cdf = min(tried, key=lambda parts: averaged(parts[0], query.mask).mean())
    inside, reach = np.abs(cdf - 0.5) < LEVEL / 2, reach_of(schema, query.x)
    parts = (missed(centre, query.y, reach) ** 2, in_units(nll, reach, schema), inside)
    return Errors(*(averaged(part, query.mask) for part in parts))


def _of_classes(asked: Questions, here: np.ndarray) -> Errors:
    """Return the errors of a guess at classes: the shares of a task's given rows, and of all rows, which count as some rows.

    How many they count as is the number that predicts best.
    """
    support, query = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[here], part) for part in (asked.task.support, asked.task.query)
    )
    usual = query.y[query.mask > 0].mean(0)
    seen, count = (support.y * support.mask[..., None]).sum(1), support.mask.sum(1)[:, None]
    tried = [(seen + worth * usual) / (count + worth) for worth in _WORTH]
    # Where no row is a class, its log is not asked for.
    logs = [np.log(np.maximum(share, 1e-12))[:, None] for share in tried]
    every = [averaged(-(query.y * log).sum(-1), query.mask) for log in logs]
    best = int(np.argmin([nll.mean() for nll in every]))
    share = np.broadcast_to(tried[best][:, None], query.y.shape)
    below, width = np.where(query.y > 0, 1 - share, 0.0), np.where(query.y > 0, share, 1 - share)
    transform = below + width * np.random.default_rng(1).random(share.shape)
    square, inside = (averaged(part, query.mask) for part in ((share - query.y) ** 2, np.abs(transform - 0.5) < LEVEL / 2))
    return Errors(square, every[best], inside)
