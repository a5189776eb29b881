"""The table of objectives: one row for each objective that has a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bmaml.errors import InputError, said
from bmaml.objectives.base import AbstractObjective
from bmaml.objectives.chaser import ChaserLoss
from bmaml.objectives.elbo import Elbo
from bmaml.objectives.laplace import EvidenceLoss, LaplaceLoss
from bmaml.objectives.pooled import PooledLoss
from bmaml.objectives.query import QueryLoss
from bmaml.rows import Rows


@dataclass(frozen=True)
class ObjectiveSpec:
    """A row of the table of objectives.

    - `name`: in lower case with hyphens, as it is typed.
    - `objective`: the objective, with the settings that the name stands for.
    """

    name: str
    objective: AbstractObjective

    @property
    def made_by(self) -> AbstractObjective:
        """The objective itself."""
        return self.objective


_ROWS = (
    ObjectiveSpec("query-points", QueryLoss("points")),
    ObjectiveSpec("query-joint", QueryLoss("joint")),
    ObjectiveSpec("query-each", QueryLoss("each")),
    ObjectiveSpec("query-squared-error", QueryLoss("squared_error")),
    ObjectiveSpec("pooled-points", PooledLoss("points")),
    ObjectiveSpec("pooled-joint", PooledLoss("joint")),
    ObjectiveSpec("pooled-each", PooledLoss("each")),
    ObjectiveSpec("pooled-squared-error", PooledLoss("squared_error")),
    ObjectiveSpec("reptile", ChaserLoss(0)),
    ObjectiveSpec("chaser", ChaserLoss(1)),
    ObjectiveSpec("elbo", Elbo()),
    ObjectiveSpec("laplace", LaplaceLoss()),
    ObjectiveSpec("evidence", EvidenceLoss()),
)


def as_objective(name: str, found: Any) -> ObjectiveSpec:
    """Return a row called `name` for what a plug-in or a path leads to (`found`): a row, an objective, or a class without
    arguments.

    Raises: InputError for anything else.
    """
    if isinstance(found, ObjectiveSpec):
        return replace(found, name=name) if ":" in name else found
    made = found() if isinstance(found, type) and issubclass(found, AbstractObjective) else found
    if isinstance(made, AbstractObjective):
        return ObjectiveSpec(name, made)
    raise InputError(f"{name} is {said(found)}, and no objective: give a bmaml.objectives.AbstractObjective.")


OBJECTIVES: Rows[ObjectiveSpec] = Rows("objective", "bmaml.objectives", as_objective, _ROWS)
"""Every objective that has a name."""


def add(name: str, objective: AbstractObjective) -> ObjectiveSpec:
    """Add `objective` as the row `name` to the table of objectives and return the row. The command line then knows it by name.

    Raises: InputError for a name that is taken, or that is not lower case with hyphens.
    """
    return OBJECTIVES.add(ObjectiveSpec(name, objective))
