"""A learner with its meta-parameters: everything that an answer on a new task needs."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import PRNGKeyArray

from bmaml.data import Data, length_class, pad
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
        """
        support = pad(support, length_class(support.mask.shape[-1]))
        return CompiledPosterior(_adapt(self.learner, self.meta, support, key))


@eqx.filter_jit
def _adapt(learner: AbstractLearner, meta: Meta, support: Data, key: PRNGKeyArray) -> AbstractPosterior:
    return learner.adapt(meta, support, key=key)
