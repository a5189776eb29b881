"""The Laplace approximation of all tasks together: the mode of what they share and of how each deviates, and the evidence."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.io.programs import rows_options
from bmaml.learners.generalised import scales as of_scales
from bmaml.learners.generalised.newton import LENGTHS, MOST_STEPS, going, lean
from bmaml.learners.generalised.scales import Deviation
from bmaml.learners.hierarchical.basis import Basis, Knots
from bmaml.likelihoods import AbstractLikelihood


class Place(NamedTuple):
    """Coefficients as standard normals: of what all tasks share (`shared`), and of each task (`own`)."""

    shared: Float[Array, " functions"]
    own: Float[Array, "tasks effects"]


class _Arrow(NamedTuple):
    """The precision of all coefficients at a place. Tasks touch each other only through what they share.

    - `root`: Cholesky factor of the precision of what is shared, with the tasks integrated out.
    - `inverse`: covariance of each task's own coefficients, what is shared being known.
    - `pull`: how each task's own coefficients follow what is shared, with its sign turned.
    - `log_det`: log determinant of the whole precision.
    """

    root: Float[Array, "functions functions"]
    inverse: Float[Array, "tasks effects effects"]
    pull: Float[Array, "tasks effects functions"]
    log_det: Float[Array, ""]

    def solve(self, right: Place) -> Place:
        """Return the precision's inverse times `right`."""
        shared = cho_solve((self.root, True), right.shared - jnp.einsum("tqf,tq->f", self.pull, right.own))
        own = jnp.einsum("tpq,tq->tp", self.inverse, right.own)
        return Place(shared, own - jnp.einsum("tqf,f->tq", self.pull, shared))


class JointLaplace:
    """What all tasks say of the scales and of what tasks share, by a Laplace approximation.

    All coefficients together have one mode, which Newton's method finds if the likelihood is log-concave. Otherwise it finds a
    mode near the prior's. The precision there is an arrow, so each step costs one small inverse a task.

    - `basis`, `knots`: the functions of the inputs.
    - `deviation`, `likelihood`: how a task deviates, and the family of the outcome.
    - `rows`: all tasks, on a leading axis. Inputs beyond those of the basis are the family's side input.
    - `centre`: latent number around which the priors lie.
    """

    def __init__(
        self, basis: Basis, knots: Knots, deviation: Deviation, likelihood: AbstractLikelihood, rows: Data, centre: float
    ):
        self.basis, self.knots, self.likelihood, self.centre = basis, knots, likelihood, centre
        mask = rows.mask > 0
        x = jnp.where(mask[..., None], rows.x, 0.0)
        width = len(basis.roles)
        self.x, self.mask = x[..., :width], mask.astype(rows.x.dtype)
        self.side = x[..., width] if x.shape[-1] > width else jnp.zeros_like(self.mask)
        self.start, self.unravel = ravel_pytree(of_scales.start(basis, deviation, likelihood))
        often, once = rows_options(self.mask.size), rows_options(self.mask.size, runs_once=True)
        self._value_and_grad = jax.jit(jax.value_and_grad(self._falling, has_aux=True), compiler_options=often)
        self._densities = jax.jit(self._densities_of, compiler_options=once)
        self._shared = jax.jit(self._shared_of, compiler_options=once)
        self._place = Place(
            jnp.zeros(len(basis.groups), self.x.dtype), jnp.zeros((len(x), of_scales.effects(basis, deviation)), self.x.dtype)
        )

    def _falling(self, flat: Array, fold: Array, y: Array, place: Place) -> tuple[Array, Place]:
        value, place = self.log_density(flat, fold, y, place)
        return -value, place

    def _densities_of(self, flat: Array, *given: Any) -> Array:
        # One draw after the other, since each holds all functions.
        return jax.lax.map(lambda one: self.log_density(one, *given)[0], flat)

    def _shared_of(self, flat: Array, *given: Any) -> tuple[Array, Array]:
        return jax.lax.map(lambda one: self.coefficients(one, *given), flat)

    def value_and_grad(self, flat: Array, fold: Array, y: Array) -> tuple[Array, Array]:
        """Return minus the log density of the scales `flat`, and its slope. A climb begins where the one before it ended.

        `fold` and `y` are as in `log_density`.
        """
        (value, self._place), slope = self._value_and_grad(flat, fold, y, self._place)
        return value, slope

    def densities(self, flat: Array, fold: Array, y: Array) -> Array:
        """Return the log densities of draws of the scales `flat`. `fold` and `y` are as in `log_density`."""
        return self._densities(flat, fold, y, self._place)

    def shared(self, flat: Array, fold: Array, y: Array) -> tuple[Array, Array]:
        """Return what `coefficients` says of each draw of the scales `flat`. `fold` and `y` are as in `log_density`."""
        return self._shared(flat, fold, y, self._place)

    def log_density(self, flat: Array, fold: Array, y: Array, place: Place) -> tuple[Array, Place]:
        """Return the log posterior of the scales `flat`, up to a constant, and the mode of the coefficients.

        The mode depends on the scales, and so does the slope through it. At the mode the slope of the height is 0, and the
        derivative of a log determinant is that of the trace with the inverse held. So only products are differentiated.

        - `fold`, `y`: which tasks, or which of their rows, are seen, and their outcomes.
        - `place`: where the climb begins.
        """
        held = _Problem(self, jax.lax.stop_gradient(flat), fold, y)
        place = held.mode(jax.lax.stop_gradient(place))
        arrow = held.arrow(place)
        lean = jax.grad(lambda there: -0.5 * held.trace(there, arrow))(place)
        aside = jax.lax.stop_gradient(held.true_arrow(place, arrow).solve(lean))
        value, place, arrow = jax.lax.stop_gradient((held.height(place) - 0.5 * arrow.log_det, place, arrow))
        problem = _Problem(self, flat, fold, y)
        moving = problem.height(place) - 0.5 * problem.trace(place, arrow) + problem.along(place, aside)
        log_prior = of_scales.log_prior(self.unravel(flat), self.likelihood)
        return value + moving - jax.lax.stop_gradient(moving) + log_prior, place

    def coefficients(self, flat: Array, fold: Array, y: Array, place: Place) -> tuple[Array, Array]:
        """Return mean of the coefficients of what tasks share given the scales, and a root of their covariance.

        The mode of all coefficients together shrinks what tasks share towards the centre, where a task says as little as a few
        rows of yes or no do (Breslow and Lin, 1995, https://doi.org/10.1093/biomet/82.1.81). The mean leaves it.

        `flat`, `fold`, `y` and `place` are as in `log_density`.
        """
        problem = _Problem(self, flat, fold, y)
        place = problem.mode(place)
        width = of_scales.widths(self.basis, self.unravel(flat))
        arrow = problem.arrow(place)
        inverse = solve_triangular(arrow.root, jnp.eye(len(arrow.root), dtype=arrow.root.dtype), lower=True).T
        return width * (place.shared + problem.aside(place, arrow).shared), width[:, None] * inverse


