"""Convolutions whose kernels may differ from task to task, in the form that is fastest on each platform."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.models.convolution_forms import FORMS as FORMS
from bmaml.models.convolution_forms import Form as Form
from bmaml.models.convolution_forms import by_patches, plain

# The primitive uses internals of JAX. A later JAX may lack them, or change their signature.
try:
    from bmaml.models.convolution_primitive import bind as _bind
except (ImportError, AttributeError, TypeError) as _reason:
    warnings.warn(
        f"This version of JAX lacks what bmaml's own convolution is made of ({_reason}): convolutions are XLA's, which give "
        "the same numbers and take many times as long on a CPU where kernels differ from task to task.",
        stacklevel=2,
    )
    _bind = None


def convolve(
    x: Float[Array, "n height width channels"],
    kernel: Float[Array, "k k channels filters"],
    padding: int = 1,
    form: Form = "auto",
) -> Float[Array, "n up across filters"]:
    """Return the convolution of stride 1 (a cross-correlation, as in every network).

    - `x`: images.
    - `kernel`: square kernels.
    - `padding`: rows and columns of zeros on each side.
    - `form`: how kernels that differ from task to task are applied under `vmap`. All forms give equal results and equal
      derivatives of every order.

    The forms are:

    - `"loop"`: one task after another by XLA's own convolution. On a CPU this runs at the machine's matrix rate as long as one
      kernel serves a whole batch of images.
    - `"patches"`: windows side by side times kernels in one batched matrix product, also if tasks share a kernel.
    - `"grouped"`: what XLA makes of a `vmap` of its own convolution: one convolution with as many groups as tasks.
    - `"auto"`: the loop on a CPU. Elsewhere patches, or XLA's convolution if tasks share a kernel.
    """
    if _bind is not None:
        return _bind(x, kernel, padding, form)
    return by_patches(x, kernel, padding) if form == "patches" else plain(x, kernel, padding)


def convolve_strided(x: Array, kernel: Array, form: Form = "auto") -> Float[Array, "n up across filters"]:
    """Return the convolution of `x` with a 3 x 3 `kernel` at every second row and column, with one row of zeros on all sides.

    Blocks of 2 x 2 pixels become channels, and the result is a 2 x 2 convolution of stride 1 over these blocks. So every `form`
    of `convolve` applies.
    """
    n, height, width, channels = x.shape
    up, across = (height + 1) // 2, (width + 1) // 2
    x = jnp.pad(x, ((0, 0), (1, 2 * up + 1 - height), (1, 2 * across + 1 - width), (0, 0)))
    x = x.reshape(n, up + 1, 2, across + 1, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    x, kernel = x.reshape(n, up + 1, across + 1, 4 * channels), kernel.reshape(2, 2, 4 * channels, -1)
    return convolve(x, kernel, 0, form)
