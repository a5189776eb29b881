"""The exact predictor of tasks from Gaussian processes. It knows the prior, so no learner can beat it.

Given kernel, length and size the function is a Gaussian process, and its posterior has a closed form. Kernels are a sum. Length
and size are integrated by Gauss-Legendre quadrature in their logarithms: each node is a Gaussian process with a weight, and the
evidence of the support reweighs the nodes. So the predictive is a mixture of normals.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Mixture, Normal, check_targets
from bmaml.inference.posteriors import AbstractNoisePosterior
from bmaml.io.checked import Count
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner
from bmaml.tasks.gaussian_process import GaussianProcesses, Process, Range


class ProcessPosterior(AbstractNoisePosterior):
    """Gaussian processes with weights, each conditioned on the support; the predictive is their mixture.

    - `family`: the family that the processes belong to.
    - `support`: the points.
    - `processes`: the prior of each node.
    - `cholesky`: lower factor of the covariance of the noisy targets under each.
    - `white`: the targets, whitened by each.
    - `log_weights`: log weights of the nodes, which need no normalising.
    """

    family: GaussianProcesses
    support: Data
    processes: Process
    cholesky: Float[Array, "nodes n n"]
    white: Float[Array, "nodes n"]
    log_weights: Float[Array, " nodes"]

    def predict(self, x):
        mean, half = jax.vmap(self._moments, (0, 0, 0, None))(self.processes, self.cholesky, self.white, x)
        left = jnp.maximum(self.processes.scale[:, None] ** 2 - (half**2).sum(1), 0.0)
        return Mixture(self.log_weights, Normal(mean[..., None], jnp.sqrt(left + self.family.noise**2)[..., None]))

    def noise_entropy(self, x):
        return jnp.full(len(x), 0.5 * math.log(2 * math.pi * math.e) + math.log(self.family.noise))

    def sample_functions(self, x, *, key, count=1):
        pick_key, draw_key = jax.random.split(key)
        picked = jax.random.categorical(pick_key, self.log_weights, shape=(count,))

        def draw(node: Array, key: PRNGKeyArray) -> Array:
            process = jax.tree.map(lambda leaf: leaf[node], self.processes)
            mean, half = self._moments(process, self.cholesky[node], self.white[node], x)
            left = self.family.covariance(process, x, x) - half.T @ half
            # A covariance of close rows is singular up to rounding, which this decomposition bears.
            return jax.random.multivariate_normal(key, mean, left, method="svd")[:, None]

        return jax.vmap(draw)(picked, jax.random.split(draw_key, count))

    def _moments(
        self, process: Process, cholesky: Array, white: Array, x: Array
    ) -> tuple[Float[Array, " m"], Float[Array, "n m"]]:
        """Return the mean of one process at inputs `x`, and the whitened covariance of the support with it there."""
        across = self.family.covariance(process, self.support.x, x) * self.support.mask[:, None]
        half = solve_triangular(cholesky, across, lower=True)
        return white @ half, half


@register("learner/exact-process")
class ExactProcess(AbstractEvidenceLearner):
    """The exact posterior of a family of Gaussian processes, as a learner without meta-parameters (`init` returns None).

    With the defaults and up to 40 points the quadrature changes the log density of a point by less than 0.005 nat. Double both
    counts to see its error.

    - `family`: the family.
    - `lengths`, `scales`: nodes over the range of lengths and of sizes, for each kernel. A range of no width has one.
    """

    family: GaussianProcesses
    lengths: Count = eqx.field(static=True, default=48)
    scales: Count = eqx.field(static=True, default=24)

    def init(self, key: PRNGKeyArray) -> None:
        return None

    def adapt(self, meta: None, support: Data, *, key: PRNGKeyArray | None = None) -> ProcessPosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(self, meta: None, data: Data, *, key: PRNGKeyArray | None = None) -> tuple[ProcessPosterior, Float[Array, ""]]:
        check_targets((*data.mask.shape, 1), data.y)
        processes, log_prior = self._nodes()
        y = data.y[:, 0] * data.mask

        def condition(process: Process) -> tuple[Array, Array, Array]:
            # A masked row becomes a row of the identity, and adds nothing to anything.
            covariance = self.family.covariance(process, data.x, data.x) * data.mask[:, None] * data.mask[None]
            own = jnp.where(data.mask > 0, self.family.noise**2, 1.0)
            cholesky = jnp.linalg.cholesky(covariance + jnp.diag(own), symmetrize_input=False)
            white = solve_triangular(cholesky, y, lower=True)
            log_det = 2 * jnp.log(jnp.diagonal(cholesky)).sum() + data.mask.sum() * math.log(2 * math.pi)
            return cholesky, white, -0.5 * ((white**2).sum() + log_det)

        cholesky, white, log_each = jax.vmap(condition)(processes)
        log_weights = log_prior + log_each
        posterior = ProcessPosterior(self.family, data, processes, cholesky, white, log_weights)
        return posterior, jax.scipy.special.logsumexp(log_weights)

    def _nodes(self) -> tuple[Process, Float[Array, " nodes"]]:
        """Return every kernel with every node of length and size, and the log prior mass of each."""
        length, scale = _quadrature(self.family.length, self.lengths), _quadrature(self.family.scale, self.scales)
        counts = (len(self.family.kernels), len(length[0]), len(scale[0]))
        kernel, at, size = (grid.ravel() for grid in np.indices(counts))
        mass = length[1][at] * scale[1][size] / counts[0]
        dtype = jnp.zeros(()).dtype
        found = Process(jnp.asarray(kernel, jnp.int32), jnp.asarray(length[0][at], dtype), jnp.asarray(scale[0][size], dtype))
        return found, jnp.asarray(np.log(mass), dtype)


def _quadrature(ends: Range, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes of a uniform distribution, evenly good over the logarithm, and their mass, which adds up to 1."""
    low, high = ends
    if low == high:
        return np.array([low]), np.ones(1)
    places, weights = np.polynomial.legendre.leggauss(count)
    value = np.exp(math.log(low) + (places + 1) / 2 * math.log(high / low))
    mass = weights * value  # The density of the logarithm of a uniform number grows with the number.
    return value, mass / mass.sum()
