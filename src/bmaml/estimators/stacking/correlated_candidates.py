"""The candidates for several outcomes of which rows may lack some: hierarchical models whose outcomes go together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.estimators.stacking.candidates import MOST_ROWS, Candidate, Setting, draws_for, some_tasks
from bmaml.estimators.stacking.scale_draws import RIGID, ScaleFit
from bmaml.learners.hierarchical import Basis, HierarchicalLearner, HierarchicalMeta, Knots, fit_basis
from bmaml.learners.hierarchical.correlated import (
    CorrelatedLearner,
    CorrelatedMeta,
    correlation_root,
    deviations,
    noise_variances,
    of_known,
)
from bmaml.learners.hierarchical.scales import Deviation

_ITERATIONS = 60


def correlated(setting: Setting, deviation: Deviation, name: str) -> list[Candidate]:
    """Return the model with this `deviation`, called `name`, of the targets and of their logarithm.

    `setting` says what to train on. Its last inputs say which outcomes of a row are known. Each outcome is fitted to the rows
    in which it is known, and the correlations between outcomes are those that make all of them together most likely.
    """
    outputs, of_log = setting.tasks.outputs, setting.logarithm
    if "outcomes" not in setting.shared:
        setting.shared["outcomes"] = _Outcomes(setting)
    fits: _Outcomes = setting.shared["outcomes"]
    found = []
    for kind, logarithm in enumerate([None] if of_log is None else [None, of_log]):
        # Seeds of their own, so that draws of different outcomes do not go together.
        each = [
            fit.fit([slice(kind, kind + 1)], RIGID if deviation == "lines" else {}, setting.plan.seed + place)[0]
            for place, fit in enumerate(fits.each)
        ]
        inner, learner = _together(each), HierarchicalLearner(fits.basis, outputs, deviation, fits.each[0].learner.draws)
        below = [fits.correlations(inner, fold, kind) for fold in range(len(fits.folds))]
        root = jnp.stack([correlation_root(jnp.asarray(one, jnp.zeros(()).dtype), outputs) for one in below])
        called = name if logarithm is None else f"{name} of the logarithm"
        found.append(Candidate(called, CorrelatedLearner(learner), CorrelatedMeta(inner, root), logarithm))
    return found


class _Outcomes:
    """The rows to learn from, and the fit of each outcome by itself: of the targets, and of their logarithm."""

    def __init__(self, setting: Setting):
        """`setting` says what to train on."""
        rows, self.folds = some_tasks(setting, MOST_ROWS)
        outputs = setting.tasks.outputs
        mask = np.asarray(rows.mask) > 0
        self.x, known = np.asarray(rows.x)[..., :-outputs], np.asarray(rows.x)[..., -outputs:]
        self.known = (known > 0) & mask[..., None]
        kinds = [np.asarray(rows.y)]
        if setting.logarithm is not None:
            kinds.append(np.asarray(jax.vmap(setting.logarithm.of)(jnp.asarray(rows.y))))
        self.y = np.where(self.known[..., None], np.stack(kinds, -1), 0.0)  # tasks, rows, outputs, kinds
        self.basis, self.knots = fit_basis(self.x[mask], np.repeat(np.arange(len(mask)), mask.sum(1)))
        learner = HierarchicalLearner(self.basis, len(kinds), "smooth", draws_for(len(mask)))
        self.each = [
            ScaleFit(learner, self.knots, _data(self.x, self.y[:, :, place], self.known[..., place]), self.folds)
            for place in range(outputs)
        ]
        self._slope = jax.jit(jax.value_and_grad(lambda below, *given: _loss(below, self.basis, *given)))

    def correlations(self, inner: HierarchicalMeta, fold: int, kind: int) -> Float[np.ndarray, " pairs"]:
        """Return the numbers from which `correlation_root` makes the most likely correlations, given the most likely scales.

        `inner` holds what each outcome says by itself, of the training numbered `fold`, and `kind` is 1 for logarithms.
        """
        from scipy.optimize import minimize  # It takes a quarter of a second to import, and only a fit needs it.

        pairs = self.known.shape[-1] * (self.known.shape[-1] - 1) // 2
        with jax.enable_x64(True):
            # The first draw holds the most likely scales.
            first = jax.tree.map(lambda leaf: np.asarray(leaf)[fold, 0], (inner.scales, inner.mean))
            knots, scales, mean = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (self.knots, *first))
            parts = (self.x, self.y[..., kind], self.known, self.folds[fold])
            rows = tuple(jnp.asarray(part, jnp.float64) for part in parts)

            def loss(below: np.ndarray) -> tuple[float, np.ndarray]:
                value, slope = self._slope(jnp.asarray(below), knots, scales, mean, *rows)
                return float(value), np.asarray(slope, np.float64)

            options = {"maxiter": _ITERATIONS, "ftol": 1e-7}
            return minimize(loss, np.zeros(pairs), jac=True, method="L-BFGS-B", bounds=[(-8.0, 8.0)] * pairs, options=options).x


def _loss(
    below: Array, basis: Basis, knots: Knots, scales: Any, mean: Array, x: Array, y: Array, known: Array, fold: Array
) -> Array:
    """Return minus the log density of correlations, up to a constant, for the tasks of a fold."""
    root = correlation_root(below, y.shape[-1])

    def task(x: Array, y: Array, known: Array) -> Array:
        flat = known.ravel()
        covariance, noise = of_known(deviations(basis, scales, root, x, x), flat), noise_variances(basis, scales, x).ravel()
        lower = jnp.linalg.cholesky(covariance + jnp.diag(jnp.where(flat > 0, noise, 1.0)))
        away = flat * (y - basis.mean(knots, x) @ mean.T).ravel()
        rest = jax.scipy.linalg.solve_triangular(lower, away, lower=True)
        return -0.5 * rest @ rest - jnp.log(jnp.diagonal(lower)).sum()

    # One task after the other: all covariances together would take much memory.
    each = jax.lax.map(lambda one: task(*one), (x, y, known), batch_size=16)
    return -(fold @ each) + 0.5 * (below**2).sum()


def _data(x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> Data:
    return Data(x, y, mask.astype(x.dtype))  # pyright: ignore[reportArgumentType]


def _together(each: list[HierarchicalMeta]) -> HierarchicalMeta:
    """Return the meta-parameters of several outcomes from those of one each. Draws of different outcomes are independent."""
    parts = [(one.scales, one.mean, one.root) for one in each]
    scales, mean, root = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 2), *parts)
    return HierarchicalMeta(each[0].knots, scales, mean, root, jnp.stack([one.log_weights for one in each]).sum(0))


CORRELATED_CANDIDATES: dict[str, Callable[[Setting], list[Candidate]]] = {
    "correlated-lines": lambda setting: correlated(setting, "lines", "mixed model"),
    "correlated-curves": lambda setting: correlated(setting, "smooth", "Gaussian process"),
}
"""Candidates by name, from rigid to flexible."""
