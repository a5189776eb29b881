"""Particles of feature extractors with exact Bayesian linear heads, weighted by their evidence.

An expert m is a head on features f(x, z_m), where the network f is shared and the code z_m is learned or drawn:

    y | x, w, sigma^2 ~ N(f(x, z_m) w, sigma^2 n(x)),   w, sigma^2 ~ the head's prior.

Head and noise are integrated out in the space of the support: one Cholesky of its (points x points) kernel gives the
evidence p(D | z_m) and Student-t predictives. The posterior over experts is softmax(log evidence + log prior weight), and
the predictive is the mixture. With one expert and one inverse-gamma this is meta-learned Bayesian linear regression (as in
ALPaCA, Harrison et al., 2018, with an unknown noise scale).
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.distributions import Mixture
from bmaml.learners.base import AbstractLearner
from bmaml.learners.heads import AbstractHead, AbstractHeadPosterior, InverseGammaHead
from bmaml.models.features import AbstractFeatures
from bmaml.posteriors import AbstractPosterior

Codes = Literal["learned", "drawn"]
# Bins of a drawn code's density, along each of its axes.
_BINS = 32
# Half the width of the cube of codes: unit variance.
_WIDTH = 3.0**0.5


class ConjugateMeta(eqx.Module):
    """Meta-parameters: the feature network, a code, a head prior and a log prior weight for each expert.

    Where codes are drawn and not learned there are none of them (`experts` is 0), and `log_weights` is `(code, bins)`: the
    unnormalised log density of each of the code's axes, in equal bins.
    """

    network: PyTree[Any]
    codes: Float[Array, "experts code"]
    prior: PyTree[Any]
    log_weights: Float[Array, ...]


class ConjugatePosterior(AbstractPosterior):
    """Experts with their exact heads, weighted by prior weight times evidence; the predictive is their mixture.

    `log_evidence` is that of the support under the experts together, in nats, summed over its points.
    """

    features: AbstractFeatures
    network: PyTree[Any]
    codes: Float[Array, "experts code"]
    heads: AbstractHeadPosterior
    log_weights: Float[Array, " experts"]
    log_evidence: Float[Array, ""]

    def predict(self, x):
        def one(code, head):
            return head.predict(*self.features.apply(self.network, x, code))

        components = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.vmap(one)(self.codes, self.heads))
        return Mixture((self.log_weights[:, None] + self.heads.log_shares).ravel(), components)

    def functions(self, x, *, key, count=1):
        expert_key, weight_key = jax.random.split(key)

        # Once an expert, not once a draw: a draw's hidden layers would be the most of its memory.
        features = jax.vmap(lambda code: self.features.apply(self.network, x, code)[0])(self.codes)

        def one(expert, key):
            head = jax.tree.map(lambda leaf: leaf[expert], self.heads)
            return features[expert] @ head.sample_weights(key)

        experts = jax.random.categorical(expert_key, self.log_weights, shape=(count,))
        return jax.vmap(one)(experts, jax.random.split(weight_key, count))


class ConjugateLearner(AbstractLearner):
    """Exact Bayesian linear heads on `particles` meta-learned feature extractors, one for each code.

    With `codes="learned"` each expert has its own code, a kind of task. With `codes="drawn"` the code is a latent variable
    in a cube, its density learned (independent axes, constant in each of 32 bins), and experts are points of a lattice that
    follows the density, shifted anew at each adaptation. So the network learns a continuum, experts stand only where tasks
    are, and a trained learner may be given more of them than it was trained with (`dataclasses.replace(learner,
    particles=256)`), which integrates the latent more finely.

    One head prior serves all experts, or with `own_prior=True` each has its own (more to learn, and more to say where
    experts stand for kinds of task). `head` says what that prior is made of, `noise` where the relative noise variance
    starts. With `learn_weights=False` all experts, or all codes, are equally likely before the support is seen: the
    learned weights of learned codes feed back on themselves, and in long runs half of the experts die out of a family that
    needs them all.
    Raises: ValueError for fewer than one particle, or own priors of codes that are drawn.
    """

    features: AbstractFeatures
    outputs: int = eqx.field(static=True, default=1)
    particles: int = eqx.field(static=True, default=32)
    noise: float = eqx.field(static=True, default=1e-2)
    own_prior: bool = eqx.field(static=True, default=False)
    learn_weights: bool = eqx.field(static=True, default=True)
    codes: Codes = eqx.field(static=True, default="learned")
    head: AbstractHead = InverseGammaHead()

    def __check_init__(self):
        if self.particles < 1:
            raise ValueError(f"particles is {self.particles}: give at least 1.")
        if self.codes not in ("learned", "drawn"):
            raise ValueError(f"unknown codes {self.codes!r}: use 'learned' or 'drawn'.")
        if self.codes == "drawn" and self.own_prior:
            raise ValueError(
                "drawn codes need own_prior=False because no expert lasts from one adaptation to the next; use codes='learned'."
            )

    def init(self, key: PRNGKeyArray) -> ConjugateMeta:
        network_key, code_key = jax.random.split(key)
        one = self.head.init(jax.random.fold_in(key, 2), self.features.count, self.outputs, self.noise)
        experts = self.particles if self.own_prior else 1
        prior = jax.tree.map(lambda leaf: jnp.tile(leaf, (experts, *[1] * leaf.ndim)), one)
        drawn, size = self.codes == "drawn", self.features.code_size
        codes = spread_codes(code_key, 0 if drawn else self.particles, size)
        log_weights = jnp.zeros((size, _BINS) if drawn else self.particles)
        return ConjugateMeta(self.features.init(network_key), codes, prior, log_weights)

    def adapt(self, meta: ConjugateMeta, support: Data, *, key: PRNGKeyArray | None = None) -> ConjugatePosterior:
        codes, log_prior = self._experts(meta, jax.random.key(0) if key is None else key)

        def one(code, prior):
            features, log_noise = self.features.apply(meta.network, support.x, code)
            return self.head.condition(prior, features, log_noise, support.y, support.mask)

        prior = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.particles, *leaf.shape[1:])), meta.prior)
        heads = jax.vmap(one)(codes, prior)
        log_weights = log_prior + heads.log_evidence
        log_evidence = logsumexp(log_weights) - logsumexp(log_prior)
        return ConjugatePosterior(self.features, meta.network, codes, heads, log_weights, log_evidence)

    def _experts(self, meta: ConjugateMeta, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Return the experts' codes and their log prior weights."""
        weights = meta.log_weights if self.learn_weights else jax.lax.stop_gradient(meta.log_weights)
        if self.codes == "learned":
            return meta.codes, weights
        return draw_codes(key, weights, self.particles)


