"""Which learner knows the prior of some tasks, so that no other can beat it on average."""

from __future__ import annotations

import functools

from bmaml.learners.base import AbstractLearner
from bmaml.learners.bayes_optimal import BayesOptimal
from bmaml.learners.exact_process import ExactProcess
from bmaml.tasks.base import AbstractTasks, ShortenedTasks
from bmaml.tasks.gaussian_process import GaussianProcesses
from bmaml.tasks.sinusoid import Sinusoids

# Tasks to evaluate at once: the grid of one task takes several hundred megabytes.
AT_ONCE = 2
# With more points the posterior is narrower than a cell of the default grids.
MOST_SHOTS = 1000


@functools.singledispatch
def optimal_learner(tasks: AbstractTasks) -> AbstractLearner | None:
    """Return the learner, without meta-parameters, that knows the prior of `tasks`; None if no such learner is known.

    Scores on the same tasks then have a regret. For a class of tasks of your own, write a function from its tasks to the
    learner, with `@optimal_learner.register` above it.
    """
    return None


@optimal_learner.register
def _of_sinusoids(tasks: Sinusoids) -> BayesOptimal | None:
    # Without noise the optimum is a point mass with infinite likelihood.
    return BayesOptimal(tasks) if tasks.relative_noise > 0 or tasks.noise > 0 else None


@optimal_learner.register
def _of_processes(tasks: GaussianProcesses) -> ExactProcess:
    return ExactProcess(tasks)


@optimal_learner.register
def _of_first_points(tasks: ShortenedTasks) -> AbstractLearner | None:
    return optimal_learner(tasks.source)
