"""Adaptation by attention to the support: matching networks."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Categorical
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner
from bmaml.learners.prototypes import check_classes, unit


class MatchingMeta(eqx.Module):
    """Meta-parameters: the log of attention's inverse temperature, and the logit of the row that stands for no row."""

    log_scale: Float[Array, ""]
    background: Float[Array, ""]


class MatchingPosterior(AbstractPosterior):
    """The support's rows as directions, and how much of each class each of them counts (last row: all classes alike)."""

    directions: Float[Array, "n features"]
    labels: Float[Array, "n+1 classes"]
    meta: MatchingMeta

    def predict(self, x):
        attention = jnp.exp(self.meta.log_scale) * unit(x) @ self.directions.T
        background = jnp.broadcast_to(self.meta.background, (len(x), 1))
        each = jnp.concatenate([attention, background], 1)
        # By class in logs: attention may be too sharp for a class's share to be held as itself.
        return Categorical(logsumexp(each[:, :, None], axis=1, b=self.labels))

    def sample_functions(self, x, *, key, count=1):
        mean = self.predict(x).mean
        return jnp.broadcast_to(mean, (count, *mean.shape))


@register("learner/matching")
class MatchingLearner(AbstractLearner):
    """p(y = k | x) = sum over the support's rows i of class k of a_i, a = softmax of scale cos(x, x_i).

    Vinyals et al. (2016), equation 1 and section 2.1.1, without full-context embeddings; their scale is 1. One row more,
    of logit `background` whatever x is, stands for all classes alike: so a class without a row of support has a probability
    above 0, for an empty support all classes are alike, and an x unlike any row gets even odds. Scale (its log) and background
    are meta-parameters that start there, or with `learn_scale=False` stay there. The mask's entries are weights of rows.
    Raises: InputError for fewer than two classes or a scale that is not above 0.
    """

    classes: int = eqx.field(static=True)
    scale: float = eqx.field(static=True, default=10.0)
    background: float = eqx.field(static=True, default=0.0)
    learn_scale: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_classes("MatchingLearner", self.classes, self.scale)

    def init(self, key: PRNGKeyArray) -> MatchingMeta | None:
        return self._start() if self.learn_scale else None

    def _start(self) -> MatchingMeta:
        return MatchingMeta(jnp.log(jnp.asarray(self.scale)), jnp.asarray(self.background))

    def adapt(self, meta: MatchingMeta | None, support: Data, *, key: PRNGKeyArray | None = None) -> MatchingPosterior:
        labels = jax.nn.one_hot(support.y, self.classes, dtype=support.mask.dtype) * support.mask[:, None]
        anything = jnp.full((1, self.classes), 1 / self.classes, labels.dtype)
        return MatchingPosterior(unit(support.x), jnp.concatenate([labels, anything]), meta or self._start())
