"""A method: a learner and an objective."""

from __future__ import annotations

import equinox as eqx

from bmaml.learners.base import AbstractLearner
from bmaml.objectives.base import AbstractObjective


class Method(eqx.Module):
    """A learner and an objective that fit each other.

    Raises: TypeError or ValueError, with the reason and what to use instead, where they do not.
    """

    learner: AbstractLearner
    objective: AbstractObjective

    def __check_init__(self):
        self.objective.check(self.learner)
