"""Norms of a convolutional network: all but one of a single image, so that no prediction depends on another image."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Norm = Literal["none", "layer", "group", "instance", "pixel", "transductive"]
NORMS = ("none", "layer", "group", "instance", "pixel", "transductive")
# Axes of (n, height, width, channels) that a mean and a mean square are taken over.
_AXES = {"layer": (1, 2, 3), "instance": (1, 2), "pixel": (3,), "transductive": (0, 1, 2)}
_GROUPS, _EPSILON = 8, 1e-5


def normalise(
    norm: Norm, z: Float[Array, "n height width channels"], scale: Float[Array, " channels"], bias: Float[Array, " channels"]
) -> Float[Array, "n height width channels"]:
    """Return channels of mean 0 and variance 1, times scale, plus bias; not for `"none"`.

    Statistics are of each image by itself: of all its channels and pixels (`"layer"`), of 8 groups of channels (`"group"`;
    as many as divide them), of each channel (`"instance"`) or of each pixel (`"pixel"`). `"transductive"` is batch norm by
    the statistics of the images at hand, as in the experiments of Finn et al. (2017): what is predicted for a query image then
    depends on the other query images. The variance gets 1e-5 added.
    """
    mean, square = _average(norm, z), _average(norm, jnp.square(z))
    # One product and one sum a number, with gain and shift of each image's channels: backwards XLA then sums over pixels
    # alone, which on a CPU halves the first derivative's time and takes two fifths off the second's.
    gain = lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0.0) + _EPSILON) * scale
    return z * gain + (bias - mean * gain)


def _average(norm: Norm, z: Array) -> Array:
    if norm != "group":
        return z.mean(_AXES[norm], keepdims=True)
    n, height, width, channels = z.shape
    groups = next(g for g in range(_GROUPS, 0, -1) if channels % g == 0)
    means = z.reshape(n, height, width, groups, -1).mean((1, 2, 4))
    return jnp.repeat(means, channels // groups, 1)[:, None, None]
