"""The convolution as a primitive of ours, with derivatives that are made of itself.

This module stands on internals of JAX (`jax.interpreters`), which JAX may move. `convolution.py` does without this module
where they are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from bmaml.models.convolution_forms import Form, by_patches, plain, plain_slope, slope_by_patches


def bind(x: Array, kernel: Array, padding: int, form: Form) -> Array:
    """Return the convolution of `x` with a `kernel`, in the `form` that `bmaml.models.convolution.convolve` describes.

    `padding` is the number of rows and columns of zeros on each side.
    """
    return _convolve.bind(x[None], kernel[None], padding=padding, form=form)[0]


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
_convolve = _primitive("convolve", plain, by_patches)
_slope = _primitive("convolve_slope", plain_slope, slope_by_patches)


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
