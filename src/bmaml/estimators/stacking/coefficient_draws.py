"""Fitting a generalised mixed model: draws of its scales given all training tasks, and what tasks share given each draw."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.data import Data
from bmaml.estimators.stacking.scale_draws import draw_weights, unit_draws
from bmaml.learners.generalised import ClassesLearner, GeneralisedLearner, GeneralisedMeta, JointLaplace
from bmaml.learners.generalised.classes import steps_of
from bmaml.learners.hierarchical import Knots

_ITERATIONS = 150
# Step of the differences, in logs of scales.
_STEP = 1e-4
# Draws are somewhat wider than the normal approximation, since their weights can take away and never add.
_WIDER = 1.2
# A direction of which nothing is learned has the prior's width at most.
_LEAST_CURVATURE = 0.5
_BOUNDS = (-6.0, 3.0)


def fit_generalised(
    learner: GeneralisedLearner, knots: Knots, rows: Data, members: np.ndarray, seed: int = 0
) -> GeneralisedMeta:
    """Return the meta-parameters of `learner` for each fold, on a leading axis.

    The posterior of the scales is approximated by a normal around its mode, in double precision. Weighted draws from it carry
    what the tasks leave open. All coefficients are integrated out by a Laplace approximation. The last fold comes first: it
    sees the most, so the others begin at its mode, and their draws are as wide as its own. The weights make up for that.

    - `knots`: where the inputs bend.
    - `rows`: all tasks, on a leading axis.
    - `members`: which tasks each fold learns from, of shape (folds, tasks).
    - `seed`: seed of the draws.
    """
    centre, seen = _centre(learner, rows), members.astype(float)
    with jax.enable_x64(True):
        joint = _joint(learner, knots, rows, centre)
        found = _of_folds(joint, seen, jnp.asarray(np.asarray(rows.y[..., 0]), jnp.float64), learner.draws, seed)
    return _meta(found, knots, centre)


def fit_classes(learner: ClassesLearner, knots: Knots, rows: Data, members: np.ndarray, seed: int = 0) -> GeneralisedMeta:
    """Return the meta-parameters of `learner` for each fold, on a leading axis before that of its questions.

    The questions share what is compiled. `knots`, `rows`, `members` and `seed` are as in `fit_generalised`.
    """
    # The prior lies around even odds, because the first classes are the most frequent ones.
    centre, found = 0.0, []
    asked = steps_of(jnp.asarray(rows.y), learner.order)
    with jax.enable_x64(True):
        joint = _joint(learner.inner, knots, rows, centre)
        for y, left in zip(*(np.asarray(part, np.float64) for part in asked), strict=True):
            seen = members.astype(float)[:, :, None] * left[None]
            found.append(_of_folds(joint, seen, jnp.asarray(y), learner.inner.draws, seed))
    metas = [_meta(folds, knots, centre) for folds in found]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves], 1)), *metas)


def _joint(learner: GeneralisedLearner, knots: Knots, rows: Data, centre: float) -> JointLaplace:
    wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (knots, rows))
    return JointLaplace(learner.basis, wide[0], learner.deviation, learner.likelihood, wide[1], centre)


def _of_folds(joint: JointLaplace, seen: np.ndarray, y: Array, draws: int, seed: int) -> list[tuple]:
    """Return the draws of the scales given each fold: the scales, mean and root of what tasks share, and log weights.

    `seen` says which tasks, or which of their rows, each fold sees, and `y` holds the outcomes.
    """
    folds = jnp.asarray(seen, jnp.float64)
    start = _mode(joint, np.asarray(joint.start), folds[-1], y)
    spread = _spread(joint, start, folds[-1], y)
    unit, found = unit_draws(len(start), draws, seed), []
    for place in (len(seen) - 1, *range(len(seen) - 1)):
        mode = start if place == len(seen) - 1 else _mode(joint, start, folds[place], y)
        drawn = jnp.asarray(np.clip(mode[None] + unit @ spread.T, *_BOUNDS))
        density = np.asarray(joint.densities(drawn, folds[place], y))
        weights = draw_weights(density + 0.5 * (unit**2).sum(-1))
        found.append((jax.vmap(joint.unravel)(drawn), *joint.shared(drawn, folds[place], y), weights))
    return [*found[1:], found[0]]


def _meta(found: list[tuple], knots: Knots, centre: float) -> GeneralisedMeta:
    """Return the meta-parameters made of the draws of each fold, in single precision."""
    single = jnp.zeros(()).dtype
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves]), single), *found)
    tiled = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(found), *leaf.shape)), knots)
    scales, mean, root, log_weights = stacked
    return GeneralisedMeta(tiled, scales, mean, root, log_weights, jnp.full(len(found), centre, single))


def _mode(joint: JointLaplace, start: np.ndarray, fold: Array, y: Array) -> np.ndarray:
    """Return the most likely scales given the tasks of a fold."""
    from scipy.optimize import minimize  # It takes a quarter of a second to import, and only a fit needs it.

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = joint.value_and_grad(jnp.asarray(flat), fold, y)
        return float(value), np.asarray(slope, np.float64)

    options = {"maxiter": _ITERATIONS, "ftol": 1e-7, "gtol": 1e-3}
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * len(start), options=options).x


def _spread(joint: JointLaplace, mode: np.ndarray, fold: Array, y: Array) -> np.ndarray:
    """Return a root of the covariance of the draws, from differences of the slope at a mode."""
    columns = []
    for step in _STEP * np.eye(len(mode)):
        above, below = (joint.value_and_grad(jnp.asarray(mode + sign * step), fold, y)[1] for sign in (1.0, -1.0))
        columns.append(np.asarray(above - below) / (2 * _STEP))
    values, vectors = np.linalg.eigh(0.5 * (np.stack(columns) + np.stack(columns).T))
    return vectors * (_WIDER / np.sqrt(np.maximum(values, _LEAST_CURVATURE)))[None]


def _centre(learner: GeneralisedLearner, rows: Data) -> float:
    """Return a latent number that fits all outcomes on average."""
    x, y, there = (np.asarray(part, np.float64) for part in (rows.x, rows.y, rows.mask))
    width = len(learner.basis.roles)
    side = x[..., width] if x.shape[-1] > width else np.zeros_like(there)
    return learner.likelihood.centre(y[..., 0][there > 0], side[there > 0])
