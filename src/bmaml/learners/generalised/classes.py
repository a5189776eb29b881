"""Classes without an order, told apart one after the other by generalised mixed models of yes or no."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import DiscreteMixture, indicators_of
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractNoisePosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractEvidenceLearner
from bmaml.learners.generalised.learner import GeneralisedLearner, GeneralisedMeta, GeneralisedPosterior

_LEAST = 1e-6


class Step(NamedTuple):
    """One of the questions: whether the class is the next one, given that it is none of those before.

    - `y`: 1 if it is, else 0.
    - `left`: how much of a row is none of the classes before. Rows of a class before are not asked.
    """

    y: Float[Array, "*rows"]
    left: Float[Array, "*rows"]


def steps_of(y: Float[Array, "*rows classes"], order: tuple[int, ...]) -> Step:
    """Return the questions about indicators `y` of the classes, on a leading axis: one less than there are classes.

    `order` is the order in which classes are asked for. Indicators that are probabilities make questions of shares.
    """
    own = jnp.moveaxis(y[..., np.array(order)], -1, 0)
    left = 1 - jnp.concatenate([jnp.zeros_like(own[:1]), jnp.cumsum(own[:-1], 0)])
    return Step((own / jnp.maximum(left, _LEAST))[:-1], left[:-1])


def shares_of(yes: Float[Array, "*questions"], order: tuple[int, ...]) -> Float[Array, "*rows classes"]:
    """Return the probability of each class. `yes` is that of a yes to each question, in the `order` of the classes."""
    left = jnp.cumprod(1 - yes, 0)
    before = jnp.concatenate([jnp.ones_like(yes[:1]), left[:-1]])
    each = jnp.concatenate([before * yes, left[-1:]])
    return jnp.moveaxis(each[np.argsort(order)], 0, -1)


class ClassesPosterior(AbstractNoisePosterior):
    """The posterior of each question (`steps`, on a leading axis), in the `order` of the classes.

    Functions are the probabilities of the classes.
    """

    steps: GeneralisedPosterior
    order: tuple[int, ...] = eqx.field(static=True)

    def predict(self, x):
        # The questions are independent given the support, so the means of probabilities multiply.
        return DiscreteMixture(jnp.zeros(1), indicators_of(shares_of(self._yes(x), self.order)[None]))

    def _yes(self, x: Array) -> Array:
        return jax.lax.map(lambda step: step.predict(x).mean[:, 0], self.steps)

    def noise_entropy(self, x):
        yes = self._yes(x)
        within = jax.lax.map(lambda step: step.noise_entropy(x), self.steps)
        before = jnp.concatenate([jnp.ones_like(yes[:1]), jnp.cumprod(1 - yes, 0)[:-1]])
        return (before * within).sum(0)

    def sample_functions(self, x, *, key, count=1):
        keys = jax.random.split(key, len(self.order) - 1)
        drawn = jax.vmap(lambda step, key: step.sample_functions(x, key=key, count=count))(self.steps, keys)
        return shares_of(drawn[..., 0], self.order)


@register("learner/classes")
class ClassesLearner(AbstractEvidenceLearner):
    """One of several classes without an order, by a chain of questions that are yes or no.

    The first question is whether the outcome is the first class. The next one asks the same of the second class, of rows that
    are not of the first, and so on. The product of the answers is the probability of a class, so the likelihood is exact, and
    the questions have independent posteriors (stick breaking: Linderman et al., 2015, https://arxiv.org/abs/1506.05843). Each
    question is a generalised mixed model with scales of its own.

    - `inner`: the model of a question, for an outcome that is yes or no.
    - `order`: the numbers of the classes in the order in which they are asked for.

    Targets are indicators: 1 for the class of a row, and 0 for the others.
    Raises: InputError for fewer than two classes, or an order that leaves out a number or has one twice.
    """

    inner: GeneralisedLearner
    order: tuple[int, ...] = eqx.field(static=True, converter=tuple)

    def __check_init__(self):
        if len(self.order) < 2 or sorted(self.order) != list(range(len(self.order))):
            raise InputError(f"ClassesLearner has the order {self.order}: give each number from 0 on once, at least two.")

    def init(self, key: PRNGKeyArray) -> GeneralisedMeta:
        return jax.vmap(self.inner.init)(jax.random.split(key, len(self.order) - 1))

    def adapt(self, meta: GeneralisedMeta, support: Data, *, key: PRNGKeyArray | None = None) -> ClassesPosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(
        self, meta: GeneralisedMeta, data: Data, *, key: PRNGKeyArray | None = None
    ) -> tuple[ClassesPosterior, Float[Array, ""]]:
        def one(asked: tuple[GeneralisedMeta, Step]) -> tuple[GeneralisedPosterior, Array]:
            own, step = asked
            # A row that is believed and not seen (`AdaptedTask.suggest`) has shares of all classes.
            mask = jnp.where(step.left > _LEAST, data.mask, 0.0)
            return self.inner.weigh(own, Data(data.x, step.y[:, None], mask), key=key)

        posterior, evidence = jax.lax.map(one, (meta, steps_of(data.y, self.order)))
        return ClassesPosterior(posterior, self.order), evidence.sum()
