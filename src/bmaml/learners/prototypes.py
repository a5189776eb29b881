"""Adaptation by class means: prototypical networks."""

from __future__ import annotations

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Categorical
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractJointPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractClassLearner, AbstractLimitedLearner, Need

Distance = Literal["euclidean", "cosine"]


class PrototypePosterior(AbstractJointPosterior):
    """The classes' `prototypes`, with `scale` and `distance`. They have no uncertainty, so every draw of the function
    is its mean.
    """

    prototypes: Float[Array, "classes features"]
    scale: Float[Array, ""]
    distance: Distance = eqx.field(static=True)

    def predict(self, x):
        if self.distance == "cosine":
            return Categorical(self.scale * unit(x) @ unit(self.prototypes).T)
        # What all classes share cancels, and centred points keep float32 from cancelling the rest.
        middle = self.prototypes.mean(0)
        centred = self.prototypes - middle[None]
        return Categorical(self.scale * (2 * (x - middle[None]) @ centred.T - (centred**2).sum(-1)[None]))

    def log_joint(self, query):
        return (self.predict(query.x).log_prob(query.y) * query.mask).sum()

    def sample_functions(self, x, *, key, count=1):
        mean = self.predict(x).mean
        return jnp.broadcast_to(mean, (count, *mean.shape))


def unit(x: Float[Array, "n features"]) -> Float[Array, "n features"]:
    """Return the rows of `x` scaled to length 1. A row of zeros stays a row of zeros."""
    square = (x**2).sum(-1, keepdims=True)
    # Not a maximum with a tiny number: the derivative of the root is infinite there, and masked rows turn that into NaN.
    return x * jax.lax.rsqrt(jnp.where(square > jnp.finfo(x.dtype).tiny, square, 1.0))


@register("learner/prototypes")
class PrototypeLearner(AbstractClassLearner, AbstractLimitedLearner):
    """p(y = k | x) = softmax over classes k of -scale |x - c_k|^2, where c_k is the mean of the support's rows of class k.

    A class without a support row stands at the mean of all rows, and at the origin for an empty support. So the answer is
    finite, and for an empty support all classes are alike. The entries of the mask are weights of rows. From Snell et al.
    (2017), equations 1 and 2, https://arxiv.org/abs/1703.05175.

    - `classes`: number of classes.
    - `distance`: `"euclidean"`, or `"cosine"`, which uses + scale cos(x, c_k).
    - `scale`: start of the inverse temperature.
    - `learn_scale`: whether the log of the scale is a meta-parameter. If False there are no meta-parameters.

    Raises: InputError for fewer than two classes, a scale that is not above 0, or an unknown distance.
    """

    classes: int = eqx.field(static=True)
    distance: Distance = eqx.field(static=True, default="euclidean")
    scale: float = eqx.field(static=True, default=1.0)
    learn_scale: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_classes("PrototypeLearner", self.classes, self.scale)

    def init(self, key: PRNGKeyArray) -> Float[Array, ""] | None:
        return jnp.log(jnp.asarray(self.scale)) if self.learn_scale else None

    def with_classes(self, classes: int) -> PrototypeLearner:
        return dataclasses.replace(self, classes=classes)

    def limit(self, need: Need) -> str | None:
        return "classes have no distance" if need == "numbers" else None

    def adapt(self, meta: Float[Array, ""] | None, support: Data, *, key: PRNGKeyArray | None = None) -> PrototypePosterior:
        scale = jnp.asarray(self.scale, support.x.dtype) if meta is None else jnp.exp(meta)
        return PrototypePosterior(class_means(support, self.classes), scale, self.distance)


def class_means(support: Data, classes: int) -> Float[Array, "classes features"]:
    """Return the weighted mean of the support's rows of each of `classes` classes, or that of all rows for a class
    without rows.
    """
    weights = jax.nn.one_hot(support.y, classes, dtype=support.mask.dtype) * support.mask[:, None]
    # Masked rows may hold anything, and 0 times it is 0 only if it is finite.
    x = jnp.where(support.mask[:, None] > 0, support.x, 0.0)
    sums, counts = weights.T @ x, weights.sum(0)[:, None]
    everything = sums.sum(0) / _at_least_one_row(counts.sum())
    return jnp.where(counts > 0, sums / _at_least_one_row(counts), everything[None])


def _at_least_one_row(count: Array) -> Array:
    return jnp.where(count > 0, count, 1.0)


def check_classes(kind: str, classes: int, scale: float) -> None:
    """Raise InputError for fewer than two `classes` or a `scale` that is not above 0; `kind` is the learner's name."""
    if classes < 2 or not scale > 0:
        raise InputError(f"{kind} of {classes} classes and scale {scale}: give at least 2 classes, and a scale above 0.")
