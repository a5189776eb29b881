"""The generalised mixed model: what tasks share and how a task deviates, conditioned on the outcomes of its support."""

from __future__ import annotations

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import AbstractNumeric
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractMembersPosterior, AbstractNoisePosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner
from bmaml.learners.generalised import scales as of_scales
from bmaml.learners.generalised.newton import climb
from bmaml.learners.generalised.scales import Deviation
from bmaml.learners.hierarchical.basis import KNOTS, Basis, Knots
from bmaml.likelihoods import AbstractLikelihood
from bmaml.likelihoods.base import Scales


class GeneralisedMeta(eqx.Module):
    """Meta-parameters: draws of the scales, and what each draw says of what tasks share. Trainings may be on a leading axis.

    - `knots`: where the inputs bend.
    - `scales`: logs of the scales, with a leading axis of draws.
    - `mean`, `root`: mean of the shared coefficients, and a root R of their covariance R R^T.
    - `log_weights`: log weights of the draws.
    - `centre`: latent number around which the priors lie.
    """

    knots: Knots
    scales: Scales
    mean: Float[Array, "*trainings draws functions"]
    root: Float[Array, "*trainings draws functions functions"]
    log_weights: Float[Array, "*trainings draws"]
    centre: Float[Array, "*trainings"]


class _Given(NamedTuple):
    """One draw, conditioned on a support: mean and Cholesky factor of the precision of coefficients as standard normals."""

    scales: Scales
    mean: Float[Array, " functions"]
    shared: Float[Array, "functions functions"]
    place: Float[Array, " coefficients"]
    root: Float[Array, "coefficients coefficients"]


class GeneralisedPosterior(AbstractMembersPosterior, AbstractNoisePosterior):
    """A normal approximation of the latent numbers for each draw of the scales, weighted by the evidence of the support.

    Functions are the means of the outcome given the latent number, such as probabilities of yes.

    - `basis`, `knots`, `likelihood`: the functions of the inputs, and the family of the outcome.
    - `given`: the conditioned draws, on a leading axis.
    - `log_weights`: log weights of the draws.
    - `centre`: latent number around which the priors lie.
    """

    basis: Basis
    knots: Knots
    likelihood: AbstractLikelihood
    given: _Given
    log_weights: Float[Array, " draws"]
    centre: Float[Array, ""]

    def predict(self, x) -> AbstractNumeric:
        inputs, side = _parts(self.basis, x)
        mean, variance = jax.vmap(self._moments, (0, None))(self.given, inputs)
        return self.likelihood.predictive(mean, variance, side, self.given.scales, self.log_weights)

    def each(self, score, x):
        inputs, side = _parts(self.basis, x)

        def one(given: _Given) -> Array:
            mean, variance = self._moments(given, inputs)
            scales = jax.tree.map(lambda leaf: leaf[None], given.scales)
            alone = self.likelihood.predictive(mean[None], variance[None], side, scales, jnp.zeros_like(mean, shape=(1,)))
            return score(alone)

        return jax.lax.map(one, self.given)

    def noise_entropy(self, x):
        inputs, side = _parts(self.basis, x)
        mean, variance = jax.vmap(self._moments, (0, None))(self.given, inputs)
        return self.likelihood.noise_entropy(mean, variance, side, self.given.scales, self.log_weights)

    def sample_functions(self, x, *, key, count=1):
        inputs, side = _parts(self.basis, x)
        pick_key, draw_key = jax.random.split(key)
        picked = jax.random.categorical(pick_key, self.log_weights, shape=(count,))

        def function(draw: Array, key: PRNGKeyArray) -> Array:
            given = jax.tree.map(lambda leaf: leaf[draw], self.given)
            normal = jax.random.normal(key, given.place.shape, given.place.dtype)
            place = given.place + solve_triangular(given.root.T, normal, lower=False)
            functions, design = _design(self.basis, self.knots, given.scales, given.shared, inputs)
            latent = self.centre + functions @ given.mean + design @ place
            return self.likelihood.expected(latent, side, given.scales)[:, None]

        return jax.vmap(function)(picked, jax.random.split(draw_key, count))

    def _moments(self, given: _Given, x: Array) -> tuple[Array, Array]:
        functions, design = _design(self.basis, self.knots, given.scales, given.shared, x)
        half = solve_triangular(given.root, design.T, lower=True)
        return self.centre + functions @ given.mean + design @ given.place, (half**2).sum(0)


def _parts(basis: Basis, x: Array) -> tuple[Array, Array]:
    """Return the inputs of the functions, and the family's side input."""
    width = len(basis.roles)
    return x[:, :width], x[:, width] if x.shape[1] > width else jnp.zeros_like(x, shape=(len(x),))


