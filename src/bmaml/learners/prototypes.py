"""Adaptation by class means: prototypical networks."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Categorical
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner

Distance = Literal["euclidean", "cosine"]


class PrototypePosterior(AbstractPosterior):
    """The classes' prototypes; nothing about them is uncertain, so every draw of the function is its mean."""

    prototypes: Float[Array, "classes features"]
    scale: Float[Array, ""]
    distance: Distance = eqx.field(static=True)

    def predict(self, x):
        if self.distance == "cosine":
            return Categorical(self.scale * unit(x) @ unit(self.prototypes).T)
        # What is common to all classes cancels, and centred points keep float32 from cancelling the rest.
        middle = self.prototypes.mean(0)
        centred = self.prototypes - middle
        return Categorical(self.scale * (2 * (x - middle) @ centred.T - (centred**2).sum(-1)))

    def sample_functions(self, x, *, key, count=1):
        mean = self.predict(x).mean
        return jnp.broadcast_to(mean, (count, *mean.shape))


def unit(x: Float[Array, "n features"]) -> Float[Array, "n features"]:
    """Return the rows scaled to length 1; a row of zeros stays one."""
    square = (x**2).sum(-1, keepdims=True)
    # Not a maximum with something tiny: the root's derivative there is infinite, and masked rows make that not a number.
    return x * jax.lax.rsqrt(jnp.where(square > jnp.finfo(x.dtype).tiny, square, 1.0))


@register("learner/prototypes")
class PrototypeLearner(AbstractLearner):
    """p(y = k | x) = softmax over classes k of -scale |x - c_k|^2, with c_k the mean of the support's rows of class k.

    `distance="cosine"` takes + scale cos(x, c_k) in its place. `scale` is the inverse temperature, a meta-parameter (its log)
    that starts there, or with `learn_scale=False` stays there and there are no meta-parameters. A class without a row of
    support stands at the mean of all rows, at the origin where there are none: the answer is finite, and for an empty support
    all classes are alike. Rows of the mask are weights. Snell et al. (2017), equations 1 and 2.
    Raises: InputError for fewer than two classes, a scale that is not above 0, or an unknown distance.
    """

    classes: int = eqx.field(static=True)
    distance: Distance = eqx.field(static=True, default="euclidean")
    scale: float = eqx.field(static=True, default=1.0)
    learn_scale: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_classes("PrototypeLearner", self.classes, self.scale)
        if self.distance not in ("euclidean", "cosine"):
            raise InputError(f"unknown distance {self.distance!r}: use 'euclidean' or 'cosine'.")

    def init(self, key: PRNGKeyArray) -> Float[Array, ""] | None:
        return jnp.log(jnp.asarray(self.scale)) if self.learn_scale else None

    def adapt(self, meta: Float[Array, ""] | None, support: Data, *, key: PRNGKeyArray | None = None) -> PrototypePosterior:
        scale = jnp.asarray(self.scale, support.x.dtype) if meta is None else jnp.exp(meta)
        return PrototypePosterior(class_means(support, self.classes), scale, self.distance)


def class_means(support: Data, classes: int) -> Float[Array, "classes features"]:
    """Return each class's weighted mean of its rows; where it has none, that of all rows."""
    weights = jax.nn.one_hot(support.y, classes, dtype=support.mask.dtype) * support.mask[:, None]
    # Masked rows may hold anything: 0 times it is 0 only where it is finite.
    x = jnp.where(support.mask[:, None] > 0, support.x, 0.0)
    sums, counts = weights.T @ x, weights.sum(0)[:, None]
    everything = sums.sum(0) / _at_least_one_row(counts.sum())
    return jnp.where(counts > 0, sums / _at_least_one_row(counts), everything)


def _at_least_one_row(count: Array) -> Array:
    return jnp.where(count > 0, count, 1.0)


def check_classes(kind: str, classes: int, scale: float) -> None:
    """Raise InputError for fewer than two classes or a scale that is not above 0."""
    if classes < 2 or not scale > 0:
        raise InputError(f"{kind} of {classes} classes and scale {scale}: give at least 2 classes, and a scale above 0.")
