"""Adaptation by exact ridge regression to the classes: closed-form Bayesian heads for few-shot classification.

A head m gives each class k a linear function of the features, with a constant as one more feature,

    w_k ~ N(0, diag S_m),   t_k = f(x) w_k + noise of variance v_m,   t_k = [y = k] - 1 / classes.

The posterior given the support is Gaussian, with mean h_k(x) and variance u(x), which is the same for all classes. All of
this takes one factorisation of the support's kernel (`exact_heads/kernels.py`). The class is then

    p(y = k | x) = softmax over k of a_m h_k(x) / sqrt(1 + pi/8 a_m^2 u(x)),

the approximate mean of a softmax of Gaussians (MacKay, 1992, https://doi.org/10.1162/neco.1992.4.5.720). Where the support
says little about x, classes are alike. Without the square root this is R2-D2 (Bertinetto et al., 2019,
https://arxiv.org/abs/1805.08136). S_m, v_m and a_m are meta-parameters.
"""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Categorical, CategoricalMixture
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractMembersPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractClassLearner, AbstractEvidenceLearner, AbstractLimitedLearner, Need
from bmaml.learners.exact_heads.kernels import AbstractKernel, kernel_of
from bmaml.learners.prototypes import check_classes


class RidgeMeta(eqx.Module):
    """Meta-parameters of heads (on a leading axis), as logs.

    - `log_variance`: prior variances S of the weights.
    - `log_noise`: noise variance v.
    - `log_scale`: scale a of the logits.
    """

    log_variance: Float[Array, "*heads features"]
    log_noise: Float[Array, "*heads"]
    log_scale: Float[Array, "*heads"]


class RidgeHead(eqx.Module):
    """The exact posterior of a head; rows contain the constant feature.

    - `kernel`: kernel of the support.
    - `pull`: what the targets add to predictions (`Whitened.pull`).
    - `log_evidence`: log density of the support's targets, in nats, summed over points and classes.
    - `log_scale`: log scale of the logits.
    - `uncertainty`: whether the variance flattens the odds.
    """

    kernel: AbstractKernel
    pull: Float[Array, "*heads held classes"]
    log_evidence: Float[Array, "*heads"]
    log_scale: Float[Array, "*heads"]
    uncertainty: bool = eqx.field(static=True)

    def logits(self, features: Float[Array, "n features"]) -> Float[Array, "n classes"]:
        """Return the unnormalised log-probabilities of the classes at `features`."""
        half, variance = self.kernel.at(features)
        scale = jnp.exp(self.log_scale)
        if not self.uncertainty:
            return scale * half.T @ self.pull
        return (scale / jnp.sqrt(1 + jnp.pi / 8 * scale**2 * variance))[:, None] * (half.T @ self.pull)

    def draw(self, key: PRNGKeyArray, features: Float[Array, "n features"]) -> Float[Array, "n classes"]:
        """Return the logits at `features` of weights drawn from the posterior."""
        classes = self.pull.shape[1]
        mean, sigma = jnp.zeros((features.shape[1], classes), features.dtype), jnp.ones(classes, features.dtype)
        return jnp.exp(self.log_scale) * features @ self.kernel.sample_weights(mean, sigma, self.pull, key)


def fit_head(meta: RidgeMeta, support: Data, classes: int, uncertainty: bool) -> RidgeHead:
    """Return the exact posterior of one head for `classes` classes; `uncertainty` is whether its variance flattens the odds."""
    rows = _with_constant(support.x)
    targets = (jax.nn.one_hot(support.y, classes, dtype=rows.dtype) - 1 / classes) * support.mask[:, None]
    kernel = kernel_of(rows, jnp.exp(meta.log_variance), jnp.exp(meta.log_noise), support.mask)
    white, pull = kernel.whiten(targets)
    log_evidence = -0.5 * ((white**2).sum() + classes * kernel.log_det)
    return RidgeHead(kernel, pull, log_evidence, meta.log_scale, uncertainty)


