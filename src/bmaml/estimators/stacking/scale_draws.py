"""Fitting a hierarchical learner: the posterior of its scales given all training tasks, and the shared mean given each draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float
from scipy.optimize import minimize
from scipy.stats import norm, qmc

from bmaml.data import Data
from bmaml.estimators.stacking.task_noise import LOG_FACTORS, log_noise_factors
from bmaml.learners.hierarchical import scales as of_scales
from bmaml.learners.hierarchical.basis import Basis, Knots
from bmaml.learners.hierarchical.learner import HierarchicalLearner, HierarchicalMeta
from bmaml.learners.hierarchical.scales import Scales

_ITERATIONS = 150
# Step of the differences, in logs of scales.
_STEP = 1e-4
# Draws are somewhat wider than the normal approximation, since their weights can take away and never add.
_WIDER = 1.15
# A direction of which nothing is learned has the prior's width at most.
_LEAST_CURVATURE = 0.25


class _Sums(NamedTuple):
    """Sums over tasks that the shared mean and the evidence need. Rows are standardised by the root of their covariance."""

    precision: Float[Array, "functions functions"]
    towards: Float[Array, " functions"]
    square: Float[Array, ""]
    log_det: Float[Array, ""]


def fit_hierarchical(
    learner: HierarchicalLearner, knots: Knots, rows: Data, members: np.ndarray, models: Sequence[slice], seed: int = 0
) -> list[HierarchicalMeta]:
    """Return the meta-parameters of `learner` for each fold, on a leading axis.

    The posterior of the scales is approximated by a normal around its mode, in double precision. Weighted draws from it carry
    what the tasks leave open. The shared mean is integrated out exactly.

    - `knots`: where the inputs bend.
    - `rows`: all tasks, on a leading axis.
    - `members`: which tasks each fold learns from, of shape (folds, tasks).
    - `models`: the outputs of each model. Outputs are fitted side by side, so several models share one compiled program.
    - `seed`: seed of the draws.
    """
    with jax.enable_x64(True):
        whole = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (knots, rows))
        knots64, rows64 = whole
        fold = jnp.asarray(members, jnp.float64)
        targets = jnp.moveaxis(rows64.y, -1, 0)
        evidence = _Evidence(learner, knots64, rows64)
        modes = _modes(evidence, fold, targets)
        drawn, log_weights = _draws(evidence, modes, fold, targets, learner.draws, seed)
        mean, root = evidence.shared(drawn, fold, targets)
        scales = jax.vmap(jax.vmap(jax.vmap(evidence.unravel)))(drawn)
        scales["noise"] = scales["noise"] + _noise_factors(evidence, modes, mean[:, :, 0], fold, targets, learner.draws, seed)
    single = jnp.zeros(()).dtype
    # (folds, outputs, draws, ...) becomes (folds, draws, outputs, ...).
    swapped = jax.tree.map(lambda leaf: jnp.asarray(np.swapaxes(np.asarray(leaf), 1, 2), single), (scales, mean, root))
    tiled = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(members), *leaf.shape)), knots)
    metas = []
    for outputs in models:
        scale, mean, root = jax.tree.map(lambda leaf, outputs=outputs: leaf[:, :, outputs], swapped)
        weights = jnp.asarray(np.asarray(log_weights)[:, outputs].sum(1), single)
        metas.append(HierarchicalMeta(tiled, scale, mean, root, weights))
    return metas


def _noise_factors(
    evidence: _Evidence, modes: Array, mean: Array, fold: Array, targets: Array, count: int, seed: int
) -> Float[Array, "folds outputs draws"]:
    """Return the log of a factor on the noise for each draw: tasks differ in noise."""
    each = np.asarray(evidence.by_task(modes, mean, jnp.asarray(LOG_FACTORS), targets))
    uniform = (qmc.Sobol(2, scramble=False).random(1 << (count - 1).bit_length())[:count] + 0.5 / count) % 1.0
    # In an order of its own, so that the factors do not go with the scales.
    uniform = np.clip(np.random.default_rng([seed, count]).permutation(uniform), 1e-4, 1 - 1e-4)
    seen = np.asarray(fold)
    return jnp.asarray([[log_noise_factors(o, s, uniform) for o in of_fold] for of_fold, s in zip(each, seen, strict=True)])


class _Evidence:
    """Log density of the scales given the tasks of a fold, and the shared mean given the scales."""

    def __init__(self, learner: HierarchicalLearner, knots: Knots, rows: Data):
        self.basis: Basis = learner.basis
        self.x, self.mask = jnp.where(rows.mask[..., None] > 0, rows.x, 0.0), (rows.mask > 0).astype(rows.x.dtype)
        self.functions = jax.vmap(lambda x: self.basis.mean(knots, x))(self.x)
        self.start, self.unravel = ravel_pytree(of_scales.start(learner.basis, learner.deviation))
        each = jax.vmap(jax.vmap(self.log_density, (0, None, 0)), (0, 0, None))
        self.value_and_grad = jax.jit(jax.value_and_grad(lambda flat, fold, y: -each(flat, fold, y).sum()))
        over_draws = lambda function: jax.vmap(function, (0, None, None))  # noqa: E731
        self.densities = jax.jit(jax.vmap(jax.vmap(over_draws(self.log_density), (0, None, 0)), (0, 0, None)))
        over_outputs = jax.vmap(jax.vmap(self.task_log_density, (None, None, 0, None)), (0, 0, None, 0))
        self.by_task = jax.jit(jax.vmap(over_outputs, (0, 0, None, None)))
        self.shared = jax.jit(jax.vmap(jax.vmap(over_draws(self.coefficients), (0, None, 0)), (0, 0, None)))

    def sums(self, scales: Scales, fold: Array, y: Array) -> _Sums:
        def task(x: Array, mask: Array, functions: Array, y: Array, weight: Array) -> _Sums:
            covariance = of_scales.covariance(self.basis, scales, x, x) * mask[:, None] * mask[None]
            noise = jnp.where(mask > 0, of_scales.noise_variance(self.basis, scales, x), 1.0)
            root = jnp.linalg.cholesky(covariance + jnp.diag(noise))
            half = solve_triangular(root, mask[:, None] * jnp.concatenate([functions, y[:, None]], 1), lower=True)
            functions, rest = half[:, :-1], half[:, -1]
            log_det = 2 * jnp.log(jnp.diagonal(root)).sum()
            return _Sums(
                weight * (functions.T @ functions), weight * (functions.T @ rest), weight * (rest @ rest), weight * log_det
            )

        y = jnp.where(self.mask > 0, y, 0.0)
        each = jax.vmap(task)(self.x, self.mask, self.functions, y, fold)
        return jax.tree.map(lambda leaf: leaf.sum(0), each)

    def task_log_density(self, flat: Array, mean: Array, log_factor: Array, y: Array) -> Float[Array, " tasks"]:
        """Return the log density of each task's targets `y` around the shared mean.

        `flat` holds the scales, `mean` the coefficients of the shared mean, and the noise's deviation is multiplied by the
        exponential of `log_factor`.
        """
        scales = self.unravel(flat)
        scales = scales | {"noise": scales["noise"] + log_factor}

        def task(x: Array, mask: Array, functions: Array, y: Array) -> Array:
            covariance = of_scales.covariance(self.basis, scales, x, x) * mask[:, None] * mask[None]
            noise = jnp.where(mask > 0, of_scales.noise_variance(self.basis, scales, x), 1.0)
            root = jnp.linalg.cholesky(covariance + jnp.diag(noise))
            rest = solve_triangular(root, mask * (y - functions @ mean), lower=True)
            return -0.5 * rest @ rest - jnp.log(jnp.diagonal(root)).sum()

        return jax.vmap(task)(self.x, self.mask, self.functions, jnp.where(self.mask > 0, y, 0.0))

    def log_density(self, flat: Array, fold: Array, y: Array) -> Array:
        """Return the log posterior of the scales `flat` given the tasks of a fold, up to a constant."""
        scales = self.unravel(flat)
        total, prior = self.sums(scales, fold, y), of_scales.mean_variance(self.basis, scales)
        # In units of the prior, so that a prior of almost no width does no harm.
        width = jnp.sqrt(prior)
        precision = jnp.eye(len(width)) + width[:, None] * total.precision * width[None]
        root = jnp.linalg.cholesky(precision)
        half = solve_triangular(root, width * total.towards, lower=True)
        log_det = total.log_det + 2 * jnp.log(jnp.diagonal(root)).sum()
        return -0.5 * (total.square - half @ half + log_det) + of_scales.log_prior(scales)

    def coefficients(self, flat: Array, fold: Array, y: Array) -> tuple[Array, Array]:
        """Return mean of the shared mean's coefficients given the scales, and a root of their covariance.

        `flat`, `fold` and `y` are as in `log_density`.
        """
        scales = self.unravel(flat)
        total, width = self.sums(scales, fold, y), jnp.sqrt(of_scales.mean_variance(self.basis, scales))
        root = jnp.linalg.cholesky(jnp.eye(len(width)) + width[:, None] * total.precision * width[None])
        inverse = solve_triangular(root, jnp.eye(len(width)), lower=True).T
        spread = width[:, None] * inverse
        return spread @ (spread.T @ total.towards), spread


def _modes(evidence: _Evidence, fold: Array, targets: Array) -> Array:
    """Return the most likely scales of each fold and output."""
    shape = (len(fold), len(targets), len(evidence.start))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = evidence.value_and_grad(jnp.asarray(flat.reshape(shape)), fold, targets)
        return float(value), np.asarray(slope, np.float64).ravel()

    start = np.broadcast_to(np.asarray(evidence.start), shape)
    options = {"maxiter": _ITERATIONS, "maxcor": 30, "ftol": 1e-8}
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", bounds=[(-9.0, 4.0)] * start.size, options=options)
    return jnp.asarray(found.x.reshape(shape))


def _curvature(evidence: _Evidence, modes: Array, fold: Array, targets: Array) -> np.ndarray:
    """Return the negative Hessian at the modes (folds, outputs, scales, scales), by differences of the compiled gradient.

    A compiled Hessian would be as exact and would take longer to compile than everything else together.
    """
    columns, centre = [], np.asarray(modes)
    for step in _STEP * np.eye(modes.shape[-1]):
        ends = (jnp.asarray(centre + sign * step) for sign in (1.0, -1.0))
        above, below = (evidence.value_and_grad(end, fold, targets)[1] for end in ends)
        columns.append(np.asarray(above - below) / (2 * _STEP))
    curvature = np.stack(columns, -1)
    return 0.5 * (curvature + np.swapaxes(curvature, -1, -2))


def _draws(
    evidence: _Evidence, modes: Array, fold: Array, targets: Array, count: int, seed: int
) -> tuple[Array, Float[Array, "folds outputs draws"]]:
    """Return draws of the scales (folds, outputs, draws, scales) and their log weights."""
    size = modes.shape[-1]
    values, vectors = np.linalg.eigh(_curvature(evidence, modes, fold, targets))
    spread = _WIDER / np.sqrt(np.maximum(values, _LEAST_CURVATURE))
    unit = unit_draws(size, count, seed)
    drawn = np.asarray(modes)[:, :, None] + np.einsum("fokl,fol,dl->fodk", vectors, spread, unit)
    drawn = np.clip(drawn, -9.0, 4.0)
    density = np.asarray(evidence.densities(jnp.asarray(drawn), fold, targets))
    return jnp.asarray(drawn), jnp.asarray(draw_weights(density + 0.5 * (unit**2).sum(-1)))


def unit_draws(size: int, count: int, seed: int) -> Float[np.ndarray, "draws scales"]:
    """Return `count` evenly spread standard normals of `size` numbers, the first of them 0. `seed` shifts the others."""
    lattice = qmc.Sobol(size, scramble=False).random(1 << (count - 1).bit_length())[:count]
    uniform = (lattice + np.random.default_rng(seed).random(size)) % 1.0
    unit = norm.ppf(np.clip(uniform, 1e-4, 1 - 1e-4))
    unit[0] = 0.0
    return unit


def draw_weights(log_ratio: np.ndarray) -> np.ndarray:
    """Return the log weights of draws (last axis) whose density is exp(`log_ratio`) times the one they are drawn from."""
    log_ratio = np.where(np.isfinite(log_ratio), log_ratio, -np.inf)
    log_ratio -= log_ratio.max(-1, keepdims=True)
    # Truncated importance weights (Ionides, 2008): no draw weighs more than sqrt(count) mean draws.
    mean = np.log(np.exp(log_ratio).mean(-1, keepdims=True))
    return np.maximum(np.minimum(log_ratio, mean + 0.5 * np.log(log_ratio.shape[-1])), -50.0)
