"""Particles of feature extractors with exact Bayesian linear heads, weighted by their evidence.

An expert m is a head on features f(x, z_m). The network f is shared, and the code z_m is learned or drawn:

    y | x, w, sigma^2 ~ N(f(x, z_m) w, sigma^2 n(x)),   w, sigma^2 ~ the head's prior.

Head and noise are integrated out. One factorisation of the support's kernel, in the space of its points or of the features
(`exact_heads/kernels.py`), gives the evidence p(D | z_m) and Student-t predictives. The posterior over experts is
softmax(log evidence + log prior weight), and the predictive is the mixture. With one expert and one inverse-gamma this is
meta-learned Bayesian linear regression, as in ALPaCA (Harrison et al., 2018, https://arxiv.org/abs/1807.08912) with an
unknown noise scale.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.distributions import Mixture, check_targets
from bmaml.errors import InputError, PairError
from bmaml.inference.posteriors import AbstractMembersPosterior, AbstractNoisePosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractDrawingLearner, AbstractMixingLearner
from bmaml.learners.codes import draw_codes, spread_codes, thin
from bmaml.learners.exact_heads import AbstractExactHead, AbstractExactHeadPosterior, InverseGammaHead
from bmaml.models.features import AbstractFeatures, check_features

Codes = Literal["learned", "drawn"]
# Bins of the density of drawn codes, along each axis.
_BINS = 32
# The least number of experts that answers keep. After three points fewer are a rough sample.
_LEAST_KEPT = 64


class ConjugateMeta(eqx.Module):
    """Meta-parameters: the feature `network`, and a code, a head prior and a log prior weight for each expert.

    - `codes`: learned codes; without any if codes are drawn (`experts` is 0).
    - `prior`: the head priors.
    - `log_weights`: log prior weights of learned codes. For drawn codes `(code, bins)`: the unnormalised log density of each
      axis of the code, in equal bins.
    """

    network: PyTree[Any]
    codes: Float[Array, "experts code"]
    prior: PyTree[Any]
    log_weights: Float[Array, "*weights"]


class _Experts(NamedTuple):
    codes: Float[Array, "experts code"]
    prior: PyTree[Any]
    log_weights: Float[Array, " experts"]


class ConjugatePosterior(AbstractMembersPosterior, AbstractNoisePosterior):
    """Experts with their exact heads, weighted by prior weight times evidence; the predictive is their mixture.

    - `features`, `network`, `codes`: the network, its parameters, and the code of each expert.
    - `heads`: posterior of each head.
    - `log_weights`: log weights of the experts.
    - `log_evidence`: log evidence of the support under all experts together, in nats, summed over its points.
    """

    features: AbstractFeatures
    network: PyTree[Any]
    codes: Float[Array, "experts code"]
    heads: AbstractExactHeadPosterior
    log_weights: Float[Array, " experts"]
    log_evidence: Float[Array, ""]

    def predict(self, x):
        def expert_predictive(code, head):
            return head.predict(*self.features.apply(self.network, x, code))

        each = jax.vmap(expert_predictive)(self.codes, self.heads)
        components = jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), each)
        return Mixture((self.log_weights[:, None] + self.heads.log_shares).ravel(), components)

    def each(self, score, x):
        def expert_score(code, head):
            return score(Mixture(head.log_shares, head.predict(*self.features.apply(self.network, x, code))))

        return jax.vmap(expert_score)(self.codes, self.heads)

    def noise_entropy(self, x):
        def expert_entropy(code, head):
            return head.noise_entropy(self.features.apply(self.network, x, code)[1])

        return jnp.tensordot(jax.nn.softmax(self.log_weights), jax.vmap(expert_entropy)(self.codes, self.heads), 1)

    def sample_functions(self, x, *, key, count=1):
        expert_key, weight_key = jax.random.split(key)

        # Once for each expert, not for each draw: the hidden layers of a draw would take most of the memory.
        features = jax.vmap(lambda code: self.features.apply(self.network, x, code)[0])(self.codes)

        def expert_function(expert, key):
            head = jax.tree.map(lambda leaf: leaf[expert], self.heads)
            return features[expert] @ head.sample_weights(key)

        experts = jax.random.categorical(expert_key, self.log_weights, shape=(count,))
        return jax.vmap(expert_function)(experts, jax.random.split(weight_key, count))


@register("learner/conjugate")
class ConjugateLearner(AbstractMixingLearner, AbstractDrawingLearner):
    """Exact Bayesian linear heads on meta-learned feature extractors, one extractor for each code.

    Drawn codes are a latent variable in a cube, with a learned density (independent axes, constant in each of 32 bins). The
    experts are points of a lattice that follows the density, with a new shift at each adaptation. So the network learns a
    continuum, experts stand only where tasks are, and a trained learner may have more of them than in training
    (`with_particles(256)`), which integrates the latent variable more finely.

    - `features`: the network below the heads, such as `MLPFeatures(1, hidden=(16, 16))` for inputs of one column.
    - `outputs`: width of a target row.
    - `particles`: number of experts.
    - `noise`: start of the relative noise variance.
    - `own_prior`: whether each expert has its own head prior. That is more to learn, and it helps if experts stand for kinds of
      task.
    - `learn_weights`: whether prior weights, or the density of codes, are learned. Learned weights of learned codes reinforce
      themselves, and in long runs half of the experts end without weight.
    - `codes`: `"learned"` gives each expert its own code, a kind of task. `"drawn"` draws codes from a learned density.
    - `head`: the prior of the heads.
    - `kept`: share of the experts that stay once the support has been seen. The heavy ones always stay, and a few others stand
      for the rest, so the predictive is unbiased (`thin`). After ten points a few experts hold nearly all the weight, and
      gradients and predictions of the others would be wasted work.

    Raises: InputError for fewer than one particle, a share outside (0, 1], or own priors of drawn codes.
    """

    features: AbstractFeatures
    outputs: int = eqx.field(static=True, default=1)
    particles: int = eqx.field(static=True, default=32)
    noise: float = eqx.field(static=True, default=1e-2)
    own_prior: bool = eqx.field(static=True, default=False)
    learn_weights: bool = eqx.field(static=True, default=True)
    codes: Codes = eqx.field(static=True, default="learned")
    head: AbstractExactHead = InverseGammaHead()
    kept: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_features(self.features, "ConjugateLearner")
        if self.particles < 1 or not 0 < self.kept <= 1:
            counts = f"{self.particles} particles, of which the share {self.kept} is kept"
            raise InputError(f"{counts}: give at least 1, and a share above 0 of at most 1.")
        if self.outputs < 1 or not self.noise > 0:
            raise InputError(f"{self.outputs} outputs and a noise of {self.noise}: give at least 1, and a number above 0.")
        if self.codes not in ("learned", "drawn"):
            raise InputError(f"unknown codes {self.codes!r}: use 'learned' or 'drawn'.")
        if self.codes == "drawn" and self.own_prior:
            raise InputError(
                "drawn codes need own_prior=False because no expert lasts from one adaptation to the next; use codes='learned'."
            )

    def init(self, key: PRNGKeyArray) -> ConjugateMeta:
        network_key, code_key = jax.random.split(key)
        head_prior = self.head.init(jax.random.fold_in(key, 2), self.features.count, self.outputs, self.noise)
        experts = self.particles if self.own_prior else 1
        prior = jax.tree.map(lambda leaf: jnp.tile(leaf, (experts, *[1] * leaf.ndim)), head_prior)
        drawn, size = self.codes == "drawn", self.features.code_size
        codes = spread_codes(code_key, 0 if drawn else self.particles, size)
        log_weights = jnp.zeros((size, _BINS) if drawn else self.particles)
        return ConjugateMeta(self.features.init(network_key), codes, prior, log_weights)

    def adapt(self, meta: ConjugateMeta, support: Data, *, key: PRNGKeyArray | None = None) -> ConjugatePosterior:
        return self.weigh(meta, support, key=key)[0]

    def weigh(
        self, meta: ConjugateMeta, data: Data, *, key: PRNGKeyArray | None = None
    ) -> tuple[ConjugatePosterior, Float[Array, ""]]:
        check_targets((*data.mask.shape, self.outputs), data.y)
        key = jax.random.key(0) if key is None else key
        experts = self._experts(meta, key)
        log_total = logsumexp(experts.log_weights)
        if self.kept_particles == self.particles:
            heads, log_weights = self._weighed(meta.network, experts, data)
        else:
            fixed = jax.lax.stop_gradient((meta.network, experts))
            _, every = self._weighed(*fixed, data)
            chosen, log_shares = thin(jax.random.fold_in(key, 1), every, self.kept_particles)
            experts = jax.tree.map(lambda leaf: leaf[chosen], experts)
            heads, own = self._weighed(meta.network, experts, data)
            # The value is the weight that an expert stands for, and the gradient is that of the expert's own weight.
            log_weights = log_shares + own - jax.lax.stop_gradient(own)
        log_evidence = logsumexp(log_weights) - log_total
        posterior = ConjugatePosterior(self.features, meta.network, experts.codes, heads, log_weights, log_evidence)
        return posterior, log_evidence

    def masses(self, meta):
        # Learned codes are kinds of task. Their weights reinforce themselves, so they are left to the meta-steps.
        return (meta.log_weights, *self.head.masses(meta.prior)) if self.codes == "drawn" else ()

    def with_particles(self, particles: int) -> ConjugateLearner:
        if self.codes == "learned":
            raise PairError("drawing needs experts that adaptation draws and learned codes are as many as there are.")
        return dataclasses.replace(self, particles=particles, kept=max(min(1.0, _LEAST_KEPT / particles), self.kept))

    @property
    def kept_particles(self) -> int:
        """Number of experts that stay after the support has been seen."""
        return max(1, round(self.kept * self.particles))

    def _experts(self, meta: ConjugateMeta, key: PRNGKeyArray) -> _Experts:
        """Return all experts as they are before the support is seen."""
        prior = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.particles, *leaf.shape[1:])), meta.prior)
        weights = meta.log_weights if self.learn_weights else jax.lax.stop_gradient(meta.log_weights)
        if self.codes == "learned":
            return _Experts(meta.codes, prior, weights)
        codes, weights = draw_codes(key, weights, self.particles)
        return _Experts(codes, prior, weights)

    def _weighed(self, network: PyTree[Any], experts: _Experts, support: Data) -> tuple[AbstractExactHeadPosterior, Array]:
        """Return the experts' heads after the support, and their log weights with its evidence."""

        def expert_head(code, prior):
            features, log_noise = self.features.apply(network, support.x, code)
            return self.head.condition(prior, features, log_noise, support.y, support.mask)

        heads = jax.vmap(expert_head)(experts.codes, experts.prior)
        return heads, experts.log_weights + heads.log_evidence
