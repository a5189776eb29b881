"""Any learner on the features of a network that all tasks, particles and inner steps share."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from bmaml.data import Data, Task
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, AbstractWrappedPosterior, noise_entropy
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractWrapper, Meta
from bmaml.models.network import AbstractNetwork, check_network


class FeatureMeta(eqx.Module):
    """Meta-parameters: those of the `extractor`, and those of the learner behind it (`inner`)."""

    extractor: PyTree[Any]
    inner: Meta


class FeaturePosterior(AbstractWrappedPosterior, AbstractNoisePosterior):
    """A posterior over functions of features. A query passes the extractor once, whatever the number of particles.

    - `extractor`, `params`: the network and its parameters.
    - `inner`: the posterior on features.
    """

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
    """Gives `inner` the features of a meta-learned network, the `extractor`, instead of the inputs.

    The extractor is not adapted. Its weights are the same for all tasks, so a meta-batch passes it as one batch of rows. With
    gradient steps of particles of a linear head as `inner` this is BMAML on images (Kim et al., 2018, section 5.2,
    https://arxiv.org/abs/1806.03836). With one particle it is ANIL (Raghu et al., 2020, https://arxiv.org/abs/1909.09157), and
    with prototypes a prototypical network. Every objective that fits `inner` fits this learner too, because the objective gets
    `inner` and the task's features.
    """

    extractor: AbstractNetwork
    inner: AbstractLearner

    def __check_init__(self):
        check_network(self.extractor, "FeatureLearner")

    def init(self, key: PRNGKeyArray) -> FeatureMeta:
        extractor_key, inner_key = jax.random.split(key)
        return FeatureMeta(self.extractor.init(extractor_key), self.inner.init(inner_key))

    def adapt(self, meta: FeatureMeta, support: Data, *, key: PRNGKeyArray) -> FeaturePosterior:
        features = _with(support, self.extractor.apply(meta.extractor, support.x))
        return FeaturePosterior(self.extractor, meta.extractor, self.inner.adapt(meta.inner, features, key=key))

    def within(self, meta: FeatureMeta, task: Task) -> tuple[Meta, Task]:
        # Support and query pass separately, as in adapting and predicting. A loss that stops the query's gradient (the chaser's
        # leader) then goes back through the support alone.
        support, query = (_with(part, self.extractor.apply(meta.extractor, part.x)) for part in (task.support, task.query))
        return meta.inner, Task(support, query)


def _with(data: Data, x: Array) -> Data:
    return Data(x, data.y, data.mask)
