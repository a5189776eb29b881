"""Learners used with other sizes than in training: more particles, other numbers of classes."""

from __future__ import annotations

from typing import TypeGuard

from bmaml.errors import InputError, PairError
from bmaml.learners.base import AbstractClassLearner, AbstractDrawingLearner, AbstractLearner
from bmaml.learners.conjugate import ConjugateLearner
from bmaml.learners.wrappers import core, replace_core

# Fewer codes lie so far apart that features must also cover the space between codes. Each task then pays for the weights
# of these directions with its points.
EXPERTS = 256


def drawing(learner: AbstractLearner, particles: int) -> AbstractLearner:
    """Return `learner` with `particles` particles drawn at each adaptation, whatever its number in training.

    At least 64 of the experts are kept.
    Raises: PairError if the particles are learned, so that their number is fixed.
    """

    def replace(inner: AbstractLearner) -> AbstractLearner:
        if isinstance(inner, AbstractDrawingLearner):
            return inner.with_particles(particles)
        raise PairError(f"drawing needs particles that adaptation draws and those of {type(inner).__name__} are learned.")

    return replace_core(learner, replace)


def draws_codes(learner: AbstractLearner) -> TypeGuard[ConjugateLearner]:
    """Say whether `learner` draws experts from a density of codes. More experts then integrate more finely over the density."""
    return isinstance(learner, ConjugateLearner) and learner.codes == "drawn"


def finely_drawn(learner: AbstractLearner) -> AbstractLearner:
    """Return `learner` in its best form for answers: with twice the experts of training and 256 or more, if it draws them."""
    return drawing(learner, max(EXPERTS, 2 * learner.particles)) if draws_codes(learner) else learner


def for_classes(learner: AbstractLearner, way: int, count: int) -> AbstractLearner:
    """Return `learner`, trained on episodes of `way` classes, for a task of `count` classes. Class means fit any number.

    Raises: InputError if the learner's network has `way` outputs and `count` is larger.
    """
    if count > way and not takes_any_number(learner):
        raise InputError(
            f"the task has {count} classes and the model tells up to {way} apart: fit with a way of {count}, or use "
            "'protonet', which takes any number."
        )
    return with_classes(learner, count)


def with_classes(learner: AbstractLearner, count: int) -> AbstractLearner:
    """Return the learner for tasks of `count` classes, where it takes any number of them; another one stays as it is."""

    def replace(one: AbstractLearner) -> AbstractLearner:
        return one.with_classes(count) if isinstance(one, AbstractClassLearner) else one

    return replace_core(learner, replace)


def takes_any_number(learner: AbstractLearner) -> bool:
    """Return whether `learner` tells any number of classes apart, and not only as many as its network has outputs."""
    return isinstance(core(learner), AbstractClassLearner)