class _Problem:
    """The log density of all coefficients given the scales, its slope and its curvature."""

    def __init__(self, of: JointLaplace, flat: Array, fold: Array, y: Array):
        self.scales, self.likelihood, self.centre, self.side = of.unravel(flat), of.likelihood, of.centre, of.side
        self.mask = of.mask * (fold if fold.ndim == 2 else fold[:, None])
        self.y = jnp.where(of.mask > 0, y, 0.0)
        self.functions = jax.vmap(lambda x: of_scales.shared(of.basis, of.knots, self.scales, x))(of.x)
        self.effects = jax.vmap(lambda x: of_scales.own(of.basis, of.knots, self.scales, x))(of.x)

    def change(self, place: Place) -> Array:
        """Return the latent numbers at a place beyond the centre."""
        return self.functions @ place.shared + jnp.einsum("tnq,tq->tn", self.effects, place.own)

    def height(self, place: Place) -> Array:
        return self._fit(self.change(place)) - 0.5 * ((place.shared**2).sum() + (place.own**2).sum())

    def _fit(self, change: Array) -> Array:
        each = self.likelihood.log_prob(self.centre + change, self.y, self.side, self.scales)
        return jnp.where(self.mask > 0, self.mask * each, 0.0).sum()

    def slopes(self, place: Place) -> tuple[Array, Array]:
        latent = self.centre + self.change(place)
        slope, weight = self.likelihood.slopes(latent, self.y, self.side, self.scales)
        return self.mask * slope, self.mask * weight

    def along(self, place: Place, way: Place) -> Array:
        """Return the slope of the height at a `place` in the direction of a `way`."""
        within = (place.shared * way.shared).sum() + (place.own * way.own).sum()
        return (self.slopes(place)[0] * self.change(way)).sum() - within

    def true_arrow(self, place: Place, arrow: _Arrow) -> _Arrow:
        """Return the arrow of the true second derivative, by which the mode moves; the `arrow` itself if that is true, or if
        the place is no mode.
        """
        if self.likelihood.CONCAVE:
            return arrow
        latent = self.centre + self.change(place)
        slope = lambda at: self.likelihood.slopes(at, self.y, self.side, self.scales)[0]  # noqa: E731
        true = self.arrow(place, -self.mask * jax.jvp(slope, (latent,), (jnp.ones_like(latent),))[1])
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(true)]).all()
        return jax.tree.map(lambda own, usual: jnp.where(finite, own, usual), true, arrow)

    def arrow(self, place: Place, weight: Array | None = None) -> _Arrow:
        """Return the precision at a `place`. `weight` is the second derivative of each row with its sign turned."""
        weight = self.slopes(place)[1] if weight is None else weight
        weighted = self.effects * weight[..., None]
        unit = jnp.eye(self.effects.shape[-1], dtype=weight.dtype)
        inverse, log_det = _inverse(unit[None] + jnp.einsum("tnp,tnq->tpq", weighted, self.effects))
        cross = jnp.einsum("tnq,tnf->tqf", weighted, self.functions)
        pull = jnp.einsum("tpq,tqf->tpf", inverse, cross)
        flat = self.functions.reshape(-1, self.functions.shape[-1])
        precision = jnp.eye(flat.shape[-1], dtype=weight.dtype) + (flat * weight.reshape(-1, 1)).T @ flat
        root = jnp.linalg.cholesky(precision - jnp.einsum("tqf,tqg->fg", cross, pull))
        return _Arrow(root, inverse, pull, log_det.sum() + 2 * jnp.log(jnp.diagonal(root)).sum())

    def trace(self, place: Place, arrow: _Arrow) -> Array:
        """Return the trace of the precision at a place, less its prior, times the inverse that an arrow holds."""
        return (self.slopes(place)[1] * self.variances(arrow)).sum()

    def variances(self, arrow: _Arrow) -> Array:
        """Return the variance of each row's latent number, given the `arrow` of all coefficients."""
        rest = self.functions - jnp.einsum("tnq,tqf->tnf", self.effects, arrow.pull)
        covariance = cho_solve((arrow.root, True), jnp.eye(len(arrow.root), dtype=arrow.root.dtype))
        variance = ((rest @ covariance) * rest).sum(-1)
        return variance + jnp.einsum("tnp,tpq,tnq->tn", self.effects, arrow.inverse, self.effects)

    def aside(self, place: Place, arrow: _Arrow) -> Place:
        """Return how far the mean of the coefficients is from their mode `place`, to first order, given the `arrow` there."""
        third = self.likelihood.third(self.centre + self.change(place), self.y, self.side, self.scales)
        slope = lean(self.mask * third, self.variances(arrow))
        shared = jnp.einsum("tnf,tn->f", self.functions, slope)
        return arrow.solve(Place(shared, jnp.einsum("tnq,tn->tq", self.effects, slope)))

    def upwards(self, place: Place) -> Place:
        """Return the slope of the height in all coefficients at a `place`."""
        slope = self.slopes(place)[0]
        shared = jnp.einsum("tnf,tn->f", self.functions, slope) - place.shared
        return Place(shared, jnp.einsum("tnq,tn->tq", self.effects, slope) - place.own)

    def mode(self, start: Place) -> Place:
        """Return the most likely coefficients. The climb begins at `start`."""

        def climb(carry: tuple[Array, Array, Place]) -> tuple[Array, Array, Place]:
            count, _, place = carry
            slope = self.upwards(place)
            ahead = self.arrow(place).solve(slope)
            latent, change = self.change(place), self.change(ahead)

            def height(length: Array) -> Array:
                there = jax.tree.map(lambda at, along: at + length * along, place, ahead)
                return self._fit(latent + length * change) - 0.5 * ((there.shared**2).sum() + (there.own**2).sum())

            tried = jnp.asarray(LENGTHS, change.dtype)
            heights = jnp.nan_to_num(jax.vmap(height)(tried), nan=-jnp.inf, posinf=-jnp.inf)
            better = heights.max() >= self.height(place)
            best = jnp.where(better, tried[jnp.argmax(heights)], 0.0)
            gain = jnp.where(better, (slope.shared * ahead.shared).sum() + (slope.own * ahead.own).sum(), 0.0)
            return count + 1, gain, jax.tree.map(lambda at, along: at + best * along, place, ahead)

        # Under other scales the place before can be far off, or no number.
        none = jax.tree.map(jnp.zeros_like, start)
        near = self.height(start) > self.height(none)
        start = jax.tree.map(lambda at, zero: jnp.where(near, at, zero), start, none)
        first = (jnp.zeros((), int), jnp.full_like(self.mask[0, 0], np.inf), start)
        return jax.lax.while_loop(lambda carry: going(carry[0], carry[1], MOST_STEPS), climb, first)[2]


def _inverse(matrices: Float[Array, "tasks effects effects"]) -> tuple[Array, Float[Array, " tasks"]]:
    """Return the inverses of many small positive definite matrices, and their log determinants.

    One step for each row on all matrices at once (Gauss and Jordan). A factorisation of each would cost more.
    """
    size = matrices.shape[-1]

    def sweep(row: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        left, log_det = carry
        pivot = left[:, row, row]
        line, column = left[:, row] / pivot[:, None], left[:, :, row]
        there = (jnp.arange(size) == row).astype(left.dtype)
        outer = column[:, :, None] * line[:, None, :]
        swept = left - outer
        # The row becomes the line, the column its negative share, and the pivot its inverse.
        swept = jnp.where(there[None, :, None] > 0, line[:, None, :], swept)
        swept = jnp.where(there[None, None, :] > 0, -(column / pivot[:, None])[:, :, None], swept)
        both = there[:, None] * there[None]
        swept = jnp.where(both[None] > 0, (1 / pivot)[:, None, None], swept)
        return swept, log_det + jnp.log(pivot)

    return jax.lax.fori_loop(0, size, sweep, (matrices, jnp.zeros_like(matrices[:, 0, 0])))
