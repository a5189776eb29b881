"""Adaptation by one pass of a network: neural processes and recurrent learners."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLimitedLearner, Need
from bmaml.models.context import AbstractContextNetwork, Params, Representation
from bmaml.models.target_heads import AbstractTargetHead, CategoricalHead

# Rows of a draw that are sampled one after another. A support has about as many, so a network need not read far more rows
# than in training.
_PINNED = 10


class AmortisedPosterior(AbstractPosterior):
    """What a network makes of a support. `predict` gives the marginal of each query, because a network does not model their
    joint.

    - `network`, `head`, `params`: the network, its head and its parameters.
    - `support`: the support.
    - `context`: what the network keeps of the support.
    """

    network: AbstractContextNetwork
    head: AbstractTargetHead
    params: PyTree[Any]
    support: Data
    context: Representation

    def predict(self, x):
        return self.head.distribution(self.network.answer(self.params, self.context, x))

    def sample_functions(self, x, *, key, count=1):
        """Return `count` draws of the function at inputs `x`, joint over the rows, by autoregressive sampling.

        Up to 10 rows are picked at random. Their targets are drawn one after another, and each is read back like an observed
        one. The function is the predictive mean given all of them. Means alone would all be the same function, and independent
        marginals would be no function. From Bruinsma et al. (2023), section 2, https://arxiv.org/abs/2303.14468. The
        conditionals of a network need not agree with each other, so the draws are approximate. What 10 points leave open is
        averaged, not drawn.
        """
        return jax.vmap(lambda k: self._function(x, k))(jax.random.split(key, count))

    def _function(self, x: Array, key: PRNGKeyArray) -> Array:
        row_key, draw_key = jax.random.split(key)
        pinned = x[jax.random.permutation(row_key, len(x))[:_PINNED]]
        y = jnp.zeros((len(pinned), *self.support.y.shape[1:]), self.support.y.dtype)
        given = len(self.support.mask)
        data = self.support | Data(pinned, y, jnp.zeros(len(pinned), self.support.mask.dtype))

        def observe(i: Array, data: Data) -> Data:
            predictive = self._given(data).predict(jax.lax.dynamic_slice_in_dim(pinned, i, 1))
            drawn = predictive.sample(jax.random.fold_in(draw_key, i))[0].astype(y.dtype)
            return Data(data.x, data.y.at[given + i].set(drawn), data.mask.at[given + i].set(1.0))

        return self._given(jax.lax.fori_loop(0, len(pinned), observe, data)).predict(x).mean

    def _given(self, support: Data) -> AmortisedPosterior:
        return _posterior(self.network, self.head, self.params, support)


def _posterior(network: AbstractContextNetwork, head: AbstractTargetHead, params: Params, support: Data) -> AmortisedPosterior:
    context = network.read(params, support.x, head.embed(support.y, support.mask), support.mask)
    return AmortisedPosterior(network, head, params, support, context)


@register("learner/amortised")
class AmortisedLearner(AbstractLimitedLearner):
    """One pass of a network over the support. The meta-parameters are the network's, and adaptation optimises nothing.

    - `network`: `DeepSets` makes a conditional neural process (Garnelo et al., 2018, https://arxiv.org/abs/1807.01613).
      `Transformer` makes a diagonal transformer neural process (Nguyen and Grover, 2022, https://arxiv.org/abs/2207.04179).
      `Recurrent` makes a memory learner, the only one that depends on the order of the support.
    - `head`: how targets are read and predicted.
    """

    network: AbstractContextNetwork
    head: AbstractTargetHead

    def init(self, key: PRNGKeyArray) -> Params:
        return self.network.init(key, self.head.targets, self.head.width)

    def adapt(self, meta: Params, support: Data, *, key: PRNGKeyArray | None = None) -> AmortisedPosterior:
        return _posterior(self.network, self.head, meta, support)

    def limit(self, need: Need) -> str | None:
        if need == "numbers" and isinstance(self.head, CategoricalHead):
            return "classes have no distance"
        return "a network answers for each target by itself" if need == "joint" else None
