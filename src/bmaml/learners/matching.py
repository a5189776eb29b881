"""Adaptation by attention to the support: matching networks."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Categorical
from bmaml.inference.posteriors import AbstractJointPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractClassLearner, AbstractLimitedLearner, Need
from bmaml.learners.prototypes import check_classes, unit


class MatchingMeta(eqx.Module):
    """Meta-parameters: `log_scale`, the log of attention's inverse temperature, and `background`, the logit of the
    background row.
    """

    log_scale: Float[Array, ""]
    background: Float[Array, ""]


class MatchingPosterior(AbstractJointPosterior):
    """The rows of the support as unit vectors, and the share of each class for which a row counts.

    - `directions`: the rows.
    - `labels`: shares of the classes; the last row counts for all classes alike.
    - `meta`: scale and background.
    """

    directions: Float[Array, "n features"]
    labels: Float[Array, "n+1 classes"]
    meta: MatchingMeta

    def predict(self, x):
        attention = jnp.exp(self.meta.log_scale) * unit(x) @ self.directions.T
        background = jnp.broadcast_to(self.meta.background, (len(x), 1))
        each = jnp.concatenate([attention, background], 1)
        # Logs for each class, because attention may be too sharp to hold a class's share itself.
        return Categorical(logsumexp(each[:, :, None], axis=1, b=self.labels[None]))

    def log_joint(self, query):
        return (self.predict(query.x).log_prob(query.y) * query.mask).sum()

    def sample_functions(self, x, *, key, count=1):
        mean = self.predict(x).mean
        return jnp.broadcast_to(mean, (count, *mean.shape))


@register("learner/matching")
class MatchingLearner(AbstractClassLearner, AbstractLimitedLearner):
    """p(y = k | x) = sum over the support's rows i of class k of a_i, a = softmax of scale cos(x, x_i).

    From Vinyals et al. (2016), equation 1 and section 2.1.1, https://arxiv.org/abs/1606.04080, without full-context embeddings.
    One more row, with a fixed logit for every x, stands for all classes alike. So a class without a support row has a
    probability above 0, all classes are alike for an empty support, and an x unlike any row gets even odds. The entries of the
    mask are weights of rows.

    - `classes`: number of classes.
    - `scale`: start of the inverse temperature; the paper has 1.
    - `background`: start of the logit of the additional row.
    - `learn_scale`: whether scale (its log) and background are meta-parameters. If False they stay at their start.

    Raises: InputError for fewer than two classes, or a scale that is not above 0.
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

    def with_classes(self, classes: int) -> MatchingLearner:
        return dataclasses.replace(self, classes=classes)

    def limit(self, need: Need) -> str | None:
        return "classes have no distance" if need == "numbers" else None

    def adapt(self, meta: MatchingMeta | None, support: Data, *, key: PRNGKeyArray | None = None) -> MatchingPosterior:
        labels = jax.nn.one_hot(support.y, self.classes, dtype=support.mask.dtype) * support.mask[:, None]
        anything = jnp.full((1, self.classes), 1 / self.classes, labels.dtype)
        return MatchingPosterior(unit(support.x), jnp.concatenate([labels, anything]), meta or self._start())