def _with_constant(x: Float[Array, "n features"]) -> Float[Array, "n features+1"]:
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)


class RidgePosterior(AbstractMembersPosterior):
    """Exact `heads`, stacked. Each is weighted by the evidence of the support (`log_weights`), and the predictive is
    their mixture.
    """

    heads: RidgeHead
    log_weights: Float[Array, " heads"]

    def predict(self, x):
        features = _with_constant(x)
        return CategoricalMixture(self.log_weights, Categorical(jax.vmap(lambda h: h.logits(features))(self.heads)))

    def each(self, score, x):
        features = _with_constant(x)
        return jax.vmap(lambda head: score(Categorical(head.logits(features))))(self.heads)

    def sample_functions(self, x, *, key, count=1):
        pick_key, draw_key = jax.random.split(key)
        features = _with_constant(x)

        def draw_function(picked: Array, key: PRNGKeyArray) -> Array:
            head = jax.tree.map(lambda leaf: leaf[picked], self.heads)
            return jax.nn.softmax(head.draw(key, features))

        picked = jax.random.categorical(pick_key, self.log_weights, shape=(count,))
        return jax.vmap(draw_function)(picked, jax.random.split(draw_key, count))


@register("learner/ridge")
class RidgeLearner(AbstractEvidenceLearner, AbstractClassLearner, AbstractLimitedLearner):
    """Exact ridge heads on features; see the module's docstring.

    A class without a support row is regressed to "not this one" if there are other rows. For an empty support all classes are
    alike. Both answers are finite. With a mask entry between 0 and 1 a row counts by its square, in features and target alike.

    - `features`: number of features.
    - `classes`: number of classes.
    - `particles`: number of heads.
    - `noise`: start of the noise variance.
    - `scale`: start of the logits' scale.
    - `uncertainty`: whether the posterior variance flattens the odds. False is R2-D2.

    Prior variances start at 1 / features; with several particles also times log-normal factors, so that heads differ.
    Raises: InputError for fewer than two classes, one feature or one particle, or a noise or scale that is not above 0.
    """

    features: int = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    particles: int = eqx.field(static=True, default=1)
    noise: float = eqx.field(static=True, default=0.1)
    scale: float = eqx.field(static=True, default=10.0)
    uncertainty: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_classes("RidgeLearner", self.classes, self.scale)
        if self.features < 1 or self.particles < 1 or not self.noise > 0:
            raise InputError(
                f"RidgeLearner of {self.features} features, {self.particles} particles and noise {self.noise}: give at least "
                "1 of each, and a noise above 0."
            )

    def init(self, key: PRNGKeyArray) -> RidgeMeta:
        shape = (self.particles, self.features + 1)
        apart = jax.random.normal(key, shape) if self.particles > 1 else jnp.zeros(shape)
        log_noise, log_scale = (jnp.full(self.particles, math.log(value)) for value in (self.noise, self.scale))
        return RidgeMeta(apart - math.log(self.features), log_noise, log_scale)

    def adapt(self, meta: RidgeMeta, support: Data, *, key: PRNGKeyArray | None = None) -> RidgePosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(self, meta: RidgeMeta, data: Data, *, key: PRNGKeyArray | None = None) -> tuple[RidgePosterior, Float[Array, ""]]:
        """Return the posterior given `data`, and the log evidence of the regression to the classes (not of the classes
        themselves).
        """
        heads = jax.vmap(lambda head_meta: fit_head(head_meta, data, self.classes, self.uncertainty))(meta)
        return RidgePosterior(heads, heads.log_evidence), logsumexp(heads.log_evidence) - math.log(self.particles)

    def with_classes(self, classes: int) -> RidgeLearner:
        return dataclasses.replace(self, classes=classes)

    def limit(self, need: Need) -> str | None:
        return {
            "numbers": "classes have no distance",
            "joint": "a ridge head knows that of its regression targets and not of the classes",
        }.get(need)
