"""Norms of a convolutional network: all but one of a single image, so that no prediction depends on another image."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Norm = Literal["none", "layer", "group", "instance", "pixel", "transductive"]
NORMS = ("none", "layer", "group", "instance", "pixel", "transductive")
# Axes of (n, height, width, groups, channels of a group) that a mean and a variance are taken over.
_AXES = {"layer": (1, 2, 3, 4), "group": (1, 2, 4), "instance": (1, 2), "pixel": (3, 4), "transductive": (0, 1, 2)}
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
    n, height, width, channels = z.shape
    groups = next(g for g in range(_GROUPS, 0, -1) if channels % g == 0)
    parted = z.reshape(n, height, width, groups, -1)
    centred = parted - parted.mean(_AXES[norm], keepdims=True)
    deviation = lax.rsqrt(jnp.square(centred).mean(_AXES[norm], keepdims=True) + _EPSILON)
    return (centred * deviation).reshape(z.shape) * scale + bias