def draw_codes(
    key: PRNGKeyArray, log_density: Float[Array, "size bins"], count: int
) -> tuple[Float[Array, "count size"], Float[Array, " count"]]:
    """Return codes that follow a density evenly, and log weights that are 0 but carry the gradient of the density.

    The lattice goes through each axis's inverse distribution function, so that equal weights integrate over the density. Places
    are constants to the gradient: a bin gains mass where its codes explain tasks better than others do.
    """
    size, bins = log_density.shape
    log_mass = jax.nn.log_softmax(log_density, 1)
    mass = jax.lax.stop_gradient(jnp.exp(log_mass))
    end = jnp.cumsum(mass, 1)
    unit = _lattice(key, count, size).astype(mass.dtype)

    def along(unit, log_mass, mass, end):
        # Rounding may leave the last end below 1: no point lies past the last bin.
        bin = jnp.minimum(jnp.searchsorted(end, unit), bins - 1)
        place = (bin + 1 - (end[bin] - unit) / mass[bin]) / bins
        return jnp.clip(place, 0.0, 1.0), log_mass[bin] - jax.lax.stop_gradient(log_mass[bin])

    place, log_weight = jax.vmap(along, (1, 0, 0, 0), 1)(unit, log_mass, mass, end)
    return _WIDTH * (2 * place - 1), log_weight.sum(1)


def spread_codes(key: PRNGKeyArray, count: int, size: int) -> Float[Array, "count size"]:
    """Return codes that cover the cube [-sqrt 3, sqrt 3]^size evenly (unit variance), with a random shift.

    Independent draws leave gaps and clumps; experts of a clump learn the same and most of them die out.
    """
    return _WIDTH * (2 * _lattice(key, count, size) - 1)


def _lattice(key: PRNGKeyArray, count: int, size: int) -> Float[Array, "count size"]:
    """Return points spread evenly over the unit cube, with a random shift.

    Points of an additive recurrence in powers of the generalised golden ratio, the root of g^(size+1) = g + 1 (Roberts, 2018).
    """
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / (size + 1))
    stride = jnp.asarray([golden ** -(i + 1) for i in range(size)])
    return (jax.random.uniform(key, (size,)) + jnp.arange(count)[:, None] * stride) % 1.0
