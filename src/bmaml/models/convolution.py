"""Convolutions whose kernels may differ from task to task, in the form that is fastest on each platform."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

Form = Literal["auto", "loop", "patches", "grouped"]
FORMS = ("auto", "loop", "patches", "grouped")
_LAYOUT = ("NHWC", "HWIO", "NHWC")


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
    return _convolve.bind(x[None], kernel[None], padding=padding, form=form)[0]


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


def _plain(x: Array, kernel: Array, padding: int) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=_LAYOUT)


def _plain_slope(x: Array, g: Array, padding: int) -> Array:
    # Channels and images swap roles here, and `g` becomes one large kernel.
    return _plain(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding).transpose(1, 2, 0, 3)


def _windows(x: Array, size: int, padding: int) -> Array:
    """Return the window of each pixel as one row of channels."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    up, across = x.shape[1] - size + 1, x.shape[2] - size + 1
    return jnp.concatenate([x[:, i : i + up, j : j + across] for i in range(size) for j in range(size)], -1)


def _by_patches(x: Array, kernel: Array, padding: int) -> Array:
    windows = _windows(x, len(kernel), padding)
    return windows @ kernel.reshape(windows.shape[-1], -1)


def _slope_by_patches(x: Array, g: Array, padding: int) -> Array:
    size = x.shape[1] + 2 * padding - g.shape[1] + 1
    slope = jnp.einsum("nhwp,nhwo->po", _windows(x, size, padding), g)
    return slope.reshape(size, size, x.shape[-1], g.shape[-1])


def _in_form(plain: Callable, by_patches: Callable, platform: str) -> Callable[..., Array]:
    """Return the function of two operands with a leading task axis in the form for a platform."""

    def run(x: Array, other: Array, *, padding: int, form: Form) -> Array:
        usual = "loop" if platform == "cpu" or len(x) == 1 else "patches"
        chosen, single = usual if form == "auto" else form, partial(plain, padding=padding)
        if chosen == "patches":
            return jax.vmap(partial(by_patches, padding=padding))(x, other)
        if len(x) == 1:
            return single(x[0], other[0])[None]
        return jax.vmap(single)(x, other) if chosen == "grouped" else lax.map(lambda pair: single(*pair), (x, other))

    return run


def _primitive(name: str, plain: Callable, by_patches: Callable) -> Primitive:
    """Return a primitive of two operands (tasks first), lowered for each platform."""
    primitive = Primitive(name)
    on_cpu, elsewhere = (_in_form(plain, by_patches, platform) for platform in ("cpu", "any"))

    def shape(x, other, **how):
        found = jax.eval_shape(partial(on_cpu, **how), x, other)
        return ShapedArray(found.shape, found.dtype)

    primitive.def_abstract_eval(shape)
    primitive.def_impl(lambda x, other, **how: jax.jit(partial(primitive.bind, **how))(x, other))
    mlir.register_lowering(primitive, mlir.lower_fun(elsewhere, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    return primitive


# Two primitives that are closed under differentiation: both are bilinear, and the transposes of each are made of the two.
# XLA's own derivatives of a convolution are convolutions of permuted and dilated operands. For the second-order ones its
# CPU backend has only plain loops.
_convolve = _primitive("convolve", _plain, _by_patches)
_slope = _primitive("convolve_slope", _plain_slope, _slope_by_patches)


def _to_input(g: Array, kernel: Array, padding: int, form: Form) -> Array:
    """Return the transpose of a convolution in its input: a convolution with the flipped kernel."""
    turned = jnp.flip(kernel, (1, 2)).swapaxes(3, 4)
    return _convolve.bind(g, turned, padding=kernel.shape[1] - 1 - padding, form=form)


ad.defbilinear(
    _convolve,
    lambda g, x, kernel, *, padding, form: _to_input(g, kernel, padding, form),
    lambda g, x, kernel, *, padding, form: _slope.bind(x, g, padding=padding, form=form),
)
ad.defbilinear(
    _slope,
    lambda v, x, g, *, padding, form: _to_input(g, v, padding, form),
    lambda v, x, g, *, padding, form: _convolve.bind(x, v, padding=padding, form=form),
)


def _fold(array: Array, at: int, axis: int) -> Array:
    """Return the array with its batch axis folded into another axis, the batch outermost."""
    array = jnp.moveaxis(array, at, axis)
    return array.reshape(*array.shape[:axis], -1, *array.shape[axis + 2 :])


def _unfold(array: Array, batch: int, axis: int) -> Array:
    array = array.reshape(*array.shape[:axis], batch, -1, *array.shape[axis + 1 :])
    return jnp.moveaxis(array, axis, 0)


def _batched(primitive: Primitive, axes: tuple[tuple[int, int], tuple[int, int]], operands, dims, **how):
    """Fold a batch into the axis of one operand that the result keeps, or into tasks if both operands have a batch.

    For each operand, `axes` gives the axis that a batch of this operand alone joins, and the axis of the result that it
    becomes.
    """
    batch = next(o.shape[d] for o, d in zip(operands, dims, strict=True) if d is not None)
    if None not in dims:
        folded = [_fold(operand, at, 0) for operand, at in zip(operands, dims, strict=True)]
        return _unfold(primitive.bind(*folded, **how), batch, 0), 0
    side = 0 if dims[1] is None else 1
    joined, out = axes[side]
    operands = list(operands)
    operands[side] = _fold(operands[side], dims[side], joined)
    return _unfold(primitive.bind(*operands, **how), batch, out), 0


# A batch of images alone becomes more images, and a batch of kernels alone more filters. The two operands of the slope
# work likewise.
batching.primitive_batchers[_convolve] = partial(_batched, _convolve, ((1, 1), (4, 4)))
batching.primitive_batchers[_slope] = partial(_batched, _slope, ((4, 3), (4, 4)))
