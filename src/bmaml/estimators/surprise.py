"""How unlike the fitted tasks a new one is: each of its rows is compared with its prediction from the rows before it."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import chdtrc, ndtri

from bmaml.data import Data
from bmaml.distributions import AbstractNumeric, pit
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.tables import Schema

COMPARED = 16
"""Rows of a task whose surprise is measured at most."""


@eqx.filter_jit
def transforms(
    learner: AbstractLearner, meta: Meta, support: Data, key: PRNGKeyArray
) -> Float[Array, "tasks rows outputs"] | Float[Array, "rows outputs"]:
    """Return the probability integral transform of each row of a `support` given the rows before it.

    `learner` and `meta` are those that adapt. A support with a leading axis is one of several tasks.
    """
    if support.mask.ndim > 1:
        return jax.vmap(lambda own: transforms(learner, meta, own, key))(support)

    def one(row: Array) -> Array:
        before = support.mask * (jnp.arange(len(support.mask)) < row).astype(support.mask.dtype)
        posterior = learner.adapt(meta, Data(support.x, support.y, before), key=key)
        predictive = posterior.predict(jnp.take(support.x, row[None], 0))
        assert isinstance(predictive, AbstractNumeric)
        return pit(predictive, jnp.take(support.y, row[None], 0), jax.random.fold_in(key, row))[0]

    return jax.lax.map(one, jnp.arange(len(support.mask)))


def known_outputs(schema: Schema, x: np.ndarray) -> np.ndarray:
    """Return which outcomes of encoded rows are known, of shape (..., rows, outputs).

    `schema` says which columns of the encoded inputs `x`, of shape (..., rows, width), hold this. Without such columns all are.
    """
    width = len(schema.answers)
    return x[..., -width:] > 0 if schema.partial else np.ones((*x.shape[:-1], width), bool)


def surprise(found: Float[np.ndarray, "rows outputs"]) -> float:
    """Return the probability of rows as unlikely as these, or more, from the transform of each row in `found`.

    Of several outputs the smallest counts. It is 1 for no row.
    """
    if not len(found):
        return 1.0
    far = ndtri(np.clip(np.asarray(found, np.float64), 1e-7, 1 - 1e-7)) ** 2
    each = chdtrc(len(far), far.sum(0))
    return float(min(1.0, each.min() * len(each)))
