"""Norms of a convolutional network. All but one use a single image, so that no prediction depends on another image."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Norm = Literal["none", "layer", "group", "instance", "pixel", "transductive"]
NORMS = ("none", "layer", "group", "instance", "pixel", "transductive")
# Axes of (n, height, width, channels) over which means and mean squares are taken.
_AXES = {"layer": (1, 2, 3), "instance": (1, 2), "pixel": (3,), "transductive": (0, 1, 2)}
_GROUPS, _EPSILON = 8, 1e-5


def normalise(
    norm: Norm, z: Float[Array, "n height width channels"], scale: Float[Array, " channels"], bias: Float[Array, " channels"]
) -> Float[Array, "n height width channels"]:
    """Return `z` with channels of mean 0 and variance 1, times `scale`, plus `bias`.

    The variance gets 1e-5 added. `norm` says which numbers share their statistics:

    - `"layer"`: all channels and pixels of an image.
    - `"group"`: 8 groups of channels of an image, or as many as divide the channels.
    - `"instance"`: one channel of an image.
    - `"pixel"`: one pixel of an image.
    - `"transductive"`: batch norm over the given images, as in the experiments of Finn et al. (2017),
      https://arxiv.org/abs/1703.03400. The prediction for a query image then depends on the other query images.

    `"none"` is not accepted here.
    """
    mean, square = _average(norm, z), _average(norm, jnp.square(z))
    # One product and one sum for each number, with gain and shift of each image's channels. In the backward pass XLA then
    # sums over pixels alone. On a CPU this halves the time of the first derivative and saves two fifths of the second's.
    gain = lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0.0) + _EPSILON) * scale[None, None, None]
    return z * gain + (bias[None, None, None] - mean * gain)


def _average(norm: Norm, z: Array) -> Array:
    if norm != "group":
        return z.mean(_AXES[norm], keepdims=True)
    n, height, width, channels = z.shape
    groups = next(g for g in range(_GROUPS, 0, -1) if channels % g == 0)
    means = z.reshape(n, height, width, groups, -1).mean((1, 2, 4))
    return jnp.repeat(means, channels // groups, 1)[:, None, None]
