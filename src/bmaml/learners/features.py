"""Any learner on features of a network that all tasks, particles and inner steps share."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from bmaml.data import Data, Task
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, AbstractWrappedPosterior, noise_entropy
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractWrapper, Meta
from bmaml.models.network import AbstractNetwork


class FeatureMeta(eqx.Module):
    """Meta-parameters: the extractor's, and those of the learner behind it."""

    extractor: PyTree[Any]
    inner: Meta


class FeaturePosterior(AbstractWrappedPosterior, AbstractNoisePosterior):
    """A posterior over functions of features; a query passes the extractor once, whatever the number of particles."""

    extractor: AbstractNetwork
    params: PyTree[Any]
    inner: AbstractPosterior

    def predict(self, x):
        return self.inner.predict(self.extractor.apply(self.params, x))

    def sample_functions(self, x, *, key, count=1):
        return self.inner.sample_functions(self.extractor.apply(self.params, x), key=key, count=count)

    def noise_entropy(self, x):
        return noise_entropy(self.inner, self.extractor.apply(self.params, x))


@register("learner/features")
class FeatureLearner(AbstractWrapper):
    """Hands `inner` the features of a meta-learned network in place of the inputs.

    The extractor is not adapted: its weights are the same for all tasks, so that a meta-batch passes it as one batch of rows.
    With gradient steps of particles of a linear head as `inner` this is BMAML on images (Kim et al., 2018, section 5.2), with
    one particle ANIL (Raghu et al., 2020); with prototypes it is a prototypical network. Every objective that fits `inner`
    fits this, too: it is handed `inner` and the task's features.
    """

    extractor: AbstractNetwork
    inner: AbstractLearner

    def init(self, key: PRNGKeyArray) -> FeatureMeta:
        extractor_key, inner_key = jax.random.split(key)
        return FeatureMeta(self.extractor.init(extractor_key), self.inner.init(inner_key))

    def adapt(self, meta: FeatureMeta, support: Data, *, key: PRNGKeyArray) -> FeaturePosterior:
        features = _with(support, self.extractor.apply(meta.extractor, support.x))
        return FeaturePosterior(self.extractor, meta.extractor, self.inner.adapt(meta.inner, features, key=key))

    def within(self, meta: FeatureMeta, task: Task) -> tuple[Meta, Task]:
        # Apart, as in adapting and predicting: a loss that stops the query's gradient (the chaser's leader) then goes back
        # through the support alone.
        support, query = (_with(part, self.extractor.apply(meta.extractor, part.x)) for part in (task.support, task.query))
        return meta.inner, Task(support, query)


def _with(data: Data, x: Array) -> Data:
    return Data(x, data.y, data.mask)
