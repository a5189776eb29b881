"""Heads whose weights are a learned multiple of the noise, in one of several directions."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from bmaml.distributions import StudentT
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.exact_heads.base import AbstractExactHead, AbstractExactHeadPosterior, normal_entropy
from bmaml.learners.exact_heads.kernels import AbstractKernel, kernel_of


class RelativePrior(eqx.Module):
    """Prior of a `RelativeHead`, on unconstrained scales (leading axis: experts, or 1 if shared).

    - `centres`: c_j.
    - `log_scale`: log of the diagonal of S.
    - `log_noise`: log of the relative noise variance.
    - `log_sigma`: middle of each output's cells of log sigma.
    - `log_share`: unnormalised log mass of the cells.
    - `log_which`: unnormalised log mass of the centres.
    """

    centres: Float[Array, "*experts outputs centres features"]
    log_scale: Float[Array, "*experts features"]
    log_noise: Float[Array, "*experts"]
    log_sigma: Float[Array, "*experts outputs"]
    log_share: Float[Array, "*experts cells"]
    log_which: Float[Array, "*experts centres"]


class RelativePosterior(AbstractExactHeadPosterior):
    """The posterior of one head: weights of every pair of a centre and a cell of sigma, for each output.

    - `prior`, `kernel`: the prior, and the kernel of the support.
    - `pull`, `signals`: what the targets and the functions of the centres at the support add to predictions (`Whitened.pull`).
    - `sigma`: sigma of each cell.
    - `log_weights`: log weights of the pairs.
    """

    prior: RelativePrior
    kernel: AbstractKernel
    pull: Float[Array, "*batch held outputs"]
    signals: Float[Array, "*batch held outputs centres"]
    sigma: Float[Array, "*batch outputs cells"]
    log_weights: Float[Array, "*batch outputs centres cells"]

    @property
    def log_evidence(self):
        return logsumexp(self.log_weights, axis=(-2, -1)).sum(-1)

    @property
    def log_shares(self):
        return jnp.zeros((*self.log_weights.shape[:-3], 1), self.log_weights.dtype)

    def predict(self, features, log_noise):
        """Return one Student-t with the mean and variance of the mixture over centres and cells.

        `features` and `log_noise` are those of the query points. The degrees of freedom are those of the inverse-gamma with the
        posterior's E[sigma^2] and E[1 / sigma^2], but at least 4.
        """
        half, variance = self.kernel.noisy_at(features, jnp.exp(self.prior.log_noise + log_noise))
        # With centre j and sigma the mean is fixed + sigma slope_j.
        fixed = half.T @ self.pull
        slope = jnp.einsum("qf,ojf->qoj", features, self.prior.centres) - jnp.einsum("nq,noj->qoj", half, self.signals)
        weights = jax.nn.softmax(self.log_weights, axis=(-2, -1))
        first, second = (jnp.einsum("ojg,og->oj", weights, self.sigma**power) for power in (1, 2))
        moved = (slope * first[None]).sum(-1)
        square = second.sum(-1)
        residual = jnp.maximum((slope**2 * second[None]).sum(-1) - moved**2, 0.0)
        # E[sigma^2] E[1 / sigma^2] = a / (a - 1). A thousandth above 1 is almost a normal. Above 2 the support says little
        # about sigma. A Student-t with that ratio would have its variance in tails so far out that the middle is too narrow.
        ratio = jnp.clip(square * jnp.einsum("ojg,og->o", weights, self.sigma**-2), 1.001, 2.0)
        width = jnp.sqrt((variance[:, None] * square[None] + residual) / ratio[None])
        return StudentT((2 * ratio / (ratio - 1))[None, None], (fixed + moved)[None], width[None])

    def noise_entropy(self, log_noise):
        noise = jnp.exp(self.prior.log_noise + log_noise) + self.kernel.jitter
        weights = jax.nn.softmax(self.log_weights, axis=(-2, -1))
        return normal_entropy(noise, 2 * jnp.einsum("ojg,og->o", weights, jnp.log(self.sigma)))

    def sample_weights(self, key):
        pick_key, weight_key = jax.random.split(key)
        outputs, _, cells = self.log_weights.shape
        picked = jax.random.categorical(pick_key, self.log_weights.reshape(outputs, -1))
        sigma = jnp.take_along_axis(self.sigma, (picked % cells)[:, None], 1)[:, 0]
        centre = jax.vmap(lambda centres, which: centres[which], out_axes=1)(self.prior.centres, picked // cells)
        return self.kernel.sample_weights(sigma[None] * centre, sigma, self.pull, weight_key)


@register("exact-head/relative")
class RelativeHead(AbstractExactHead):
    """Weights in units of the noise, with sigma on a grid of cells and one of several centres c_j for each output:

        w | sigma, j ~ N(sigma c_j, sigma^2 diag S),   y | w, sigma ~ N(f w, sigma^2 n).

    A Gaussian about 0 says little about the size of the weights. Several centres can say that weights have a certain size in
    units of the noise, in any direction. The weights of a sinusoid with unknown phase and noise relative to its amplitude are
    like this. The size of the targets then reveals the noise, and the residuals of a few points hardly do. Given sigma and j,
    everything is Gaussian with the same kernel, so one factorisation serves all. The integral over sigma is a sum over
    cells, each with a learned mass. The evidence is exact for this prior. The predictive of an expert keeps the mean and
    variance of the mixture.

    - `centres`: number of centres.
    - `cells`: number of cells, evenly spaced in log sigma.
    - `span`: cells cover +-`span` in log sigma about a learned middle.

    Raises: InputError for fewer than one centre or two cells, or a span that is not above 0.
    """

    centres: int = eqx.field(static=True, default=16)
    cells: int = eqx.field(static=True, default=48)
    span: float = eqx.field(static=True, default=3.0)

    def __check_init__(self):
        if self.centres < 1 or self.cells < 2 or not self.span > 0:
            sizes = f"{self.centres} centres and {self.cells} cells over +-{self.span}"
            raise InputError(f"{sizes}: give at least 1, at least 2, and a span above 0.")

    def init(self, key, features, outputs, noise):
        # Different starts, because centres with the same start would stay the same.
        centres = 0.5 * jax.random.normal(key, (outputs, self.centres, features))
        return RelativePrior(
            centres if self.centres > 1 else jnp.zeros_like(centres),
            jnp.zeros(features),
            jnp.log(jnp.asarray(noise)),
            jnp.zeros(outputs),
            jnp.zeros(self.cells),
            jnp.zeros(self.centres),
        )

    def masses(self, prior):
        return prior.log_share, prior.log_which

    def condition(self, prior, features, log_noise, y, mask):
        kernel = kernel_of(features, jnp.exp(prior.log_scale), jnp.exp(prior.log_noise + log_noise), mask)
        white, pull = kernel.whiten(y * mask[:, None])
        functions = jnp.einsum("nf,ojf->noj", kernel.features, prior.centres)
        each = functions.shape[1:]
        whitened = kernel.whiten(functions.reshape(len(y), each[0] * each[1]))
        signals, pulls = (part.reshape(len(part), *each) for part in whitened)
        sigma = jnp.exp(prior.log_sigma[:, None] + jnp.linspace(-self.span, self.span, self.cells)[None])
        log_density = -0.5 * (_misfit(white, signals, sigma) + kernel.log_det) - mask.sum() * jnp.log(sigma)[:, None]
        log_prior = jax.nn.log_softmax(prior.log_which)[:, None] + jax.nn.log_softmax(prior.log_share)[None]
        return RelativePosterior(prior, kernel, pull, pulls, sigma, log_prior[None] + log_density)


def _misfit(
    white: Float[Array, "n outputs"], signals: Float[Array, "n outputs centres"], sigma: Float[Array, "outputs cells"]
) -> Float[Array, "outputs centres cells"]:
    """Return |white / sigma - signal_j|^2 for every cell and centre. The square is expanded, so no array has all axes."""
    own, cross, signal = (white**2).sum(0), jnp.einsum("no,noj->oj", white, signals), (signals**2).sum(0)
    inverse = 1 / sigma[:, None]
    return own[:, None, None] * inverse**2 - 2 * cross[..., None] * inverse + signal[..., None]
