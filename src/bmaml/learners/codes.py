"""Codes of experts: points that cover a cube or follow a density on it, and the choice of the experts that go on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

# Half the width of the cube of codes: unit variance.
WIDTH = 3.0**0.5


def draw_codes(
    key: PRNGKeyArray, log_density: Float[Array, "size bins"], count: int
) -> tuple[Float[Array, "count size"], Float[Array, " count"]]:
    """Return codes that follow a density evenly, and log weights that are 0 but carry the gradient of the density.

    The lattice passes through each axis's inverse distribution function, so equal weights integrate over the density. The
    places of codes are constants to the gradient. A bin gains probability if its codes explain tasks better than others do.

    - `log_density`: unnormalised log density of each axis, in equal bins.
    - `count`: number of codes.
    """
    size, bins = log_density.shape
    log_mass = jax.nn.log_softmax(log_density, 1)
    mass = jax.lax.stop_gradient(jnp.exp(log_mass))
    end = jnp.cumsum(mass, 1)
    unit = _lattice(key, count, size).astype(mass.dtype)

    def along(unit, log_mass, mass, end):
        # Rounding may leave the last end below 1. No point lies beyond the last bin.
        bin = jnp.minimum(jnp.searchsorted(end, unit), bins - 1)
        place = ((bin + 1).astype(mass.dtype) - (end[bin] - unit) / mass[bin]) / bins
        return jnp.clip(place, 0.0, 1.0), log_mass[bin] - jax.lax.stop_gradient(log_mass[bin])

    place, log_weight = jax.vmap(along, (1, 0, 0, 0), 1)(unit, log_mass, mass, end)
    return WIDTH * (2 * place - 1), log_weight.sum(1)


def spread_codes(key: PRNGKeyArray, count: int, size: int) -> Float[Array, "count size"]:
    """Return `count` codes of length `size` that cover the cube [-sqrt 3, sqrt 3]^size evenly (unit variance), randomly
    shifted.

    Independent draws would leave gaps and clumps. Experts of a clump learn the same, and most of them end without weight.
    """
    return WIDTH * (2 * _lattice(key, count, size) - 1)


def _lattice(key: PRNGKeyArray, count: int, size: int) -> Float[Array, "count size"]:
    """Return points spread evenly over the unit cube, in the order of their first axis, with a random shift.

    The first axis is equally spaced. The others are an additive recurrence in powers of the generalised golden ratio, the root
    of g^size = g + 1 (Roberts, 2018).
    """
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / size)
    stride = jnp.asarray([1 / max(count, 1), *(golden**-i for i in range(1, size))])
    start = jax.random.uniform(key, (size,)) * jnp.where(jnp.arange(size) == 0, stride, 1.0)
    return (start[None] + jnp.arange(count, dtype=stride.dtype)[:, None] * stride[None]) % 1.0


def thin(
    key: PRNGKeyArray, log_weights: Float[Array, " experts"], count: int
) -> tuple[Int[Array, " count"], Float[Array, " count"]]:
    """Choose `count` different experts; return their indices, and log weights that stand for all experts without bias.

    Experts heavier than a threshold are always chosen and keep their weight. The others are chosen by systematic sampling in
    proportion to their weights, and each chosen one gets the threshold as its weight. Of all unbiased choices this has the
    least variance (Fearnhead and Clifford, 2003, section 3.3, https://doi.org/10.1111/1467-9868.00421). The returned weights
    are not normalised, and they are constants to the gradient. `log_weights` are the experts' log weights.
    """
    top = jax.lax.stop_gradient(log_weights.max())
    # Not 0, since otherwise there might be fewer experts than wanted.
    weights = jnp.maximum(jnp.exp(jax.lax.stop_gradient(log_weights) - top), 1e-30)
    falling = -jnp.sort(-weights)
    rest = jnp.cumsum(falling[::-1])[::-1]
    # If the k heaviest are always chosen, the threshold is the weight of the rest over the places left. Take the first k
    # whose next expert is below it.
    thresholds = rest[:count] / (count - jnp.arange(count, dtype=rest.dtype))
    threshold = thresholds[jnp.argmax(falling[:count] <= thresholds)]
    ends = jnp.cumsum(jnp.minimum(weights / threshold, 1.0))
    places = (jax.random.uniform(key) + jnp.arange(count, dtype=ends.dtype)) * (ends[-1] / count)
    chosen = jnp.minimum(jnp.searchsorted(ends, places, side="right"), len(weights) - 1)
    return chosen, jnp.log(jnp.maximum(weights[chosen], threshold)) + top