def _design(basis: Basis, knots: Knots, scales: Scales, shared: Array, x: Array) -> tuple[Array, Array]:
    """Return the shared functions at `x`, and how latent numbers depend on all coefficients as standard normals."""
    functions = basis.mean(knots, x)
    return functions, jnp.concatenate([functions @ shared, of_scales.own(basis, knots, scales, x)], 1)


@register("learner/generalised")
class GeneralisedLearner(AbstractEvidenceLearner):
    """A generalised linear mixed model: outcomes of any family, with the uncertainty of everything shared.

    An outcome has a latent number, such as the log odds of yes or the log of a rate:

        latent = centre + f(x) + g_task(x).

    The function f that tasks share is a sum of lines, bends (natural cubic splines) and products of the inputs. A task deviates
    by g: a constant, lines in the inputs that vary within tasks (Breslow and Clayton, 1993, https://doi.org/10.2307/2290687),
    or also bends. All coefficients are normal. `fit_generalised` finds draws of all scales and, for each, what the training
    tasks say of f, by nested Laplace approximations (Rue et al., 2009, https://doi.org/10.1111/j.1467-9868.2008.00700.x). Given
    a draw, the posterior of a new task is a normal with the curvature of the mode. The mean leaves the mode by a step of first
    order, since a few rows of yes or no make a skewed posterior. The predictive mixes the draws by weight times the Laplace
    evidence of the support, and integrates over the latent number.

    - `basis`: the functions of the inputs. A further input is the family's side input, such as a log exposure.
    - `likelihood`: the family of the outcome.
    - `deviation`: `"none"`, `"constant"`, `"lines"` or `"bends"`.
    - `draws`: number of draws of the scales.
    - `point`: where the normal of a new task lies: `"mean"`, or at its `"mode"` as in models that were saved before there was
      a choice.

    Raises: InputError for fewer than one draw.
    """

    basis: Basis
    likelihood: AbstractLikelihood
    deviation: Deviation = eqx.field(static=True, default="lines")
    draws: int = eqx.field(static=True, default=24)
    point: Literal["mode", "mean"] = eqx.field(static=True, default="mode")

    def __check_init__(self):
        if self.draws < 1:
            raise InputError(f"GeneralisedLearner has {self.draws} draws: give at least 1.")

    def init(self, key: PRNGKeyArray) -> GeneralisedMeta:
        del key
        scales = of_scales.start(self.basis, self.deviation, self.likelihood)
        width, curves, bends = of_scales.widths(self.basis, scales), len(self.basis.curves), KNOTS - 2
        places = jnp.tile(jnp.linspace(-1.5, 1.5, KNOTS), (curves, 1))
        return GeneralisedMeta(
            Knots(places, jnp.zeros((curves, 2, bends)), jnp.tile(jnp.eye(bends), (curves, 1, 1))),
            jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.draws, *leaf.shape)), scales),
            jnp.zeros((self.draws, len(width))),
            jnp.broadcast_to(jnp.diag(width), (self.draws, len(width), len(width))),
            jnp.zeros(self.draws),
            jnp.zeros(()),
        )

    def adapt(self, meta: GeneralisedMeta, support: Data, *, key: PRNGKeyArray | None = None) -> GeneralisedPosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(
        self, meta: GeneralisedMeta, data: Data, *, key: PRNGKeyArray | None = None
    ) -> tuple[GeneralisedPosterior, Float[Array, ""]]:
        mask = (data.mask > 0).astype(data.x.dtype)
        # Masked rows may hold anything, and 0 times it is 0 only if it is finite.
        x, y = jnp.where(mask[:, None] > 0, data.x, 0.0), jnp.where(mask > 0, data.y[:, 0], 0.0)
        inputs, side = _parts(self.basis, x)

        def one(scales: Scales, mean: Array, shared: Array) -> tuple[_Given, Array]:
            functions, design = _design(self.basis, meta.knots, scales, shared, inputs)
            before = meta.centre + functions @ mean

            def density(change: Array) -> Array:
                return jnp.where(mask > 0, self.likelihood.log_prob(before + change, y, side, scales), 0.0).sum()

            def slopes(change: Array) -> tuple[Array, Array]:
                slope, weight = self.likelihood.slopes(before + change, y, side, scales)
                return mask * slope, mask * weight

            def third(change: Array) -> Array:
                leaning = mask if self.point == "mean" else jnp.zeros_like(mask)
                return leaning * self.likelihood.third(before + change, y, side, scales)

            place, root, evidence = climb(density, slopes, third, design)
            return _Given(scales, mean, shared, place, root), evidence

        given, evidence = jax.vmap(one)(meta.scales, meta.mean, meta.root)
        log_weights = jax.nn.log_softmax(meta.log_weights) + evidence
        return GeneralisedPosterior(self.basis, meta.knots, self.likelihood, given, log_weights, meta.centre), logsumexp(
            log_weights
        )
