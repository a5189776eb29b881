"""Newton's method on log-concave densities whose coefficients are standard normals before any outcome."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float

MOST_STEPS = 40
LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
"""Lengths of a Newton step that are tried: the full step can overshoot where the density is far from normal."""
# A climb ends where the next step gains less, in nats.
_LEAST_GAIN = {8: 1e-12, 4: 1e-6, 2: 1e-3}
# A step that promises less, in nats, is so short that the density is normal along it.
_NEAR = 1e-4


def going(count: Array, gain: Array, most: int) -> Bool[Array, ""]:
    """Return whether a climb goes on after `count` of at most `most` steps, the last of which promised a `gain`."""
    return (count < most) & (gain > _LEAST_GAIN[gain.dtype.itemsize])


def lean(third: Array, variance: Array) -> Array:
    """Return the slope of each row by which a posterior's mean leaves its mode, to first order in the third derivative.

    The mean of the slope over a normal around the mode, and not the slope at the mode, is 0 at the mean (Rue et al., 2009,
    https://doi.org/10.1111/j.1467-9868.2008.00700.x). `third` and `variance` are those of each row's latent number.
    """
    each = 0.5 * third * variance
    return jnp.where(jnp.isfinite(each), each, 0.0)


def climb(
    density: Callable[[Array], Array],
    slopes: Callable[[Array], tuple[Array, Array]],
    third: Callable[[Array], Array],
    design: Float[Array, "n coefficients"],
) -> tuple[Float[Array, " coefficients"], Float[Array, "coefficients coefficients"], Float[Array, ""]]:
    """Return the mean of standard normal coefficients given outcomes, the Cholesky factor of the precision at their mode, and
    the log evidence of the outcomes by Laplace's approximation.

    - `density`: the log probability of the outcomes given how far their latent numbers are from those of coefficients of 0.
    - `slopes`: its derivatives in the latent number of each row: the first, and the second with its sign turned.
    - `third`: its third derivative in the latent number of each row.
    - `design`: how the latent numbers depend on the coefficients.
    """
    unit = jnp.eye(design.shape[1], dtype=design.dtype)

    def at(place: Array) -> tuple[Array, Array]:
        slope, weight = slopes(design @ place)
        return design.T @ slope - place, jnp.linalg.cholesky(unit + (design * weight[:, None]).T @ design)

    def height(place: Array) -> Array:
        return density(design @ place) - 0.5 * place @ place

    def better(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, _, place = carry
        upwards, root = at(place)
        half = solve_triangular(root, upwards, lower=True)
        ahead = solve_triangular(root.T, half, lower=False)
        tried = jnp.asarray(LENGTHS, place.dtype)
        heights = jax.vmap(lambda length: height(place + length * ahead))(tried)
        heights = jnp.nan_to_num(heights, nan=-jnp.inf, posinf=-jnp.inf)
        # Near the mode, rounding hides which place is higher, and the full step is right. Elsewhere the climb then ends.
        near = half @ half < _NEAR
        length = jnp.where(near, tried[0], tried[jnp.argmax(heights)])
        gain = jnp.where(near | (heights.max() >= height(place)), half @ half, 0.0)
        return count + 1, gain, jnp.where(gain > 0, place + length * ahead, place)

    first = (jnp.zeros((), int), jnp.full((), np.inf, design.dtype), jnp.zeros_like(unit[0]))
    mode = jax.lax.while_loop(lambda carry: going(carry[0], carry[1], MOST_STEPS), better, first)[2]
    root = at(mode)[1]
    half = solve_triangular(root, design.T, lower=True)
    aside = solve_triangular(root.T, half @ lean(third(design @ mode), (half**2).sum(0)), lower=False)
    return mode + aside, root, height(mode) - jnp.log(jnp.diagonal(root)).sum()
