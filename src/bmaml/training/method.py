"""What the loop repeats: a learner with an objective, the start of a run, and a meta-step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, Int, PRNGKeyArray

from bmaml.errors import PairError, said
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.objectives.base import AbstractObjective, Metrics
from bmaml.tasks.base import AbstractSource
from bmaml.training.masses import EvidenceMasses
from bmaml.training.plan import Plan


class TrainState(eqx.Module):
    """Everything that a run needs to continue.

    - `meta`, `optimiser`: meta-parameters and the optimiser's state.
    - `step`: meta-steps so far.
    - `skipped`: meta-steps that were left out.
    - `bad`: where the last left-out step went wrong. The first entries are the step and the task (-1 if unknown), and the rest
      is the method's own.
    """

    meta: Meta
    optimiser: Any
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    bad: Int[Array, " places"]


# (state, source, seed, count) to the state after so many meta-steps and the numbers of each by name (`loss`, `skipped`, and
# what the method logs besides), in front of a longer buffer.
Chunk = Callable[[TrainState, AbstractSource, Array, Array], tuple[TrainState, Metrics]]


Given = TypeVar("Given")
Adapted = TypeVar("Adapted")


def check_parts(learner: object, objective: object, kind: str) -> None:
    """Check that a method has a `learner` and an `objective`; `kind` is the name of its class.

    Raises: PairError that says what to write.
    """
    if isinstance(learner, AbstractObjective) and isinstance(objective, AbstractLearner):
        raise PairError(
            f"{kind} was given the objective {type(learner).__name__} before the learner {type(objective).__name__}: give the "
            "learner first and the objective second."
        )
    if not isinstance(learner, AbstractLearner):
        raise PairError(
            f"{kind} was given {said(learner)} as its learner: give a learner, such as bmaml.learners.GradientLearner(model)."
        )
    if not isinstance(objective, AbstractObjective):
        raise PairError(f"{kind} was given {said(objective)} as its objective: give one such as bmaml.objectives.QueryLoss().")


class AbstractMethod(eqx.Module, Generic[Given, Adapted]):
    """A learner, which says how a task is adapted to, an objective, which says how that is scored, and what the loop repeats:
    how a run begins, and what a meta-step is, a function of state, seed and step alone.

    `Given` is what a new task is known by: `Data`, or the trajectories of policies. `Adapted` is what adaptation makes of it.
    `name` is the method's in a table of methods, if it is in one. `masses`, if given, finds the masses of the learner's prior
    from the evidence once the meta-steps are over. `SIZES` names what takes memory in a meta-step, besides tasks in a
    meta-batch, in the words of the command line's options.
    """

    SIZES: ClassVar[tuple[str, ...]] = ("particles", "inner steps", "queries")

    learner: AbstractLearner
    objective: AbstractObjective
    name: str | None = eqx.field(static=True, default=None, kw_only=True)
    masses: EvidenceMasses | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self):
        if self.masses is not None:
            self.masses.check(self.learner)

    @property
    @abstractmethod
    def answerer(self) -> AbstractLearner:
        """The learner that a trained run answers with."""

    @abstractmethod
    def check(self, source: AbstractSource) -> None:
        """Check that the method can be trained on tasks of `source`.

        Raises: InputError if it cannot.
        """

    @abstractmethod
    def begin(self, plan: Plan) -> TrainState:
        """Return the state before the first meta-step of `plan`."""

    @abstractmethod
    def compile(self, plan: Plan, source: AbstractSource, state: TrainState) -> Chunk:
        """Return what runs chunks of meta-steps of `plan` on tasks of `source`. It may reuse the memory of `state`."""

    @abstractmethod
    def explain(self, bad: Int[Array, " places"], skipped: int) -> str:
        """Return the sentence that says why `skipped` meta-steps are too many; `bad` is where the last one went wrong."""

    @abstractmethod
    def adapt(self, meta: Meta, given: Given, *, key: PRNGKeyArray) -> Adapted:
        """Return the result of adapting to a new task, from what is `given` of it.

        Raises: InputError if that is of another kind than the method learns from.
        """
