"""A learner with its meta-parameters: everything that an answer on a new task needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import Data, Task, check_points, length_class, pad
from bmaml.distributions import Categorical, CategoricalMixture, check_targets
from bmaml.errors import BmamlError, InputError
from bmaml.inference.compiled import CompiledPosterior
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.base import AbstractLearner, Meta


class Predictor(eqx.Module):
    """What the answers on a new task depend on, besides its support.

    - `learner`: how to adapt to a task.
    - `meta`: the learner's meta-parameters (None for a learner without any, such as the Bayes-optimal predictor).
    """

    learner: AbstractLearner
    meta: Meta = None

    def adapt(self, support: Data, *, key: PRNGKeyArray) -> CompiledPosterior:
        """Return the posterior of a task given its support, by a program that is compiled once.

        The support is padded with masked rows to one of a few lengths, so another number of rows needs no new program.
        Raises: InputError for a support whose numbers are not finite, or of other widths or another kind of targets than the
        learner's.
        """
        concrete = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(support))
        if concrete:
            check_points(support, "the given points")
        padded = pad(support, length_class(support.mask.shape[-1]))
        with fitting(self.learner, support):
            posterior, classes = _adapt(self.learner, self.meta, padded, key)
        if concrete and classes is not None:
            _check_labels(np.asarray(support.y), classes)
        return CompiledPosterior(posterior, support)


@contextmanager
def fitting(learner: AbstractLearner, points: Data) -> Iterator[None]:
    """Turn an error of shapes, while `learner` is traced on data such as `points`, into one that names widths.

    Raises: InputError in place of the error of Python or JAX, from which it is raised.
    """
    try:
        yield
    except BmamlError:
        raise
    except (TypeError, ValueError) as error:
        wide = points.y.shape[-1] if points.y.ndim > points.mask.ndim else 0
        targets = f"targets of {wide} number{'s' * (wide > 1)}" if wide else "classes as targets"
        raise InputError(
            f"{type(learner).__name__} cannot learn from rows of {points.x.shape[-1]} inputs with {targets}: "
            "give rows and targets as wide as the networks, or networks of these widths."
        ) from error


@eqx.filter_jit
def _adapt(learner: AbstractLearner, meta: Meta, support: Data, key: PRNGKeyArray) -> tuple[AbstractPosterior, int | None]:
    """Return the posterior, and the number of classes that it predicts (None for numbers)."""
    posterior = learner.adapt(meta, support, key=key)
    return posterior, _check_answers(posterior, support)


def _check_answers(posterior: AbstractPosterior, points: Data) -> int | None:
    """Return the number of classes that a posterior predicts, None for numbers.

    Raises: InputError if it predicts another kind of targets, or of another width, than those of `points`.
    """
    mean, categorical = eqx.filter_eval_shape(lambda: _described(posterior, points))
    classes = mean.shape[-1] if categorical else None
    check_targets(mean.shape[:-1] if categorical else mean.shape, points.y, classes=classes)
    return classes


def _described(posterior: AbstractPosterior, points: Data) -> tuple[Array, bool]:
    predictive = posterior.predict(points.x)
    return predictive.mean, isinstance(predictive, Categorical | CategoricalMixture)


def check_fit(learner: AbstractLearner, meta: Meta, task: Task) -> None:
    """Check, without computing anything, that `learner` with `meta` can adapt to a task of the shapes of `task` and predict it.

    Raises: InputError that names widths and kind of targets if it cannot.
    """

    def adapt(meta: Meta, task: Task) -> Array:
        posterior = learner.adapt(meta, task.support, key=jax.random.key(0))
        _check_answers(posterior, task.query)
        return posterior.predict(task.query.x).mean

    with fitting(learner, task.query):
        eqx.filter_eval_shape(adapt, meta, task)


def _check_labels(labels: np.ndarray, classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"row {wrong[0]} (counted from 0) is of class {labels[wrong[0]]} and the model tells {classes} classes apart: give "
            f"whole numbers from 0 to {classes - 1}."
        )


__all__ = ["Predictor", "check_fit", "fitting"]
