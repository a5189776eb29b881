"""The table of families of outcomes: one row for each name that a user can type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bmaml.errors import InputError, said
from bmaml.likelihoods.base import AbstractLikelihood
from bmaml.likelihoods.bernoulli import BernoulliLikelihood
from bmaml.likelihoods.binomial import BinomialLikelihood
from bmaml.likelihoods.censored import CensoredLikelihood, CensoredLogLikelihood
from bmaml.likelihoods.gamma import GammaLikelihood
from bmaml.likelihoods.gaussian import KnownErrorLikelihood, WeightedLikelihood
from bmaml.likelihoods.negative_binomial import NegativeBinomialLikelihood
from bmaml.likelihoods.ordered import OrderedLikelihood, cuts_of
from bmaml.likelihoods.poisson import PoissonLikelihood
from bmaml.likelihoods.student import StudentLikelihood
from bmaml.rows import Rows

# What an outcome's cells may be: any number, a number above 0, the same with cells such as <0.1, one of two things, one of
# several levels in order, one of several classes, or a whole number from 0 on.
Cells = Literal["number", "positive", "limited", "limited-positive", "two", "ordered", "classes", "count"]
# What else is known of a row: the exposure of a count, the error of a measurement, how many measurements it stands for, how
# many trials could succeed, or how far the true outcome may lie from the one that is given.
Side = Literal["exposure", "error", "weight", "trials", "limits"]


@dataclass(frozen=True)
class Family:
    """A row of the table of families.

    - `name`: in lower case with hyphens, as it is typed.
    - `likelihood`: the distribution of an outcome given its latent number. None for the family of the exact learners. Of
      classes it is that of each question whether the class is the next one (`bmaml.learners.generalised.ClassesLearner`).
    - `cells`: what an outcome's cells may be.
    - `side`: name of what else must be known of a row, or None.
    - `mean`: what the predicted mean is, in the names of columns.
    - `error`: how the squared error is called, in headers.
    """

    name: str
    likelihood: AbstractLikelihood | None
    cells: Cells
    side: Side | None = None
    mean: str = "mean"
    error: str = "RMSE"

    @property
    def continuous(self) -> bool:
        """Whether an outcome has a density, so that its intervals have a width."""
        return self.cells in ("number", "positive") or self.limited

    @property
    def limited(self) -> bool:
        """Whether an outcome may only be known up to a limit."""
        return self.side == "limits"

    @property
    def exact(self) -> bool:
        """Whether an outcome is one number with a density, so that a normal around a guess can be compared with it."""
        return self.continuous and not self.limited

    @property
    def shares(self) -> bool:
        """Whether what is predicted of an outcome is a probability, whose interval is what is not known of the task."""
        return self.cells in ("two", "classes")

    @property
    def made_by(self) -> AbstractLikelihood | None:
        """The likelihood."""
        return self.likelihood


def fitted(family: Family, y: np.ndarray, levels: int) -> Family:
    """Return the `family` with what its likelihood must know of all outcomes `y`, of so many `levels`, before a fit."""
    return replace(family, likelihood=cuts_of(y, levels)) if family.cells == "ordered" else family


NORMAL = Family("normal", None, "number")
"""Numbers of any size: the family of exact learners."""

_ROWS = (
    NORMAL,
    Family("student-t", StudentLikelihood(), "number"),
    Family("gamma", GammaLikelihood(), "positive"),
    Family("known-error", KnownErrorLikelihood(), "number", side="error"),
    Family("weighted", WeightedLikelihood(), "number", side="weight"),
    Family("censored", CensoredLikelihood(), "limited", side="limits"),
    Family("censored-log", CensoredLogLikelihood(), "limited-positive", side="limits"),
    Family("yes-no", BernoulliLikelihood(), "two", mean="probability", error="root of the Brier score"),
    Family("ordered", OrderedLikelihood(), "ordered", mean="mean", error="RMSE in levels"),
    Family("classes", BernoulliLikelihood(), "classes", mean="probability", error="root of the Brier score"),
    Family("count", NegativeBinomialLikelihood(), "count", side="exposure"),
    Family("poisson", PoissonLikelihood(), "count", side="exposure"),
    Family("binomial", BinomialLikelihood(), "count", side="trials"),
)


def as_family(name: str, found: Any) -> Family:
    """Return a row called `name` for what a plug-in or a path leads to (`found`): a row.

    Raises: InputError for anything else.
    """
    if isinstance(found, Family):
        return replace(found, name=name) if ":" in name else found
    raise InputError(f"{name} is {said(found)}, and no family of outcomes: give a bmaml.likelihoods.Family.")


FAMILIES: Rows[Family] = Rows("family of outcomes", "bmaml.families", as_family, _ROWS)
"""Every family of outcomes."""
