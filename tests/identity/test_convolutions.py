"""Every form of a convolution is the same function: values, derivatives of the second order, under every batching."""

import importlib.util
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from jax import lax

from bmaml.models.convolution import convolve, convolve_strided

STRIDES = {"every": (1, convolve), "second": (2, convolve_strided)}


def plain(x, kernel, stride):
    """XLA's own convolution, differentiated by JAX."""
    how = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(1, 1), (1, 1)], **how)


def numbers(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def maml_gradient(apply):
    """The second-order meta-gradient of two tasks through two layers and an inner step, and a curvature in forward mode."""
    kernels = [numbers((3, 3, 2, 3), 0), numbers((3, 3, 3, 2), 1)]
    images = numbers((2, 3, 6, 5, 2), 2)

    def loss(kernels, x):
        h = jnp.tanh(apply(x, kernels[0]))
        return jnp.square(apply(h, kernels[1])).mean()

    def adapted(kernels, x):
        moved = jax.tree.map(lambda k, g: k - 0.3 * g, kernels, jax.grad(loss)(kernels, x[:1]))
        return loss(moved, x[1:])

    def all_tasks(kernels):
        return jax.vmap(adapted, (None, 0))(kernels, images).mean()

    def both(kernels):
        curved = jax.jvp(jax.grad(lambda k: loss(k, images[0])), (kernels,), (kernels,))[1]
        return jax.value_and_grad(all_tasks)(kernels), curved

    return jit(both)(kernels)


@pytest.mark.parametrize("stride", STRIDES)
def test_all_forms_have_the_same_second_order_gradient(x64, stride):
    step, ours = STRIDES[stride]
    wanted = maml_gradient(partial(plain, stride=step))
    for form in ("loop", "patches", "grouped"):
        found = maml_gradient(partial(ours, form=form))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), found, wanted)


@pytest.mark.parametrize("gone", ["jax.interpreters", "jax.extend.core"])
def test_without_the_internals_of_jax_the_numbers_are_the_same(x64, gone, monkeypatch):
    """A later JAX without them: the module falls back to `jax.lax`, says so, and every form gives the same gradients."""
    wanted = maml_gradient(partial(plain, stride=1))
    monkeypatch.setitem(sys.modules, gone, None)
    monkeypatch.delitem(sys.modules, "bmaml.models.convolution_primitive")
    spec = importlib.util.find_spec("bmaml.models.convolution")
    module = importlib.util.module_from_spec(spec)
    with pytest.warns(UserWarning, match="convolutions are XLA's"):
        spec.loader.exec_module(module)
    for form in ("auto", "patches"):
        found = maml_gradient(partial(module.convolve, form=form))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), found, wanted)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_a_batch_of_either_operand_is_the_convolutions_one_by_one(x64, axes):
    x, kernel = (numbers((2, *shape) if axis == 0 else shape, 3) for axis, shape in zip(axes, SHAPES, strict=True))
    slope = numbers((2, 2, 4, 4, 3), 4)

    def one(x, kernel, slope):
        value, back = jax.vjp(partial(convolve, padding=1, form="loop"), x, kernel)
        return value, back(slope)

    def wanted(x, kernel, slope):
        value, back = jax.vjp(partial(plain, stride=1), x, kernel)
        return value, back(slope)

    found = (jax.vmap(f, (*axes, 0))(x, kernel, slope) for f in (one, wanted))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), *found)


SHAPES = ((2, 4, 4, 2), (3, 3, 2, 3))
