"""The candidates for outcomes of other families than numbers: generalised mixed models, from rigid to flexible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bmaml.data import Data
from bmaml.estimators.stacking.candidates import Candidate, Setting, some_tasks
from bmaml.estimators.stacking.coefficient_draws import fit_classes, fit_generalised
from bmaml.learners.generalised import ClassesLearner, GeneralisedLearner
from bmaml.learners.generalised.scales import Deviation
from bmaml.learners.hierarchical import fit_basis

# Rows that are trained on, and the fewest and the most of one task. Single outcomes tell less than measurements do.
_ROWS, _FEWEST, _MOST = 12_000, 40, 200


def generalised(setting: Setting, deviation: Deviation, name: str) -> list[Candidate]:
    """Return the generalised mixed model with this `deviation`, called `name`; none if another candidate is the same model.

    `setting` says what to train on.
    """
    likelihood = setting.family.likelihood
    assert likelihood is not None
    rows, folds = some_tasks(setting, int(np.clip(_ROWS // len(setting.tasks.rows.mask), _FEWEST, _MOST)))
    x, mask = np.asarray(rows.x), np.asarray(rows.mask) > 0
    inputs = x[..., : x.shape[-1] - setting.sides]
    basis, knots = fit_basis(inputs[mask], np.repeat(np.arange(len(mask)), mask.sum(1)))
    if (deviation == "bends" and not len(basis.curves)) or (deviation == "constant" and not len(basis.varying)):
        return []
    learner, seen = GeneralisedLearner(basis, likelihood, deviation, point="mean"), Data(rows.x, rows.y, rows.mask)
    if setting.family.cells == "classes":
        # The most frequent class first: each further question then has as many rows as it can.
        often = (np.asarray(setting.tasks.rows.y) * np.asarray(setting.tasks.rows.mask)[..., None]).sum((0, 1))
        chain = ClassesLearner(learner, tuple(np.argsort(-often, kind="stable").tolist()))
        return [Candidate(name, chain, fit_classes(chain, knots, seen, folds, setting.plan.seed))]
    return [Candidate(name, learner, fit_generalised(learner, knots, seen, folds, setting.plan.seed))]


FAMILY_CANDIDATES: dict[str, Callable[[Setting], list[Candidate]]] = {
    "same-for-all": lambda setting: generalised(setting, "none", "one model for all tasks"),
    "random-intercepts": lambda setting: generalised(setting, "constant", "random intercepts"),
    "random-slopes": lambda setting: generalised(setting, "lines", "mixed model"),
    "random-curves": lambda setting: generalised(setting, "bends", "random curves"),
}
"""Candidates by name, from rigid to flexible."""
