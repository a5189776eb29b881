"""The candidates of the mixture for tables. Each is a function that trains on all folds at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data
from bmaml.distributions import AbstractNumeric, exponentiated
from bmaml.estimators.stacking.folds import FoldTraining, prepare_folds
from bmaml.estimators.stacking.scale_draws import RIGID, ScaleFit
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.learners.hierarchical import HierarchicalLearner, fit_basis
from bmaml.learners.hierarchical.scales import Deviation
from bmaml.learners.logarithmic import Logarithm, LogarithmicLearner, LogarithmicMeta
from bmaml.likelihoods import NORMAL, Family
from bmaml.recipes.tables import regression_method
from bmaml.tasks.base import FixedTasks
from bmaml.training.interrupt import Interrupt
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress

# More tasks do not change what is learned of a few scales.
_MOST_TASKS = 300
MOST_ROWS = 40
"""Rows of a task that the scales of a hierarchical model are learned from. More would not change them."""
# Draws of the scales: up to so many tasks leave them open, and then few draws do not show how far.
_FEW_TASKS, _MANY_DRAWS, _DRAWS = 60, 64, 24
# Snapshots of a training: after these shares of its meta-steps.
_SNAPSHOTS = (0.125, 0.25, 0.5, 1.0)


class Candidate(NamedTuple):
    """A learner that was trained on every fold.

    - `name`: its name in reports.
    - `learner`, `metas`: the learner of the targets, or of their logarithm, and the meta-parameters of all trainings.
    - `logarithm`: the logarithm, if the learner is of that.
    """

    name: str
    learner: AbstractLearner
    metas: Meta
    logarithm: Logarithm | None = None

    def support(self, support: Data) -> Data:
        """Return supports (on a leading axis) as the learner sees them."""
        if self.logarithm is None:
            return support
        return Data(support.x, jax.vmap(self.logarithm.of)(support.y), support.mask)

    def of_targets(self, predictive: AbstractNumeric) -> AbstractNumeric:
        """Return `predictive`, those of the learner on a leading axis, as predictives of the targets."""
        place = self.logarithm
        if place is None:
            return predictive
        return jax.vmap(lambda each: exponentiated(each, place.centre, place.spread, place.shift))(predictive)

    def finished(self) -> tuple[AbstractLearner, Meta]:
        """Return the learner of the targets, and its meta-parameters in the training that saw all tasks."""
        # By NumPy, because JAX would compile a program for each shape.
        meta = jax.tree.map(lambda leaf: np.asarray(leaf)[-1], self.metas)
        if self.logarithm is None:
            return self.learner, meta
        return LogarithmicLearner(self.learner, len(self.logarithm.centre)), LogarithmicMeta(meta, self.logarithm)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every candidate is trained with.

    - `tasks`, `folds`: all tasks, and which of them each training sees.
    - `logarithm`: the logarithm of the targets, or None if it does not fit them.
    - `plan`, `particles`: of trainings by meta-steps.
    - `progress`, `interrupt`: show the training, and stop it.
    - `family`: the family of the outcomes.
    - `sides`: how many of the last inputs are the family's side inputs, such as a log exposure.
    - `known`: how many of the last inputs say which outcomes of a row are known: 0 if all of them always are.
    - `shared`: what was computed for several candidates or ahead, by name.
    """

    tasks: FixedTasks
    folds: np.ndarray
    logarithm: Logarithm | None
    plan: Plan
    particles: int | None
    progress: Progress
    interrupt: Interrupt
    family: Family = NORMAL
    sides: int = 0
    known: int = 0
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)


def hierarchical(setting: Setting, deviation: Deviation, name: str) -> list[Candidate]:
    """Return the hierarchical model with this `deviation`, called `name`, of the targets and of their logarithm.

    `setting` says what to train on. Its models share what is compiled for the first of them.
    """
    outputs, place = setting.tasks.outputs, setting.logarithm
    if "scales" not in setting.shared:
        setting.shared["scales"] = _scale_fit(setting)
    fit: ScaleFit = setting.shared["scales"]
    models = [slice(0, outputs)] if place is None else [slice(0, outputs), slice(outputs, None)]
    fitted = fit.fit(models, RIGID if deviation == "lines" else {}, setting.plan.seed)
    learner = HierarchicalLearner(fit.learner.basis, outputs, deviation, fit.learner.draws)
    kinds = [(name, None), (f"{name} of the logarithm", place)]
    return [Candidate(called, learner, metas, logarithm) for metas, (called, logarithm) in zip(fitted, kinds, strict=False)]


