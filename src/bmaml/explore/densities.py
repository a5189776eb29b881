"""Densities over two numbers, on which inferences can be watched: a new one is one row of `DENSITIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from bmaml.experiments.banana import log_banana

# Centres of a drawn density, at most, and the deviation of the normal at each.
MOST_CENTRES = 64
KERNEL = 0.5
_CENTRES = ((-2.0, -1.5), (2.0, -1.0), (0.0, 2.2))
_SHARES, _DEVIATIONS = (0.3, 0.5, 0.2), (0.6, 0.8, 0.5)
_FUNNEL = 1.5


class Drawing(eqx.Module):
    """What a user drew: `centres` of normals, of which `mask` says which are real."""

    centres: Float[Array, "most 2"]
    mask: Float[Array, " most"]


def drawing(centres: list[tuple[float, float]]) -> Drawing:
    """Return the drawing of some `centres`, padded to the most there can be."""
    found = np.zeros((MOST_CENTRES, 2), np.float32)
    found[: len(centres)] = np.reshape(np.array(centres, np.float32), (-1, 2))
    mask = (np.arange(MOST_CENTRES) < len(centres)).astype(np.float32)
    return Drawing(jnp.asarray(found), jnp.asarray(mask))


def log_mixture(x: Float[Array, " 2"]) -> Float[Array, ""]:
    """Log density at `x` of a mixture of three round normals, in nats."""
    parts = [
        norm.logpdf(x, jnp.asarray(centre, x.dtype), deviation).sum() + jnp.log(jnp.asarray(share, x.dtype))
        for centre, deviation, share in zip(_CENTRES, _DEVIATIONS, _SHARES, strict=True)
    ]
    return logsumexp(jnp.stack(parts))


def log_funnel(x: Float[Array, " 2"]) -> Float[Array, ""]:
    """Log density at `x` of a funnel, in nats: x2 ~ N(0, 1.5^2), and x1 given x2 ~ N(0, exp(x2)).

    Neal (2003), section 8, https://doi.org/10.1214/aos/1056562461, with a narrower x2.
    """
    return norm.logpdf(x[1], 0.0, _FUNNEL) + norm.logpdf(x[0], 0.0, jnp.exp(0.5 * x[1]))


def log_drawn(x: Float[Array, " 2"], drawn: Drawing) -> Float[Array, ""]:
    """Log density at `x` of equal normals around the centres of `drawn`, up to a constant; without centres a wide normal."""
    each = norm.logpdf(x[None], drawn.centres, KERNEL).sum(-1)
    wide = norm.logpdf(x, 0.0, 2.0).sum()
    return jnp.where(drawn.mask.sum() > 0, logsumexp(jnp.where(drawn.mask > 0, each, -1e30)), wide)


@dataclass(frozen=True)
class Density:
    """A density and the box in which it is shown.

    - `log_density`: takes a place of shape (2,) and a drawing, and returns nats up to a constant.
    - `x`, `y`: pairs (low, high).
    """

    log_density: Callable[[Array, Drawing], Array]
    x: tuple[float, float]
    y: tuple[float, float]


DENSITIES: dict[str, Density] = {
    "banana": Density(lambda x, _: log_banana(x), (-3.6, 3.6), (-3.0, 7.0)),
    "mixture": Density(lambda x, _: log_mixture(x), (-5.0, 5.0), (-5.0, 5.0)),
    "funnel": Density(lambda x, _: log_funnel(x), (-8.0, 8.0), (-5.0, 5.0)),
    "drawn": Density(log_drawn, (-5.0, 5.0), (-5.0, 5.0)),
}


def log_density(which: Array, x: Float[Array, " 2"], drawn: Drawing) -> Float[Array, ""]:
    """Return the log density number `which` of `DENSITIES` at `x`, so that one program serves all of them.

    `drawn` is the drawing, for the density that a user draws.
    """
    return jax.lax.switch(which, [row.log_density for row in DENSITIES.values()], x, drawn)


@eqx.filter_jit
def on_grid(which: Array, drawn: Drawing, x: Float[Array, " n"], y: Float[Array, " m"]) -> Float[Array, "m n"]:
    """Return the density number `which` over the grid of `x` and `y`, as shares of its largest value there.

    `drawn` is the drawing, for the density that a user draws.
    """
    rows = jnp.stack(jnp.meshgrid(x, y), -1).reshape(-1, 2)
    found = jax.vmap(lambda row: log_density(which, row, drawn))(rows)
    return jnp.exp(found - found.max()).reshape(len(y), len(x))
