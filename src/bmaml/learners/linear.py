"""Bayesian linear regression with a learned prior of the coefficients: the random-effects model of statistics."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Normal, check_targets
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractJointPosterior, AbstractNoisePosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner

Meta = dict[str, Any]


class LinearPosterior(AbstractJointPosterior, AbstractNoisePosterior):
    """A Gaussian over a task's coefficients, one vector for each output.

    - `mean`: mean of the coefficients, the intercept last.
    - `root`: a matrix R for each output, with the covariance of the coefficients R R^T.
    - `std`: standard deviation of the noise of each output.
    """

    mean: Float[Array, "outputs features"]
    root: Float[Array, "outputs features features"]
    std: Float[Array, " outputs"]

    def predict(self, x):
        features = _with_constant(x)
        half = jnp.einsum("nf,ofg->ong", features, self.root)
        return Normal(features @ self.mean.T, jnp.sqrt((half**2).sum(-1).T + self.std[None] ** 2))

    def sample_functions(self, x, *, key, count=1):
        drawn = jax.random.normal(key, (count, *self.mean.shape), self.mean.dtype)
        weights = self.mean[None] + jnp.einsum("ofg,cog->cof", self.root, drawn)
        return jnp.einsum("nf,cof->cno", _with_constant(x), weights)

    def log_joint(self, query):
        return jax.vmap(_condition, (0, 0, 0, None, 1))(self.mean, self.root, self.std, query, query.y)[2].sum()

    def noise_entropy(self, x):
        return Normal(jnp.zeros((len(x), len(self.std)), x.dtype), self.std[None]).entropy()


@register("learner/linear")
class LinearLearner(AbstractEvidenceLearner):
    """Bayesian linear regression whose prior of the coefficients and whose noise are learned from all tasks.

    A task has y = w x + c + noise. Its coefficients (w, c) are normal, with a mean and a full covariance that tasks share, and
    each output has its own. So slopes and intercepts may go together, as in the random-effects model of Laird and Ware (1982),
    https://doi.org/10.2307/2529876. The posterior and the evidence are exact, and `EvidenceLoss` trains by empirical Bayes. The
    entries of the mask are weights of rows. The learner is a baseline: a function that bends needs other features.

    - `inputs`: width of an input row.
    - `outputs`: width of a target row.
    - `noise`: start of the noise's standard deviation, in units of the targets.
    - `scale`: start of the standard deviation of each coefficient.

    Raises: InputError for fewer than one input or output, or a noise or scale that is not above 0.
    """

    inputs: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    noise: float = eqx.field(static=True, default=0.5)
    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if min(self.inputs, self.outputs) < 1 or not (self.noise > 0 and self.scale > 0):
            raise InputError(
                f"LinearLearner has {self.inputs} inputs, {self.outputs} outputs, noise {self.noise} and scale {self.scale}: "
                "give at least 1 input and output, and numbers above 0."
            )

    def init(self, key: PRNGKeyArray) -> Meta:
        shape = (self.outputs, self.inputs + 1)
        return {
            "mean": jnp.zeros(shape),
            "log_diagonal": jnp.full(shape, jnp.log(self.scale)),
            "below": jnp.zeros((*shape, self.inputs + 1)),
            "log_std": jnp.full(self.outputs, jnp.log(self.noise)),
        }

    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray | None = None) -> LinearPosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(self, meta: Meta, data: Data, *, key: PRNGKeyArray | None = None) -> tuple[LinearPosterior, Float[Array, ""]]:
        check_targets((*data.mask.shape, self.outputs), data.y)
        root = jnp.tril(meta["below"], -1) + jax.vmap(jnp.diag)(jnp.exp(meta["log_diagonal"]))
        std = jnp.exp(meta["log_std"])
        mean, root, evidence = jax.vmap(_condition, (0, 0, 0, None, 1))(meta["mean"], root, std, data, data.y)
        return LinearPosterior(mean, root, std), evidence.sum()


def _with_constant(x: Float[Array, "n inputs"]) -> Float[Array, "n features"]:
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)


def _condition(
    mean: Float[Array, " features"], root: Float[Array, "features features"], std: Array, data: Data, y: Float[Array, " n"]
) -> tuple[Float[Array, " features"], Float[Array, "features features"], Float[Array, ""]]:
    """Return mean and root of one output's coefficients given its rows, and the log evidence of the rows in nats (a sum).

    With w = mean + root z and z ~ N(0, 1), the precision of z given the rows is 1 + G^T G, which no noise makes singular.
    """
    seen, weight = data.mask > 0, data.mask
    # Masked rows may hold anything, and 0 times it is 0 only if it is finite.
    features = jnp.where(seen[:, None], _with_constant(data.x), 0.0)
    rest = jnp.where(seen, y - features @ mean, 0.0) / std
    design = features @ root / std
    precision = jnp.eye(len(mean), dtype=design.dtype) + design.T @ (weight[:, None] * design)
    cholesky = jnp.linalg.cholesky(precision, symmetrize_input=False)
    half = solve_triangular(cholesky, design.T @ (weight * rest), lower=True)
    z = solve_triangular(cholesky, half, lower=True, trans=1)
    # root L^-T is a root of root (L L^T)^-1 root^T.
    narrowed = solve_triangular(cholesky, root.T, lower=True).T
    fit = (weight * (rest**2 + jnp.log(2 * jnp.pi * std**2))).sum() - half @ half
    log_det = 2 * jnp.log(jnp.diagonal(cholesky)).sum()
    return mean + root @ z, narrowed, -0.5 * (fit + log_det)