def _scale_fit(setting: Setting) -> ScaleFit:
    rows, folds = some_tasks(setting, MOST_ROWS)
    mask = np.asarray(rows.mask) > 0
    basis, knots = fit_basis(np.asarray(rows.x)[mask], np.repeat(np.arange(len(mask)), mask.sum(1)))
    if setting.logarithm is not None:
        # Both kinds of targets in one program, as if they were outputs.
        both = jnp.concatenate([jnp.asarray(rows.y), jax.vmap(setting.logarithm.of)(jnp.asarray(rows.y))], -1)
        rows = Data(rows.x, both, rows.mask)
    return ScaleFit(HierarchicalLearner(basis, rows.y.shape[-1], "smooth", draws_for(len(mask))), knots, rows, folds)


def draws_for(tasks: int) -> int:
    """Return how many draws of the scales so many `tasks` need."""
    return _MANY_DRAWS if tasks <= _FEW_TASKS else _DRAWS


def prepared_experts(setting: Setting) -> FoldTraining:
    """Return the training of experts on what `setting` says, compiled."""
    method = regression_method("experts", setting.tasks.inputs, setting.tasks.outputs, setting.particles)
    return prepare_folds(method, setting.tasks, setting.folds, setting.plan)


def experts(setting: Setting) -> list[Candidate]:
    """Return snapshots of a training of experts. `setting` says what to train on, and holds what `AHEAD` says."""
    training: FoldTraining = setting.shared["experts"].result()
    steps = sorted({max(1, round(share * setting.plan.steps)) for share in _SNAPSHOTS})
    trained = training.train(setting.plan.steps, steps, setting.progress, setting.interrupt)
    return [Candidate(f"experts after {step}", training.learner, metas) for step, metas in zip(steps, trained, strict=True)]


AHEAD: dict[str, Callable[[Setting], Any]] = {"experts": prepared_experts}
"""What a second thread computes for a candidate while others are trained: a future in `Setting.shared` by the candidate's name.

To compile the meta-step of experts takes as long as to train the hierarchical models, and needs one core.
"""


CANDIDATES: dict[str, Callable[[Setting], list[Candidate]]] = {
    "mixed-model": lambda setting: hierarchical(setting, "lines", "mixed model"),
    "gaussian-process": lambda setting: hierarchical(setting, "smooth", "Gaussian process"),
    "experts": experts,
}
"""Candidates by name, from rigid to flexible."""


def logarithm_of(targets: np.ndarray, means: np.ndarray, scales: np.ndarray) -> Logarithm | None:
    """Return the logarithm of standardised `targets` (rows, outputs), or None if one of them is not above 0 in its own units.

    `means` and `scales` lead back to those units.
    """
    shift = means / scales
    # What is 0 in its units comes back from single precision as almost 0.
    if (targets + shift <= 1e-6 * (1 + np.abs(shift))).any():
        return None
    values = np.log(targets + shift)
    parts: Any = (shift, values.mean(0), np.maximum(values.std(0), 1e-6))
    return Logarithm(*(jnp.asarray(part, jnp.zeros(()).dtype) for part in parts))


def some_tasks(setting: Setting, most: int) -> tuple[Data, np.ndarray]:
    """Return at most 300 of the tasks of `setting`, `most` rows of each, and the folds of these tasks."""
    rows, rng = setting.tasks.rows, np.random.default_rng(setting.plan.seed)
    count, length = rows.mask.shape
    picked = np.sort(rng.permutation(count)[:_MOST_TASKS])
    x, y, mask = (np.asarray(leaf)[picked] for leaf in (rows.x, rows.y, rows.mask))
    if length > most:
        # Real rows in random order come first.
        order = np.argsort(rng.random(mask.shape) + (mask <= 0), 1)[:, :most]
        order = np.sort(order, 1)
        x, y = (np.take_along_axis(part, order[..., None], 1) for part in (x, y))
        mask = np.take_along_axis(mask, order, 1)
    return Data(x, y, mask), setting.folds[:, picked]  # pyright: ignore[reportArgumentType]
