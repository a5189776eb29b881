"""Independent Student-ts."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.data import same_rank
from bmaml.distributions.base import AbstractContinuous, check_draw, check_targets

# Half of the degrees of freedom above which a series of five terms is exact to 1e-13.
_MANY = 10.0
# Degrees of freedom above which Hill's expansion is exact to 1e-7 in the tail of 1e-37; the beta function loses digits there.
_NEARLY_NORMAL = 120.0
# In scales. Farther out, the CDF in its usual form keeps the digits of a small probability; nearer, the central form is exact.
_FAR = 3.0
# In scales times the root of the degrees of freedom. Farther out, the density is a power of the distance to single precision.
_POWER = 1e4


def student_constant(df: Array) -> Array:
    """Return log Gamma((df + 1) / 2) - log Gamma(df / 2) - log(pi df) / 2, the log density at the centre for a scale of 1.

    For many degrees of freedom the function uses a series of the difference. The direct difference would lose three digits in
    single precision.
    """
    few, many = jnp.minimum(0.5 * df, _MANY), jnp.maximum(0.5 * df, _MANY)
    exact = special.gammaln(few + 0.5) - special.gammaln(few) - 0.5 * jnp.log(2 * jnp.pi * few)
    inverse, terms = 1 / many, (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432)
    series = inverse * jnp.polyval(jnp.asarray(terms[::-1], inverse.dtype), inverse**2) - 0.5 * math.log(2 * math.pi)
    return jnp.where(0.5 * df < _MANY, exact, series)


def _log_power(df: Array) -> Array:
    """Return log k of the power law k t^-df that the probability above t approaches from below, for a scale of 1."""
    return student_constant(df) + 0.5 * (df - 1) * jnp.log(df)


def _as_normal(t: Array, df: Array) -> Array:
    """Return the value that a standard normal exceeds as often as a Student-t exceeds `t`, for many degrees of freedom `df`.

    Hill (1970), algorithm 395, https://doi.org/10.1145/355598.355599.
    """
    df = jnp.maximum(df, _NEARLY_NORMAL)
    a = df - 0.5
    b = 48 * a**2
    z = jnp.minimum(jnp.sqrt(a * jnp.log1p(t**2 / df)), 100.0)
    first = (z**3 + 3 * z) / b
    return z + first - (4 * z**7 + 33 * z**5 + 240 * z**3 + 855 * z) / (10 * b * (b + 0.8 * z**4 + 100))


class StudentT(AbstractContinuous):
    """Independent Student-t outputs with `df` degrees of freedom (at least 1), location `loc` and `scale`."""

    BY_ROWS: ClassVar[bool] = True

    df: Float[Array, "*#batch #n #outputs"]
    loc: Float[Array, "*batch n outputs"]
    scale: Float[Array, "*#batch #n #outputs"]

    def log_prob(self, y):
        check_targets(self.loc.shape, y)
        y, df, loc, scale = same_rank(y, self.df, self.loc, self.scale)
        constant = student_constant(df) - jnp.log(scale)
        return (constant - 0.5 * (df + 1) * jnp.log1p(((y - loc) / scale) ** 2 / df)).sum(-1)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        ratio = jnp.where(self.df > 2, self.df / jnp.maximum(self.df - 2, 1e-6), jnp.inf)
        return jnp.broadcast_to(ratio * self.scale**2, self.loc.shape)

    def beyond(self, y, upper):
        y, loc, scale, upper = same_rank(y, self.loc, self.scale, upper)
        away = (y - loc) / scale
        t = jnp.where(upper, away, -away)
        df = jnp.broadcast_to(self.df, t.shape)
        # The tail form I(df / (df + t^2); df/2, 1/2) loses digits near 0, and the central form I(t^2 / (df + t^2); 1/2, df/2)
        # in the tails.
        half, far = 0.5 * df, jnp.abs(t) > _FAR
        a, b = jnp.where(far, half, 0.5), jnp.where(far, 0.5, half)
        share = 0.5 * special.betainc(a, b, jnp.clip(jnp.where(far, df, t**2) / (df + t**2), 0.0, 1.0))
        tail = jnp.where(far, share, 0.5 - share)
        tail = jnp.where(df > _NEARLY_NORMAL, special.ndtr(-_as_normal(jnp.abs(t), df)), tail)
        power = jnp.exp(_log_power(df) - df * jnp.log(jnp.maximum(jnp.abs(t), 1.0)))
        tail = jnp.where(jnp.abs(t) > _POWER * jnp.sqrt(df), power, tail)
        return jnp.where(t > 0, tail, 1 - tail)

    def bracket(self, tail, upper):
        # The density is below that of a power law, and for df >= 1 the tails are at most as heavy as those of the Cauchy
        # distribution. Both have closed quantiles.
        df, loc, scale, tail, upper = same_rank(self.df, self.loc, self.scale, tail, upper)
        power = jnp.exp((_log_power(df) - jnp.log(tail)) / df)
        reach = scale * jnp.minimum(power, jnp.abs(1 / jnp.tan(jnp.pi * tail))) * 1.001
        return jnp.where(upper, loc, loc - reach), jnp.where(upper, loc + reach, loc)

    def sample(self, key, shape=()):
        check_draw(key, shape)
        shape = (*shape, *self.loc.shape)
        drawn = jax.random.t(key, jnp.broadcast_to(self.df, shape), shape, self.loc.dtype)
        loc, scale, unit = same_rank(self.loc, self.scale, drawn)
        return loc + scale * unit

    def entropy(self):
        a = 0.5 * (self.df + 1)
        bulk = a * (special.digamma(a) - special.digamma(0.5 * self.df))
        each = bulk + 0.5 * jnp.log(self.df) + special.betaln(0.5 * self.df, 0.5) + jnp.log(self.scale)
        return jnp.broadcast_to(each, self.loc.shape).sum(-1)
