"""The mixture as a run, so that it is saved, loaded and asked like any other model."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bmaml.errors import InputError
from bmaml.estimators.stacking.candidates import CANDIDATES, Setting, logarithm_of
from bmaml.estimators.stacking.correlated_candidates import CORRELATED_CANDIDATES
from bmaml.estimators.stacking.family_candidates import FAMILY_CANDIDATES
from bmaml.estimators.stacking.fit import Stacked, stack_candidates
from bmaml.estimators.stacking.folds import MANY, members
from bmaml.estimators.stacking.report import Report, report
from bmaml.likelihoods import FAMILIES, NORMAL, fitted
from bmaml.methods import Method
from bmaml.objectives import QueryLoss
from bmaml.tables import ColumnRoles, Schema
from bmaml.tasks.base import FixedTasks
from bmaml.training.interrupt import Interrupt
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress
from bmaml.training.run import Run

MIXTURES: dict[str, tuple[str, ...]] = {"mixture": tuple(CANDIDATES)} | {
    name: (name,) for name in CANDIDATES if name != "experts"
}
"""Names of methods that are fitted on folds, and the candidates of each."""
FAMILY_MIXTURES: dict[str, tuple[str, ...]] = {"mixture": tuple(FAMILY_CANDIDATES), "mixed-model": ("random-slopes",)}
"""The same for outcomes of other families than numbers."""
CORRELATED_MIXTURES: dict[str, tuple[str, ...]] = {
    "mixture": tuple(CORRELATED_CANDIDATES),
    "mixed-model": ("correlated-lines",),
    "gaussian-process": ("correlated-curves",),
}
"""The same for several outcomes of which some are missing in some rows."""


def roles_for(method: object, roles: ColumnRoles, family: str | None) -> ColumnRoles:
    """Return `roles` with the family that the `method` fits, and with whether rows may lack some of several outcomes.

    `family` is the name of the family that the user wants, or None if the outcomes decide.
    Raises: InputError for a family that the method cannot fit, or a column or levels that only such families know of.
    """
    _check_known(method, roles)
    roles = replace(roles, family=_family_for(method, family))
    learns = isinstance(method, str) and method in CORRELATED_MIXTURES and roles.family in (None, NORMAL.name)
    return replace(roles, partial=learns and len(roles.y) > 1 and not (roles.sides or roles.upper))


def _check_known(method: object, roles: ColumnRoles) -> None:
    """Check that the `method` knows of all that `roles` say of a row or of an outcome.

    Raises: InputError that names what the method cannot use, and the methods that can.
    """
    if isinstance(method, str) and method in FAMILY_MIXTURES:
        return
    further = [*roles.sides, *(["upper"] if roles.upper is not None else []), *(["levels"] if roles.levels else [])]
    if further:
        name, use = _said(method), " or ".join(FAMILY_MIXTURES)
        what = f"and method {name} cannot use it: use method {use}, or leave it out."
        raise InputError(f"{further[0]} is given, {what}", typed=f"--{further[0]} is given, {what}")


def _said(method: object) -> str:
    return repr(method) if isinstance(method, str) else "a Method of your own"


def _family_for(method: object, family: str | None) -> str | None:
    """Return the name of the family to fit by a `method`, or None if the outcomes decide."""
    fits = isinstance(method, str) and method in FAMILY_MIXTURES
    if family is None:
        return None if fits else NORMAL.name
    if FAMILIES.find(family).likelihood is not None and not fits:
        raise InputError(
            f"method {_said(method)} is for the family 'normal' and family is {family!r}: use method "
            f"{' or '.join(FAMILY_MIXTURES)}."
        )
    return family


# Meta-steps of the experts. Few tasks are learned by heart in more.
_FEW, _LONG = 400, 4_000


def default_steps(tasks: int) -> int:
    """Return the meta-steps of the experts for so many `tasks`."""
    return _LONG if tasks > MANY else _FEW


def stacked_run(
    name: str, tasks: FixedTasks, schema: Schema, plan: Plan, particles: int | None, progress: Progress
) -> tuple[Run, Report, Stacked]:
    """Return a mixture as a run, what the folds say of it, and the mixture with its answers.

    - `name`: a name in `MIXTURES`.
    - `tasks`, `schema`: the tasks, and what the columns mean.
    - `plan`, `particles`: of trainings by meta-steps.
    - `progress`: shows them.

    Raises: Stopped (a KeyboardInterrupt) if Ctrl-C or SIGTERM came.
    """
    began, mask = time.perf_counter(), np.asarray(tasks.rows.mask) > 0
    plain = all(column.level is None for column in schema.outputs)
    family = FAMILIES.find(schema.family)
    numbers = family.likelihood is None
    family = fitted(family, np.asarray(tasks.rows.y)[mask][:, 0], len(schema.outputs[0].levels))
    logarithm = logarithm_of(np.asarray(tasks.rows.y)[mask], schema.means, schema.scales) if plain and numbers else None
    folds = members(len(mask), plan.seed)
    with Interrupt() as interrupt:
        sides = int(schema.side is not None)
        known = len(schema.outputs) if schema.partial else 0
        setting = Setting(tasks, folds, logarithm, plan, particles, progress, interrupt, family, sides, known)
        mixtures = CORRELATED_MIXTURES if known else MIXTURES if numbers else FAMILY_MIXTURES
        # Without an input tasks differ in level alone, and a mixed model knows all of that.
        candidates = mixtures[name if schema.given or not numbers else "mixed-model"]
        if "experts" in candidates:  # The others are not trained by steps.
            progress.start(0, plan.steps)
        try:
            stacked = stack_candidates(setting, candidates)
        finally:
            progress.close()
    method = Method(stacked.learner, QueryLoss("points"), name=name)
    run = Run(method, stacked.meta, plan, plan.steps, seconds=time.perf_counter() - began)
    return run, report(stacked, schema, name), stacked
