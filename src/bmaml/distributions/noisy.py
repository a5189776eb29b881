"""A number that is known as a normal, measured with noise that is not normal."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special, stats
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractContinuous, check_draw, check_targets
from bmaml.distributions.mixtures import sampled_entropy

# Places of the log variance of a row's noise, in deviations from its mean. The far ones stand for rows that lie far off.
_OF_STUDENT = np.array([*np.arange(-3.0, 6.1, 0.75), 7.5, 9.5, 12.0, 15.0, 19.0, 24.0])
# Places of the log of gamma noise, in deviations from its mean. Its lower tail is the long one.
_OF_GAMMA = np.array([-9.0, -7.7, -6.6, -5.7, -4.9, -4.2, -3.65, *np.arange(-3.2, 3.61, 0.25)])
# Each place of gamma noise is a normal of this width, in distances of places, so that none lies in a gap.
_BLUR = 0.7
_LEAST = 1e-30

Places = tuple[Float[Array, "*batch places"], Float[Array, "*batch places"], Float[Array, "*batch places"]]


class AbstractNoisy(AbstractContinuous):
    """A number known as a normal, with noise of another kind. The noise is cut into places, at each of which all is normal."""

    @abstractmethod
    def places(self) -> Places:
        """Return log shares, means and deviations of the normals, on a last axis."""

    @abstractmethod
    def inwards(self, y: Array) -> tuple[Array, Array]:
        """Return the number of which targets `y` are a function, and the log of its slope in `y`."""

    @abstractmethod
    def outwards(self, inner: Array) -> Array:
        """Return the targets that are this function of numbers `inner`."""

    def log_prob(self, y):
        check_targets(self.mean.shape, y)
        log_share, loc, scale = self.places()
        inner, log_slope = self.inwards(jnp.asarray(y, loc.dtype))
        each = stats.norm.logpdf(*same_rank(inner[..., None], loc, scale))
        density, log_slope = same_rank(special.logsumexp(each + same_rank(log_share, each)[0], axis=-1), log_slope)
        return (density + log_slope).sum(-1)

    def beyond(self, y, upper):
        log_share, loc, scale = self.places()
        inner = self.inwards(jnp.asarray(y, loc.dtype))[0]
        inner, upper, loc, scale, share = same_rank(inner[..., None], upper[..., None], loc, scale, jnp.exp(log_share))
        z = (inner - loc) / scale
        return (share * special.ndtr(jnp.where(upper, -z, z))).sum(-1)

    def bracket(self, tail, upper):
        _, loc, scale = self.places()
        unit = special.ndtri(tail)
        unit, loc, scale = same_rank(jnp.where(upper, -unit, unit)[..., None], loc, scale)
        ends = self.outwards(loc + scale * unit)
        return ends.min(-1), ends.max(-1)

    def sample(self, key, shape=()):
        check_draw(key, shape)
        log_share, loc, scale = self.places()
        pick, draw = jax.random.split(key)
        full = (*shape, *self.mean.shape)
        which = jax.random.categorical(pick, jnp.broadcast_to(log_share, (*full, log_share.shape[-1])))
        wide = (jnp.broadcast_to(part, (*full, log_share.shape[-1])) for part in (loc, scale))
        loc, scale = (jnp.take_along_axis(part, which[..., None], -1)[..., 0] for part in wide)
        return self.outwards(loc + scale * jax.random.normal(draw, full, loc.dtype))

    def entropy(self):
        return sampled_entropy(self)


class NoisyStudentT(AbstractNoisy):
    """Independent outputs: normals with mean `loc` and deviation `scale`, plus Student-t noise.

    The noise has `df` degrees of freedom (above 2) and the scale `noise`. It is a normal whose precision has a gamma
    distribution, so the sum is a mixture of normals, whatever the widths of the two.
    """

    BY_ROWS: ClassVar[bool] = True

    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]
    df: Float[Array, "*#batch #n #outputs"]
    noise: Float[Array, "*#batch #n #outputs"]

    def places(self):
        half, away = same_rank(0.5 * self.df[..., None], jnp.asarray(_OF_STUDENT, self.loc.dtype))
        log_precision = special.digamma(half) - jnp.log(half) - jnp.sqrt(special.polygamma(1, half)) * away
        log_share = _shares(half * (log_precision - jnp.exp(log_precision)), _OF_STUDENT)
        wide = jnp.sqrt(self.scale[..., None] ** 2 + self.noise[..., None] ** 2 * jnp.exp(-log_precision))
        return log_share, self.loc[..., None], wide

    def inwards(self, y):
        return y, jnp.zeros_like(y)

    def outwards(self, inner):
        return inner

    @property
    def mean(self):
        return self.loc

    def widened(self, factor: Float[Array, ""] | float) -> NoisyStudentT:
        """Return the distribution with both widths multiplied by `factor`."""
        return NoisyStudentT(self.loc, factor * self.scale, self.df, factor * self.noise)

    @property
    def variance(self):
        noise = self.noise**2 * self.df / jnp.maximum(self.df - 2, 1e-6)
        return jnp.broadcast_to(self.scale**2 + noise, self.loc.shape)


class NoisyGamma(AbstractNoisy):
    """Independent outputs above 0 with a gamma distribution around a mean, whose logarithm is normal.

    That normal has the mean `loc` and the deviation `scale`. The gamma distribution has the coefficient of variation `scatter`.
    """

    BY_ROWS: ClassVar[bool] = True

    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]
    scatter: Float[Array, "*#batch #n #outputs"]

    def places(self):
        away, gaps = (jnp.asarray(part, self.loc.dtype) for part in (_OF_GAMMA, np.gradient(_OF_GAMMA)))
        shape, away, gaps = same_rank(self.scatter[..., None] ** -2, away, gaps)
        deviation = jnp.sqrt(special.polygamma(1, shape))
        log_noise, blur = special.digamma(shape) - jnp.log(shape) + deviation * away, _BLUR * deviation * gaps
        # A normal at each place blurs the density by half of its variance times the second derivative, which is taken off. In
        # the lower tail, which is exponential, the exponential of this share is exact.
        share = 0.5 * blur**2 * ((shape * jnp.expm1(log_noise)) ** 2 - shape * jnp.exp(log_noise))
        taken = jnp.where(log_noise < 0, -share, jnp.log(jnp.maximum(1 - share, _LEAST)))
        log_share = _shares(shape * (log_noise - jnp.exp(log_noise)) + taken, _OF_GAMMA)
        # The mean of the noise is 1.
        log_noise = log_noise - special.logsumexp(log_share + log_noise + 0.5 * blur**2, axis=-1, keepdims=True)
        return log_share, self.loc[..., None] + log_noise, jnp.sqrt(self.scale[..., None] ** 2 + blur**2)

    def inwards(self, y):
        inner = jnp.where(y > 0, jnp.log(jnp.maximum(y, _LEAST)), -jnp.inf)
        return inner, jnp.where(y > 0, -inner, 0.0)

    def outwards(self, inner):
        return jnp.exp(inner)

    @property
    def mean(self):
        return jnp.exp(self.loc + 0.5 * self.scale**2)

    def widened(self, factor: Float[Array, ""] | float) -> NoisyGamma:
        """Return the distribution with the same mean, and both widths multiplied by `factor`."""
        loc = self.loc + 0.5 * (1 - factor**2) * self.scale**2
        return NoisyGamma(loc, factor * self.scale, factor * self.scatter)

    @property
    def variance(self):
        return self.mean**2 * (jnp.exp(self.scale**2) * (1 + self.scatter**2) - 1)


def _shares(log_density: Float[Array, "*batch places"], away: np.ndarray) -> Float[Array, "*batch places"]:
    """Return the log share of each place by the trapezoid rule. The shares add up to 1.

    - `log_density`: log density of the noise at each place, up to a constant.
    - `away`: how far the places lie from each other.
    """
    log_density, gaps = same_rank(log_density, jnp.asarray(np.log(np.gradient(away)), log_density.dtype))
    weighted = log_density + gaps
    return weighted - special.logsumexp(weighted, axis=-1, keepdims=True)
