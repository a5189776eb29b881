"""The hierarchical learner: what all tasks share, how a task deviates, and the noise, conditioned exactly on a support."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner
from bmaml.learners.hierarchical import scales as of_scales
from bmaml.learners.hierarchical.basis import KNOTS, Basis, Knots
from bmaml.learners.hierarchical.conditioning import conditioned, drawn
from bmaml.learners.hierarchical.posterior import AbstractDrawsPosterior
from bmaml.learners.hierarchical.scales import Deviation, Scales


class HierarchicalMeta(eqx.Module):
    """Meta-parameters: draws of the scales, and what each draw says of the shared mean. Trainings may be on a leading axis.

    - `knots`: where the inputs bend.
    - `scales`: leaves have the leading axes (draws, outputs).
    - `mean`, `root`: mean of the coefficients of the shared mean's functions, and a root R of their covariance R R^T.
    - `log_weights`: log weights of the draws.
    """

    knots: Knots
    scales: Scales
    mean: Float[Array, "*trainings draws outputs functions"]
    root: Float[Array, "*trainings draws outputs functions functions"]
    log_weights: Float[Array, "*trainings draws"]


class _Given(NamedTuple):
    """One draw and output, conditioned on a support: `root` is the Cholesky factor of the covariance of its rows."""

    scales: Scales
    mean: Float[Array, " functions"]
    shared: Float[Array, "functions functions"]
    root: Float[Array, "n n"]
    rest: Float[Array, " n"]


class HierarchicalPosterior(AbstractDrawsPosterior):
    """A Gaussian process for each draw of the scales, weighted by the evidence of the support.

    - `given`: the conditioned draws, with the leading axes (draws, outputs).
    - `log_weights`: log weights of the draws.
    - `basis`, `knots`: the functions of the inputs.
    - `x`, `mask`: inputs of the support, and which of its rows are real.
    """

    given: _Given
    log_weights: Float[Array, " draws"]
    basis: Basis
    knots: Knots
    x: Float[Array, "n inputs"]
    mask: Float[Array, " n"]

    def _functions(self, given: _Given, x: Array, keys: Key[Array, " count"]) -> Array:
        each = jax.vmap(lambda key: jax.random.split(key, given.rest.shape[0]))(keys)
        return jax.vmap(self._draws, (0, None, 1), 2)(given, x, each)

    def _moments(self, x: Array) -> tuple[Array, Array, Array]:
        return jax.vmap(jax.vmap(self._one, (0, None), 1), (0, None))(self.given, x)

    def _reach(self, given: _Given, x: Array) -> tuple[Array, Array, Array]:
        """Return mean at `x`, the functions of the shared mean, and the standardised covariance with the support."""
        functions = self.basis.mean(self.knots, x)
        seen = self.basis.mean(self.knots, self.x)
        cross = of_scales.covariance(self.basis, given.scales, self.x, x) + (seen @ given.shared) @ (functions @ given.shared).T
        half = solve_triangular(given.root, cross * self.mask[:, None], lower=True)
        return functions @ given.mean + half.T @ given.rest, functions, half

    def _one(self, given: _Given, x: Array) -> tuple[Array, Array, Array]:
        mean, functions, half = self._reach(given, x)
        before = of_scales.variance(self.basis, given.scales, x) + ((functions @ given.shared) ** 2).sum(1)
        # The noise is the least that is not known, so a difference that rounding makes negative does no harm.
        variance = jnp.maximum(before - (half**2).sum(0), 1e-7 * before)
        return mean, variance, of_scales.noise_variance(self.basis, given.scales, x)

    def _draws(self, given: _Given, x: Array, keys: Key[Array, " count"]) -> Array:
        mean, functions, half = self._reach(given, x)
        shared = functions @ given.shared
        before = of_scales.covariance(self.basis, given.scales, x, x) + shared @ shared.T
        return mean[None] + drawn(before, half, keys)


@register("learner/hierarchical")
class HierarchicalLearner(AbstractEvidenceLearner):
    """A mixed model, or a Gaussian process for each task around a shared mean, with the uncertainty of everything shared.

    A measurement is the shared mean, plus how the task deviates, plus noise:

        y = f(x) + g_task(x) + e,   e ~ N(0, s_task^2 noise(x)).

    The shared mean f is a sum of lines, bends (natural cubic splines) and products of the inputs, with normal coefficients. A
    task deviates by a constant, by lines in the inputs that vary within tasks (the random slopes of Laird and Ware, 1982,
    https://doi.org/10.2307/2529876), or by a smooth function besides (a Gaussian process with a squared exponential kernel).
    Tasks differ in noise: the factor s_task is log-normal (the location-scale model of Hedeker et al., 2008,
    https://doi.org/10.1111/j.1541-0420.2007.00924.x), and each draw holds one value of the factor.
    `ScaleFit` finds draws of all scales from their posterior given all training tasks. Given a draw, the shared mean,
    the deviation and the noise are jointly Gaussian, so the posterior of a new task is exact. The predictive mixes the draws by
    their weight times the evidence of the support, which makes it wide where tasks are few.

    - `basis`: the functions of the inputs.
    - `outputs`: width of a target row. Outputs are independent given a draw.
    - `deviation`: `"constant"`, `"lines"` or `"smooth"`.
    - `draws`: number of draws of the scales.

    Raises: InputError for fewer than one output or draw.
    """

    basis: Basis
    outputs: int = eqx.field(static=True, default=1)
    deviation: Deviation = eqx.field(static=True, default="lines")
    draws: int = eqx.field(static=True, default=24)

    def __check_init__(self):
        if min(self.outputs, self.draws) < 1:
            raise InputError(f"HierarchicalLearner has {self.outputs} outputs and {self.draws} draws: give at least 1 of each.")

    def init(self, key: PRNGKeyArray) -> HierarchicalMeta:
        del key
        curves, functions = len(self.basis.curves), len(self.basis.groups)
        scales = of_scales.start(self.basis, self.deviation)
        shape = (self.draws, self.outputs)
        spread = jnp.sqrt(of_scales.mean_variance(self.basis, scales))
        places = jnp.tile(jnp.linspace(-1.5, 1.5, KNOTS), (curves, 1))
        bends = KNOTS - 2
        return HierarchicalMeta(
            Knots(places, jnp.zeros((curves, 2, bends)), jnp.tile(jnp.eye(bends), (curves, 1, 1))),
            {name: jnp.broadcast_to(value, (*shape, *value.shape)) for name, value in scales.items()},
            jnp.zeros((*shape, functions)),
            jnp.broadcast_to(jnp.diag(spread), (*shape, functions, functions)),
            jnp.zeros(self.draws),
        )

    def adapt(self, meta: HierarchicalMeta, support: Data, *, key: PRNGKeyArray | None = None) -> HierarchicalPosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(
        self, meta: HierarchicalMeta, data: Data, *, key: PRNGKeyArray | None = None
    ) -> tuple[HierarchicalPosterior, Float[Array, ""]]:
        mask = (data.mask > 0).astype(data.x.dtype)
        # Masked rows may hold anything, and 0 times it is 0 only if it is finite.
        x, y = jnp.where(mask[:, None] > 0, data.x, 0.0), jnp.where(mask[:, None] > 0, data.y, 0.0)
        functions = self.basis.mean(meta.knots, x)

        def one(scales: Scales, mean: Array, shared: Array, y: Array) -> tuple[_Given, Array]:
            reach = functions @ shared
            covariance = of_scales.covariance(self.basis, scales, x, x) + reach @ reach.T
            noise = of_scales.noise_variance(self.basis, scales, x)
            covariance = covariance * mask[:, None] * mask[None]
            root, rest, log_density = conditioned(covariance, noise, mask * (y - functions @ mean), mask)
            return _Given(scales, mean, shared, root, rest), log_density

        by_output = jax.vmap(one, (0, 0, 0, 1))
        given, evidence = jax.vmap(by_output, (0, 0, 0, None))(meta.scales, meta.mean, meta.root, y)
        prior = jax.nn.log_softmax(meta.log_weights)
        log_weights = prior + evidence.sum(1)
        posterior = HierarchicalPosterior(given, log_weights, self.basis, meta.knots, x, mask)
        return posterior, logsumexp(log_weights)
