"""Fitting a hierarchical learner: the posterior of its scales given all training tasks, and the shared mean given each draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float
from scipy.special import ndtri

from bmaml.data import Data
from bmaml.estimators.stacking.task_noise import LOG_FACTORS, expected_log_factors, log_noise_factors
from bmaml.io.programs import rows_options
from bmaml.learners.hierarchical import scales as of_scales
from bmaml.learners.hierarchical.basis import Basis, Knots
from bmaml.learners.hierarchical.learner import HierarchicalLearner, HierarchicalMeta
from bmaml.learners.hierarchical.scales import Scales

_ITERATIONS = 150
# How little the density may still gain, as a share: while each task's noise is not known yet, and at last.
_COARSE, _FINE = 1e-5, 1e-8
# Step of the differences, in logs of scales.
_STEP = 1e-4
# Draws are somewhat wider than the normal approximation, since their weights can take away and never add.
_WIDER = 1.15
# A direction of which nothing is learned has the prior's width at most.
_LEAST_CURVATURE = 0.25
# How often the scales are found again for what is known of each task's noise.
_TURNS = 2

RIGID = {"smooth": -9.0, "length": 0.0}
"""Values of the scales that leave lines of a smooth deviation."""


class _Sums(NamedTuple):
    """Sums over tasks that the shared mean and the evidence need. Rows are standardised by the root of their covariance."""

    precision: Float[Array, "functions functions"]
    towards: Float[Array, " functions"]
    square: Float[Array, ""]
    log_det: Float[Array, ""]


class _Told(NamedTuple):
    """What a fold says of draws of the scales.

    - `density`: their log posterior, up to a constant.
    - `mean`, `root`: mean of the coefficients of the shared mean, and a root of their covariance.
    - `by_task`: each task's log density at the most likely scales, with its noise multiplied by each of the factors.
    """

    density: Float[Array, "folds outputs draws"]
    mean: Float[Array, "folds outputs draws functions"]
    root: Float[Array, "folds outputs draws functions functions"]
    by_task: Float[Array, "folds outputs factors tasks"]


class ScaleFit:
    """Fits hierarchical learners of one basis to the same rows. All fits share two compiled programs.

    - `learner`: the most flexible of the learners.
    - `knots`: where the inputs bend.
    - `rows`: all tasks, on a leading axis.
    - `members`: which tasks each fold learns from, of shape (folds, tasks).
    """

    def __init__(self, learner: HierarchicalLearner, knots: Knots, rows: Data, members: np.ndarray):
        self.learner, self.knots, self.members = learner, knots, members
        with jax.enable_x64(True):
            whole = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (knots, rows))
            knots64, rows64 = jax.tree.map(jnp.asarray, whole)
            self.fold = jnp.asarray(members, jnp.float64)
            self.targets = jnp.asarray(np.moveaxis(whole[1].y, -1, 0))
            self.evidence = _Evidence(learner, knots64, rows64)

    def fit(self, models: Sequence[slice], fixed: dict[str, float] | None = None, seed: int = 0) -> list[HierarchicalMeta]:
        """Return the meta-parameters of each model for each fold, on a leading axis.

        The posterior of the scales is approximated by a normal around its mode, in double precision. Weighted draws from it
        carry what the tasks leave open. The shared mean is integrated out exactly. Tasks differ in noise, and how noisy each
        task is and what the scales are is found in turns: a scale that took all tasks for equally noisy would be that of the
        noisiest ones.

        - `models`: the outputs of each model. Outputs are fitted side by side, so several models share one program.
        - `fixed`: scales that have a given value, by name, which makes the learner more rigid. The meta-parameters lack them.
        - `seed`: seed of the draws.
        """
        evidence, draws = self.evidence, self.learner.draws
        with jax.enable_x64(True):
            free, start = evidence.freedom(fixed or {})
            modes = np.broadcast_to(start, (len(self.members), len(self.targets), len(start)))
            noise = np.zeros((*modes.shape[:2], self.members.shape[1]))
            for _ in range(_TURNS):
                modes, mean = self._modes(modes, free, noise, _COARSE)
                every = np.broadcast_to(modes[:, :, None], (*modes.shape[:2], draws, len(start)))
                by_task = np.asarray(self._told(modes, mean, noise, every).by_task)
                noise = self._by_output(expected_log_factors, by_task)
            modes, mean = self._modes(modes, free, noise, _FINE)
            drawn, unit = self._draws(modes, free, noise, draws, seed)
            told = self._told(modes, mean, noise, drawn)
            log_weights = draw_weights(np.asarray(told.density) + 0.5 * (unit**2).sum(-1))
            scales = jax.tree.map(np.asarray, jax.vmap(jax.vmap(jax.vmap(evidence.unravel)))(jnp.asarray(drawn)))
        uniform = _uniform_pairs(draws, seed)
        factors = self._by_output(lambda each, seen: log_noise_factors(each, seen, uniform), np.asarray(told.by_task))
        scales = {name: values for name, values in scales.items() if name not in (fixed or {})}
        scales["noise"] = scales["noise"] + factors
        single = jnp.zeros(()).dtype
        tiled = jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf)[None], len(self.members), 0)), self.knots)

        def of(outputs: slice) -> HierarchicalMeta:
            # (folds, outputs, draws, ...) becomes (folds, draws, outputs, ...).
            def swapped(leaf: Any) -> Array:
                return jnp.asarray(np.swapaxes(np.asarray(leaf)[:, outputs], 1, 2), single)

            scale, mean, root = jax.tree.map(swapped, (scales, told.mean, told.root))
            return HierarchicalMeta(tiled, scale, mean, root, jnp.asarray(log_weights[:, outputs].sum(1), single))

        return [of(outputs) for outputs in models]

    def _by_output(self, function: Callable[..., np.ndarray], by_task: np.ndarray) -> np.ndarray:
        """Return the results of `function`, of the evidence of each fold and output and of the tasks that the fold sees."""
        return np.stack([[function(one, seen) for one in fold] for fold, seen in zip(by_task, self.members * 1.0, strict=True)])

    def _told(self, modes: np.ndarray, mean: np.ndarray, noise: np.ndarray, drawn: np.ndarray) -> _Told:
        numbers = [jnp.asarray(part) for part in (modes, mean, noise, drawn)]
        return self.evidence.told(*numbers, self.fold, self.targets)

    def _slope(self, modes: np.ndarray, noise: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return minus the log density of the scales of all folds and outputs, the shared mean, and the gradient."""
        given = (jnp.asarray(modes), jnp.asarray(noise))
        (value, mean), slope = self.evidence.value_and_grad(*given, self.fold, self.targets)
        return float(value), np.asarray(mean), np.asarray(slope, np.float64)

    def _modes(self, start: np.ndarray, free: np.ndarray, noise: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the most likely scales of each fold and output, and the shared mean there.

        The search ends where a step gains less than the share `least` of the density.
        """
        from scipy.optimize import minimize  # It takes a quarter of a second to import, and only a fit needs it.

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, _, slope = self._slope(flat.reshape(start.shape), noise)
            return value, slope.ravel()

        ends = np.where(free, np.broadcast_to([[-9.0], [4.0]], (2, len(free))), start[0, 0])
        bounds = np.tile(ends.T, (start[..., 0].size, 1))
        options = {"maxiter": _ITERATIONS, "maxcor": 30, "ftol": least}
        found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        modes = found.x.reshape(start.shape)
        return modes, self._slope(modes, noise)[1]

    def _curvature(self, modes: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the negative Hessian at the modes (folds, outputs, scales, scales), by differences of the compiled gradient.

        A compiled Hessian would be as exact and would take longer to compile than everything else together.
        """
        columns = []
        for step in _STEP * np.eye(modes.shape[-1]):
            above, below = (self._slope(modes + sign * step, noise)[2] for sign in (1.0, -1.0))
            columns.append((above - below) / (2 * _STEP))
        curvature = np.stack(columns, -1)
        return 0.5 * (curvature + np.swapaxes(curvature, -1, -2))

    def _draws(
        self, modes: np.ndarray, free: np.ndarray, noise: np.ndarray, count: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return draws of the scales (folds, outputs, draws, scales), and the standard normals that they come from."""
        curvature = self._curvature(modes, noise)[..., free, :][..., free]
        values, vectors = np.linalg.eigh(curvature)
        spread = _WIDER / np.sqrt(np.maximum(values, _LEAST_CURVATURE))
        unit = unit_draws(int(free.sum()), count, seed)
        drawn = np.repeat(modes[:, :, None], count, 2)
        drawn[..., free] += np.einsum("fokl,fol,dl->fodk", vectors, spread, unit)
        return np.clip(drawn, -9.0, 4.0), unit


def _uniform_pairs(count: int, seed: int) -> Float[np.ndarray, "draws 2"]:
    uniform = (_lattice(2, count) + 0.5 / count) % 1.0
    # In an order of its own, so that the factors do not go with the scales.
    return np.clip(np.random.default_rng([seed, count]).permutation(uniform), 1e-4, 1 - 1e-4)


class _Evidence:
    """Log density of the scales given the tasks of a fold, and the shared mean given the scales.

    `value_and_grad` and `told` are compiled, for all folds and outputs at once.
    """

    def __init__(self, learner: HierarchicalLearner, knots: Knots, rows: Data):
        self.basis: Basis = learner.basis
        self.x, self.mask = jnp.where(rows.mask[..., None] > 0, rows.x, 0.0), (rows.mask > 0).astype(rows.x.dtype)
        self.functions = jax.jit(jax.vmap(lambda x: self.basis.mean(knots, x)))(self.x)
        self.scales = of_scales.start(learner.basis, learner.deviation)
        self.start, self.unravel = ravel_pytree(self.scales)
        often, once = rows_options(rows.mask.size), rows_options(rows.mask.size, runs_once=True)

        def loss(flat: Array, noise: Array, fold: Array, y: Array) -> tuple[Array, Array]:
            each = jax.vmap(jax.vmap(self.posterior, (0, 0, None, 0)), (0, 0, 0, None))
            density, mean, _ = each(flat, noise, fold, y)
            return -density.sum(), mean

        def told(mode: Array, mean: Array, noise: Array, drawn: Array, fold: Array, y: Array) -> _Told:
            draws = jax.vmap(self.posterior, (0, None, None, None))(drawn, noise, fold, y)
            by_factor = jax.vmap(self.task_log_density, (None, None, 0, None))
            return _Told(*draws, by_factor(mode, mean, jnp.asarray(LOG_FACTORS), y))

        over_outputs = jax.vmap(told, (0, 0, 0, 0, None, 0))
        self.value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=often)
        self.told = jax.jit(jax.vmap(over_outputs, (0, 0, 0, 0, 0, None)), compiler_options=once)

    def freedom(self, fixed: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the flat scales are free, and where to start; `fixed` has the values of those that are not."""
        start = {name: np.full(np.shape(value), fixed.get(name, value)) for name, value in self.scales.items()}
        free = {name: np.full(np.shape(value), float(name not in fixed)) for name, value in self.scales.items()}
        return np.asarray(ravel_pytree(free)[0]) > 0, np.asarray(ravel_pytree(start)[0])

    def sums(self, scales: Scales, noise: Array, fold: Array, y: Array) -> _Sums:
        def task(x: Array, mask: Array, functions: Array, y: Array, weight: Array, log_factor: Array) -> _Sums:
            root = self.root(scales, x, mask, log_factor)
            half = solve_triangular(root, mask[:, None] * jnp.concatenate([functions, y[:, None]], 1), lower=True)
            functions, rest = half[:, :-1], half[:, -1]
            log_det = 2 * jnp.log(jnp.diagonal(root)).sum()
            return _Sums(
                weight * (functions.T @ functions), weight * (functions.T @ rest), weight * (rest @ rest), weight * log_det
            )

        y = jnp.where(self.mask > 0, y, 0.0)
        each = jax.vmap(task)(self.x, self.mask, self.functions, y, fold, noise)
        return jax.tree.map(lambda leaf: leaf.sum(0), each)

    def root(self, scales: Scales, x: Array, mask: Array, log_factor: Array) -> Float[Array, "rows rows"]:
        """Return a root of the covariance of a task's rows with these `scales`, the noise's log raised by `log_factor`."""
        scales = scales | {"noise": scales["noise"] + log_factor}
        covariance = of_scales.covariance(self.basis, scales, x, x) * mask[:, None] * mask[None]
        noise = jnp.where(mask > 0, of_scales.noise_variance(self.basis, scales, x), 1.0)
        return jnp.linalg.cholesky(covariance + jnp.diag(noise))

    def task_log_density(self, flat: Array, mean: Array, log_factor: Array, y: Array) -> Float[Array, " tasks"]:
        """Return the log density of each task's targets `y` around the shared mean.

        `flat` holds the scales, `mean` the coefficients of the shared mean, and the noise's deviation is multiplied by the
        exponential of `log_factor`.
        """
        scales = self.unravel(flat)

        def task(x: Array, mask: Array, functions: Array, y: Array) -> Array:
            root = self.root(scales, x, mask, log_factor)
            rest = solve_triangular(root, mask * (y - functions @ mean), lower=True)
            return -0.5 * rest @ rest - jnp.log(jnp.diagonal(root)).sum()

        return jax.vmap(task)(self.x, self.mask, self.functions, jnp.where(self.mask > 0, y, 0.0))

    def posterior(self, flat: Array, noise: Array, fold: Array, y: Array) -> tuple[Array, Array, Array]:
        """Return the log posterior of the scales `flat` up to a constant, and mean and root of the shared mean's coefficients.

        `noise` is the log of each task's factor on the noise, `fold` has 1 for the tasks to learn from, and `y` are targets.
        """
        scales = self.unravel(flat)
        total, prior = self.sums(scales, noise, fold, y), of_scales.mean_variance(self.basis, scales)
        # In units of the prior, so that a prior of almost no width does no harm.
        width = jnp.sqrt(prior)
        precision = jnp.eye(len(width)) + width[:, None] * total.precision * width[None]
        root = jnp.linalg.cholesky(precision)
        half = solve_triangular(root, width * total.towards, lower=True)
        log_det = total.log_det + 2 * jnp.log(jnp.diagonal(root)).sum()
        density = -0.5 * (total.square - half @ half + log_det) + of_scales.log_prior(scales)
        spread = width[:, None] * solve_triangular(root, jnp.eye(len(width)), lower=True).T
        return density, spread @ half, spread


def unit_draws(size: int, count: int, seed: int) -> Float[np.ndarray, "draws scales"]:
    """Return `count` evenly spread standard normals of `size` numbers, the first of them 0. `seed` shifts the others."""
    uniform = (_lattice(size, count) + np.random.default_rng(seed).random(size)) % 1.0
    unit = ndtri(np.clip(uniform, 1e-4, 1 - 1e-4))
    unit[0] = 0.0
    return unit


def _lattice(size: int, count: int) -> np.ndarray:
    """Return `count` evenly spread points of the unit cube of `size` dimensions."""
    from scipy.stats import qmc  # It takes half a second to import, and only a fit needs it.

    return qmc.Sobol(size, scramble=False).random(1 << (count - 1).bit_length())[:count]


def draw_weights(log_ratio: np.ndarray) -> np.ndarray:
    """Return the log weights of draws (last axis) whose density is exp(`log_ratio`) times the one they are drawn from."""
    log_ratio = np.where(np.isfinite(log_ratio), log_ratio, -np.inf)
    log_ratio -= log_ratio.max(-1, keepdims=True)
    # Truncated importance weights (Ionides, 2008): no draw weighs more than sqrt(count) mean draws.
    mean = np.log(np.exp(log_ratio).mean(-1, keepdims=True))
    return np.maximum(np.minimum(log_ratio, mean + 0.5 * np.log(log_ratio.shape[-1])), -50.0)
