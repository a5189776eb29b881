"""Normal-inverse-gamma heads. They are conjugate, so everything is integrated out in closed form."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln, logsumexp
from jaxtyping import Array, Float

from bmaml.distributions import StudentT
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.exact_heads.base import AbstractExactHead, AbstractExactHeadPosterior, normal_entropy
from bmaml.learners.exact_heads.kernels import AbstractKernel, kernel_of


class InverseGammaPrior(eqx.Module):
    """Prior of an `InverseGammaHead`, on unconstrained scales (leading axis: experts, or 1 if shared).

    - `mean`: prior mean of the weights.
    - `log_scale`: log of the diagonal of S.
    - `log_noise`: log of the relative noise variance.
    - `raw_a`, `log_b`: shape and rate of each inverse-gamma.
    - `log_share`: unnormalised log weight of each inverse-gamma.
    """

    mean: Float[Array, "*experts features outputs"]
    log_scale: Float[Array, "*experts features"]
    log_noise: Float[Array, "*experts"]
    raw_a: Float[Array, "*experts scales"]
    log_b: Float[Array, "*experts scales outputs"]
    log_share: Float[Array, "*experts scales"]

    @property
    def a(self) -> Float[Array, "*experts scales"]:
        """Shape of the inverse-gamma. It is above 1, so the predictive has a mean (degrees of freedom above 2)."""
        return 1.0 + jax.nn.softplus(self.raw_a)


class InverseGammaPosterior(AbstractExactHeadPosterior):
    """The exact posterior of one head.

    - `prior`, `kernel`: the prior, and the kernel of the support.
    - `pull`: what the residuals of the prior mean add to predictions (`Whitened.pull`).
    - `a`, `b`: shape and rate of each inverse-gamma.
    - `log_weights`: log weights of the inverse-gammas.
    """

    prior: InverseGammaPrior
    kernel: AbstractKernel
    pull: Float[Array, "*batch held outputs"]
    a: Float[Array, "*batch scales"]
    b: Float[Array, "*batch scales outputs"]
    log_weights: Float[Array, "*batch scales"]

    @property
    def log_evidence(self):
        return logsumexp(self.log_weights, axis=-1)

    @property
    def log_shares(self):
        return jax.nn.log_softmax(self.log_weights)

    def predict(self, features, log_noise):
        """Return a Student-t for each scale at `features`, with relative noise of log variance `log_noise`."""
        half, variance = self.kernel.noisy_at(features, jnp.exp(self.prior.log_noise + log_noise))
        mean = features @ self.prior.mean + half.T @ self.pull
        scale = jnp.sqrt(variance[None, :, None] * (self.b / self.a[:, None])[:, None])
        return StudentT(jnp.reshape(2 * self.a, (-1, 1, 1)), jnp.broadcast_to(mean, scale.shape), scale)

    def noise_entropy(self, log_noise):
        noise = jnp.exp(self.prior.log_noise + log_noise) + self.kernel.jitter
        # E[log sigma^2] of an inverse-gamma.
        each = jnp.log(self.b) - digamma(self.a)[:, None]
        return normal_entropy(noise, jnp.tensordot(jnp.exp(self.log_shares), each, 1))

    def sample_weights(self, key):
        pick_key, scale_key, weight_key = jax.random.split(key, 3)
        picked = jax.random.categorical(pick_key, self.log_weights)
        a, b = self.a[picked], self.b[picked]
        sigma = jnp.sqrt(b / jax.random.gamma(scale_key, a, b.shape))
        # The residual's weights have mean 0.
        zero_mean = jnp.zeros_like(self.prior.mean)
        return self.prior.mean + self.kernel.sample_weights(zero_mean, sigma, self.pull, weight_key)


@register("exact-head/inverse-gamma")
class InverseGammaHead(AbstractExactHead):
    """sigma^2 ~ sum_s p_s Inverse-Gamma(a_s, b_s), w | sigma^2 ~ N(m0, sigma^2 diag S), with `scales` inverse-gammas.

    A mixture of inverse-gammas is conjugate, as each of them is (Diaconis and Ylvisaker, 1985). The components share one
    factorisation, so they cost little. Evidence and predictive (a Student-t for each scale) are exact.
    Raises: InputError for fewer than one scale.
    """

    scales: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.scales < 1:
            raise InputError(f"scales is {self.scales}: give at least 1.")

    def init(self, key, features, outputs, noise):
        # A factor of e^2 in variance lies between components, because components with the same start would stay the same.
        apart = 2.0 * (jnp.arange(self.scales, dtype=float) - (self.scales - 1) / 2)
        return InverseGammaPrior(
            mean=jnp.zeros((features, outputs)),
            log_scale=jnp.zeros(features),
            log_noise=jnp.log(jnp.asarray(noise)),
            raw_a=jnp.zeros(self.scales),
            log_b=jnp.tile(apart[:, None], (1, outputs)),
            log_share=jnp.zeros(self.scales),
        )

    def masses(self, prior):
        return (prior.log_share,)

    def condition(self, prior, features, log_noise, y, mask):
        kernel = kernel_of(features, jnp.exp(prior.log_scale), jnp.exp(prior.log_noise + log_noise), mask)
        white, pull = kernel.whiten((y - kernel.features @ prior.mean) * mask[:, None])
        a, b = prior.a + 0.5 * mask.sum(), jnp.exp(prior.log_b) + 0.5 * (white**2).sum(0)[None]
        each = prior.a[:, None] * prior.log_b - a[:, None] * jnp.log(b) + (gammaln(a) - gammaln(prior.a))[:, None]
        evidence = (each - 0.5 * kernel.log_det).sum(-1)
        return InverseGammaPosterior(prior, kernel, pull, a, b, jax.nn.log_softmax(prior.log_share) + evidence)
