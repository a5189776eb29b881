"""The forms of a convolution: XLA's own, and windows side by side in one matrix product. Stride 1, square kernels."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Form = Literal["auto", "loop", "patches", "grouped"]
FORMS = ("auto", "loop", "patches", "grouped")
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain(x: Array, kernel: Array, padding: int) -> Array:
    """Return XLA's own convolution of images `x` with a `kernel`, with `padding` zeros on each side."""
    return lax.conv_general_dilated(x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=_LAYOUT)


def plain_slope(x: Array, g: Array, padding: int) -> Array:
    """Return the derivative of `plain` in the kernel at images `x`, for a derivative `g` in the result.

    `padding` is that of `plain`.
    """
    # Channels and images swap roles here, and `g` becomes one large kernel.
    return plain(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding).transpose(1, 2, 0, 3)


def _windows(x: Array, size: int, padding: int) -> Array:
    """Return the window of each pixel as one row of channels."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    up, across = x.shape[1] - size + 1, x.shape[2] - size + 1
    return jnp.concatenate([x[:, i : i + up, j : j + across] for i in range(size) for j in range(size)], -1)


def by_patches(x: Array, kernel: Array, padding: int) -> Array:
    """Return what `plain` returns, as windows of `x` times the `kernel`, with `padding` zeros on each side."""
    windows = _windows(x, len(kernel), padding)
    return windows @ kernel.reshape(windows.shape[-1], -1)


def slope_by_patches(x: Array, g: Array, padding: int) -> Array:
    """Return what `plain_slope` returns, as windows of `x` times `g`, with `padding` zeros on each side."""
    size = x.shape[1] + 2 * padding - g.shape[1] + 1
    slope = jnp.einsum("nhwp,nhwo->po", _windows(x, size, padding), g)
    return slope.reshape(size, size, x.shape[-1], g.shape[-1])
