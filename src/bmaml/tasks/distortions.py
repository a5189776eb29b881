"""Small random distortions of images, so that a method sees each training image in many forms."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

# What a strength of 1 does. Lengths are in half sides of an image.
_TURN = math.radians(12)  # the largest angle
_SLANT = 0.2  # the largest shear
_STRETCH = math.log(1.2)  # the largest log scale of an axis
_MOVE = 0.12  # the largest shift along an axis
_BEND = 0.04  # the deviation of the weight of each wave of the smooth field
_WAVES = 4  # waves of the smooth field along each axis, the constant one included


def distorted(
    images: Float[Array, "n height width channels"], strength: float, *, key: PRNGKeyArray
) -> Float[Array, "n height width channels"]:
    """Return `images`, each turned, slanted, stretched, moved and bent a little, in a way of its own.

    - `images`: each image at least 2 pixels high and wide.
    - `strength`: factor of everything below; 0 changes nothing. At 1 the angle is up to 12 degrees, the shear up to 0.2, the
      scale of each axis from 1/1.2 to 1.2, and the shift up to 6% of a side. All are uniform. A smooth field of 4 x 4 cosines
      with normal weights then moves each pixel by about 4% of a side.
    - `key`: the source of the random numbers.

    Pixels are read between the pixels of the image by bilinear interpolation, so no value leaves the range of the image. Beyond
    an edge there is what lies on the edge.

    Koch et al. (2015), https://www.cs.cmu.edu/~rsalakhu/papers/oneshot1.pdf, trained on affine distortions of Omniglot. The
    smooth field follows Simard et al. (2003), https://doi.org/10.1109/ICDAR.2003.1227801.
    """
    n, height, width, _ = images.shape
    places = _places(strength, n, (height, width), key)
    return _read(images, *(place.astype(images.dtype) for place in places))


def _places(strength: float, n: int, sides: tuple[int, int], key: PRNGKeyArray) -> tuple[Array, Array]:
    """Return the rows and columns, in pixels, at which each of `n` images is read: two arrays (n, height, width)."""
    turn_key, slant_key, stretch_key, move_key, bend_key = jax.random.split(key, 5)

    def uniform(key: PRNGKeyArray, largest: float, *lead: int) -> Array:
        return strength * largest * jax.random.uniform(key, (*lead, n, 1, 1), minval=-1)

    turn, slant = uniform(turn_key, _TURN), uniform(slant_key, _SLANT)
    stretch, move = jnp.exp(uniform(stretch_key, _STRETCH, 2)), uniform(move_key, _MOVE, 2)
    weights = strength * _BEND * jax.random.normal(bend_key, (2, n, _WAVES, _WAVES))
    bend = jnp.einsum("yk,cnkl,xl->cnyx", _cosines(sides[0]), weights, _cosines(sides[1]))
    down, across = (jnp.linspace(-1, 1, side) for side in sides)
    down, across = down[None, :, None], across[None, None]
    across = across + slant * down
    turned = jnp.cos(turn) * down - jnp.sin(turn) * across, jnp.sin(turn) * down + jnp.cos(turn) * across
    places = (stretch[axis] * turned[axis] + move[axis] + bend[axis] for axis in (0, 1))
    rows, columns = ((place + 1) * ((side - 1) / 2) for place, side in zip(places, sides, strict=True))
    return rows, columns


def _cosines(side: int) -> Float[Array, "side waves"]:
    """Return the smooth field's waves at the pixels of an axis."""
    waves = np.cos(np.pi * (np.arange(side)[:, None] + 0.5) * np.arange(_WAVES) / side)
    return jnp.asarray(waves, jnp.zeros(()).dtype)


def _read(images: Array, rows: Array, columns: Array) -> Array:
    """Return the values of `images` at `rows` and `columns` between their pixels, or on the nearest edge."""
    n, height, width, channels = images.shape
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    top = jnp.minimum(rows.astype(jnp.int32), height - 2)
    left = jnp.minimum(columns.astype(jnp.int32), width - 2)
    down, across = ((place - first.astype(place.dtype))[..., None] for place, first in ((rows, top), (columns, left)))
    pixels, corner = images.reshape(n, -1, channels), (top * width + left).reshape(n, -1, 1)

    def at(step: int) -> Array:
        return jnp.take_along_axis(pixels, corner + step, 1, mode="promise_in_bounds").reshape(images.shape)

    upper = (1 - across) * at(0) + across * at(1)
    lower = (1 - across) * at(width) + across * at(width + 1)
    return (1 - down) * upper + down * lower
