"""Several outcomes whose tasks go together: a task that is high in one outcome may be high in another one."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bmaml.data import Data
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner
from bmaml.learners.hierarchical import scales as of_scales
from bmaml.learners.hierarchical.basis import Basis, Knots
from bmaml.learners.hierarchical.conditioning import conditioned, drawn
from bmaml.learners.hierarchical.learner import HierarchicalLearner, HierarchicalMeta
from bmaml.learners.hierarchical.posterior import AbstractDrawsPosterior
from bmaml.learners.hierarchical.scales import Scales


class CorrelatedMeta(eqx.Module):
    """Meta-parameters: those of each outcome by itself (`inner`), and how the outcomes of a task go together.

    `root` is a root R of the correlations R R^T of the lines by which a task deviates in each outcome. Trainings may be on a
    leading axis.
    """

    inner: HierarchicalMeta
    root: Float[Array, "*trainings outputs outputs"]


class _Given(NamedTuple):
    """One draw, conditioned on a support. Rows and outcomes are on one axis, the outcomes of a row together."""

    scales: Scales
    mean: Float[Array, "outputs functions"]
    shared: Float[Array, "outputs functions functions"]
    root: Float[Array, "measured measured"]
    rest: Float[Array, " measured"]


def correlation_root(below: Float[Array, " pairs"], outputs: int) -> Float[Array, "outputs outputs"]:
    """Return a root of correlations of so many `outputs`, made of any numbers `below` its diagonal."""
    unit = jnp.eye(outputs, dtype=below.dtype).at[jnp.tril_indices(outputs, -1)].set(below)
    return unit / jnp.sqrt((unit**2).sum(1, keepdims=True))


def deviations(
    basis: Basis,
    scales: Scales,
    root: Float[Array, "outputs outputs"],
    a: Float[Array, "n inputs"],
    b: Float[Array, "m inputs"],
) -> Float[Array, "n outputs m outputs"]:
    """Return the covariance of how a task deviates between rows and outcomes.

    - `basis`, `scales`: the functions of the inputs, and the scales of each outcome on a leading axis.
    - `root`: a root of the correlations between outcomes.
    - `a`, `b`: the rows.
    """
    count = scales["lines"].shape[-1]
    roots = jax.vmap(of_scales.root)(scales)
    left, right = (jnp.einsum("nl,oql->noq", basis.lines(x)[:, :count], jnp.swapaxes(roots, 1, 2)) for x in (a, b))
    whole = jax.vmap(lambda own: of_scales.covariance(basis, own, a, b))(scales)
    between = jnp.einsum("noq,mpq->nomp", left, right) * (root @ root.T)[None, :, None, :]
    alone = jnp.eye(len(root), dtype=root.dtype)
    return jnp.where(alone[None, :, None] > 0, jnp.moveaxis(whole, 0, 1)[..., None], between)


def noise_variances(basis: Basis, scales: Scales, x: Float[Array, "n inputs"]) -> Float[Array, "n outputs"]:
    """Return the noise of each outcome of the rows `x`. `basis` and `scales` are as in `deviations`."""
    return jax.vmap(lambda own: of_scales.noise_variance(basis, own, x), out_axes=1)(scales)


def of_known(
    covariance: Float[Array, "n outputs n outputs"], known: Float[Array, " measured"]
) -> Float[Array, "measured measured"]:
    """Return a `covariance` between rows and outcomes with both on one axis, and 0 where one is not `known`."""
    return covariance.reshape(len(known), len(known)) * known[:, None] * known[None]


class CorrelatedPosterior(AbstractDrawsPosterior):
    """A Gaussian process over rows and outcomes for each draw of the scales, weighted by the evidence of the support.

    - `given`: the conditioned draws, on a leading axis.
    - `log_weights`: log weights of the draws.
    - `basis`, `knots`, `correlation`: the functions of the inputs, and a root of the correlations between outcomes.
    - `x`, `known`: inputs of the support, and which outcomes of its rows are known.
    """

    given: _Given
    log_weights: Float[Array, " draws"]
    basis: Basis
    knots: Knots
    correlation: Float[Array, "outputs outputs"]
    x: Float[Array, "n inputs"]
    known: Float[Array, "n outputs"]

    def _functions(self, given: _Given, x: Array, keys: Key[Array, " count"]) -> Array:
        return self._draws(given, self._inputs(x), keys)

    def _inputs(self, x: Array) -> Array:
        return x[:, : len(self.basis.roles)]

    def _moments(self, x: Array) -> tuple[Array, Array, Array]:
        return jax.vmap(self._one, (0, None))(self.given, self._inputs(x))

    def _reach(self, given: _Given, x: Array) -> tuple[Array, Array, Array]:
        """Return the mean at `x` (n, outputs), what the shared mean may differ by (outputs, n, functions), and the
        standardised covariance of the support with all rows and outcomes.
        """
        functions, seen = (self.basis.mean(self.knots, rows) for rows in (x, self.x))
        moving, moved = (jnp.einsum("nf,ofg->ong", part, given.shared) for part in (functions, seen))
        cross = deviations(self.basis, given.scales, self.correlation, self.x, x)
        cross = cross + _same(jnp.einsum("ong,omg->nmo", moved, moving))
        size = self.known.size
        half = solve_triangular(given.root, cross.reshape(size, -1) * self.known.reshape(size, 1), lower=True)
        mean = functions @ given.mean.T + (half.T @ given.rest).reshape(len(x), -1)
        return mean, moving, half

    def _one(self, given: _Given, x: Array) -> tuple[Array, Array, Array]:
        mean, moving, half = self._reach(given, x)
        before = jax.vmap(lambda own: of_scales.variance(self.basis, own, x), out_axes=1)(given.scales)
        before = before + (moving**2).sum(-1).T
        variance = jnp.maximum(before - (half**2).sum(0).reshape(before.shape), 1e-7 * before)
        return mean, variance, noise_variances(self.basis, given.scales, x)

    def _draws(self, given: _Given, x: Array, keys: Key[Array, " count"]) -> Array:
        mean, moving, half = self._reach(given, x)
        size, before = mean.size, deviations(self.basis, given.scales, self.correlation, x, x)
        before = (before + _same(jnp.einsum("ong,omg->nmo", moving, moving))).reshape(size, size)
        return mean[None] + drawn(before, half, keys).reshape(-1, *mean.shape)


def _same(each: Float[Array, "n m outputs"]) -> Float[Array, "n outputs m outputs"]:
    """Return covariances of rows by outcome as those of rows and outcomes, of which different ones have none."""
    return each[:, None] * jnp.eye(each.shape[-1], dtype=each.dtype)[None, :, None, :]


def known_parts(basis: Basis, x: Float[Array, "n inputs"]) -> tuple[Array, Array]:
    """Return the inputs of `basis`, and which outcomes of each row are known: the further columns of `x`."""
    width = len(basis.roles)
    return x[:, :width], (x[:, width:] > 0).astype(x.dtype)


@register("learner/correlated")
class CorrelatedLearner(AbstractEvidenceLearner):
    """Several outcomes of a mixed model or of Gaussian processes, some of which may be missing in some rows.

    Each outcome has a hierarchical model of its own (`inner`). How far a task's lines lie from those of all tasks goes together
    between outcomes, with one correlation for each pair. So a task that is only measured in one outcome is also known better in
    the others: a multivariate mixed model (Shah, Laird and Schoenfeld, 1997, https://doi.org/10.1080/01621459.1997.10474030).
    Noise and smooth parts of different outcomes are independent.

    Inputs have a further column for each outcome, after those of the basis, that is 1 where the outcome of a row is known. An
    unknown outcome may hold any finite number.
    """

    inner: HierarchicalLearner

    def init(self, key: PRNGKeyArray) -> CorrelatedMeta:
        return CorrelatedMeta(self.inner.init(key), jnp.eye(self.inner.outputs))

    def adapt(self, meta: CorrelatedMeta, support: Data, *, key: PRNGKeyArray | None = None) -> CorrelatedPosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(
        self, meta: CorrelatedMeta, data: Data, *, key: PRNGKeyArray | None = None
    ) -> tuple[CorrelatedPosterior, Float[Array, ""]]:
        basis, own = self.inner.basis, meta.inner
        mask = (data.mask > 0).astype(data.x.dtype)
        x, known = known_parts(basis, jnp.where(mask[:, None] > 0, data.x, 0.0))
        known = known * mask[:, None]
        y, functions, flat = jnp.where(known > 0, data.y, 0.0), basis.mean(own.knots, x), known.ravel()

        def one(scales: Scales, mean: Array, shared: Array) -> tuple[_Given, Array]:
            reach = jnp.einsum("nf,ofg->ong", functions, shared)
            covariance = deviations(basis, scales, meta.root, x, x) + _same(jnp.einsum("ong,omg->nmo", reach, reach))
            covariance, noise = of_known(covariance, flat), noise_variances(basis, scales, x).ravel()
            root, rest, log_density = conditioned(covariance, noise, flat * (y - functions @ mean.T).ravel(), flat)
            return _Given(scales, mean, shared, root, rest), log_density

        given, evidence = jax.vmap(one)(own.scales, own.mean, own.root)
        log_weights = jax.nn.log_softmax(own.log_weights) + evidence
        posterior = CorrelatedPosterior(given, log_weights, basis, own.knots, meta.root, x, known)
        return posterior, logsumexp(log_weights)
