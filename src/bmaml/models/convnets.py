"""Networks for images given as flat rows: Conv-4 and ResNet-12 of the few-shot papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.errors import InputError
from bmaml.io.checked import Count, as_tuple
from bmaml.io.registry import register
from bmaml.models.convolution import FORMS, Form, convolve, convolve_strided
from bmaml.models.network import AbstractNetwork, affine
from bmaml.models.norms import NORMS, Norm, normalise

ImageShape = tuple[int, ...]
Pool = Literal["max", "stride"]
Layer = dict[str, Array]
_SLOPE = 0.1  # slope of ResNet-12's leaky ReLU below 0


@register("network/conv4")
class Conv4(AbstractNetwork):
    """Four modules of 3 x 3 convolution, norm, ReLU and 2 x 2 max-pooling.

    From Vinyals et al. (2016), https://arxiv.org/abs/1606.04080, and Finn et al. (2017), https://arxiv.org/abs/1703.03400.
    Convolution weights start normal with variance 2 / fan in, and biases start at 0.

    - `shape`: height, width and channels of an image. Inputs are flat rows.
    - `filters`: filters of the first module.
    - `growth`: factor of the number of filters from each module to the next; 1 in the papers. With 2 and a quarter of the
      filters, a network takes a third of the time, because most of the work is at the full size of the image.
    - `outputs`: width of a linear head. None returns the flattened last module, `features` numbers.
    - `norm`: one of `bmaml.models.norms`. All but `"transductive"` use each image separately.
    - `pool`: `"max"`, or `"stride"`, where the convolutions skip every second pixel and nothing is pooled, as MAML does on
      Omniglot.
    - `form`: how convolutions are computed (see `convolve`). The results are the same.
    - `head_scale`: the head's weights start with deviation `head_scale` / sqrt(fan in). MAML learns fastest from 0, because
      adaptation then starts from class means.

    Raises: InputError for an image too small to be halved four times, fewer than one filter or output, a negative `head_scale`,
    or an unknown name.
    """

    shape: ImageShape = eqx.field(static=True, converter=as_tuple)
    filters: int = eqx.field(static=True, default=64)
    outputs: int | None = eqx.field(static=True, default=None)
    norm: Norm = eqx.field(static=True, default="layer")
    pool: Pool = eqx.field(static=True, default="max")
    form: Form = eqx.field(static=True, default="auto")
    head_scale: float = eqx.field(static=True, default=1.0)
    growth: Count = eqx.field(static=True, default=1)

    def __check_init__(self):
        _check("Conv4", self.shape, self.filters, self.outputs, self.norm, self.form, self.head_scale)
        if self.pool not in ("max", "stride"):
            raise InputError(f"unknown pool {self.pool!r}: use 'max' or 'stride'.")

    @property
    def features(self) -> int:
        """Width of the flattened last module."""
        size = self.shape[:2]
        for _ in range(4):
            size = tuple((s + 1) // 2 if self.pool == "stride" else s // 2 for s in size)
        return math.prod(size) * self._widths[-1]

    @property
    def _widths(self) -> tuple[int, ...]:
        """Filters of each module."""
        return tuple(self.filters * self.growth**module for module in range(4))

    def init(self, key):
        keys = jax.random.split(key, 5)
        widths = (self.shape[2], *self._widths)
        layers = [_layer(k, 9 * i, o, self.norm) for k, i, o in zip(keys, widths[:-1], widths[1:], strict=False)]
        return {"layers": layers, "head": _head(keys[4], self.features, self.outputs, self.head_scale)}

    def apply(self, params, x):
        h = _unflatten(x, self.shape)
        for layer in params["layers"]:
            h = self._module(layer, h)
        return _headed(params["head"], h.reshape(len(h), -1))

    def _module(self, layer: Layer, h: Array) -> Array:
        kernel = layer["kernel"].reshape(3, 3, h.shape[-1], -1)
        if self.pool == "stride":
            return jax.nn.relu(_normalised(self.norm, layer, convolve_strided(h, kernel, self.form)))
        z = convolve(h, kernel, 1, self.form)
        # Pooling before the ReLU and before a bias that all pixels share gives the same numbers for a quarter of the work.
        if self.norm == "none":
            return jax.nn.relu(max_pool(z) + layer["bias"][None, None, None])
        return jax.nn.relu(max_pool(_normalised(self.norm, layer, z)))


@register("network/resnet12")
class ResNet12(AbstractNetwork):
    """Four residual blocks of three 3 x 3 convolutions, each max-pooled by 2, then averaged over pixels.

    From Oreshkin et al. (2018), https://arxiv.org/abs/1805.10123. The shortcut of a block is a 1 x 1 convolution, ReLUs have a
    slope of 0.1 below 0, and there is no DropBlock.

    - `shape`, `outputs`, `norm`, `form`, `head_scale`: as in `Conv4`.
    - `widths`: filters of the four blocks.

    Raises: InputError in the cases of `Conv4`.
    """

    shape: ImageShape = eqx.field(static=True, converter=as_tuple)
    widths: tuple[int, ...] = eqx.field(static=True, default=(64, 128, 256, 512), converter=as_tuple)
    outputs: int | None = eqx.field(static=True, default=None)
    norm: Norm = eqx.field(static=True, default="group")
    form: Form = eqx.field(static=True, default="auto")
    head_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check("ResNet12", self.shape, min(self.widths, default=0), self.outputs, self.norm, self.form, self.head_scale)
        if len(self.widths) != 4:
            raise InputError(f"ResNet12 has {len(self.widths)} widths: give 4, one a block.")

    @property
    def features(self) -> int:
        """Width of the averaged last block."""
        return self.widths[-1]

    def init(self, key):
        keys = jax.random.split(key, 5)
        sizes = (self.shape[2], *self.widths)
        blocks = [self._block(k, i, o) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=False)]
        return {"blocks": blocks, "head": _head(keys[4], self.features, self.outputs, self.head_scale)}

    def _block(self, key: PRNGKeyArray, inputs: int, filters: int) -> list[Layer]:
        fans = (9 * inputs, 9 * filters, 9 * filters, inputs)
        return [_layer(k, fan, filters, self.norm) for k, fan in zip(jax.random.split(key, 4), fans, strict=True)]

    def apply(self, params, x):
        h = _unflatten(x, self.shape)
        for block in params["blocks"]:
            h = self._residual(block, h)
        return _headed(params["head"], h.mean((1, 2)))

    def _residual(self, block: list[Layer], h: Array) -> Array:
        *within, last, shortcut = block
        z = h
        for layer in within:
            z = jax.nn.leaky_relu(_normalised(self.norm, layer, self._convolve(layer, z)), _SLOPE)
        direct = _normalised(self.norm, shortcut, h @ shortcut["kernel"])
        z = _normalised(self.norm, last, self._convolve(last, z)) + direct
        return jax.nn.leaky_relu(max_pool(z), _SLOPE)

    def _convolve(self, layer: Layer, h: Array) -> Array:
        return convolve(h, layer["kernel"].reshape(3, 3, h.shape[-1], -1), 1, self.form)


@jax.custom_jvp
def max_pool(z: Float[Array, "n height width channels"]) -> Float[Array, "n up across channels"]:
    """Return the largest value of each 2 x 2 block of `z`. An odd last row or column is left out. Ties share the gradient."""
    return _over_blocks(jnp.maximum, _blocks(z))


@max_pool.defjvp
def _max_pool_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Constant weights times values, because JAX's own second derivative of nested maxima takes four times as long.
    blocks = _blocks(primals[0])
    largest = _over_blocks(jnp.maximum, blocks)
    here = (blocks == largest[:, :, None, :, None]).astype(blocks.dtype)
    weights = here / _over_blocks(jnp.add, here)[:, :, None, :, None]
    return largest, (jax.lax.stop_gradient(weights) * _blocks(tangents[0])).sum((2, 4))


def _blocks(z: Array) -> Float[Array, "n up 2 across 2 channels"]:
    n, height, width, channels = z.shape
    return z[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2, channels)


def _over_blocks(join: Callable[[Array, Array], Array], b: Array) -> Float[Array, "n up across channels"]:
    return join(join(b[:, :, 0, :, 0], b[:, :, 0, :, 1]), join(b[:, :, 1, :, 0], b[:, :, 1, :, 1]))


def _check(who: str, shape: ImageShape, filters: int, outputs: int | None, norm: str, form: str, head_scale: float) -> None:
    if len(shape) != 3 or min(shape[:2]) < 16 or shape[2] < 1:
        raise InputError(f"{who} of images of shape {shape}: give (height, width, channels), at least (16, 16, 1).")
    if filters < 1 or (outputs is not None and outputs < 1):
        raise InputError(f"{who} has {filters} filters and {outputs} outputs: give at least 1, or None for no head.")
    if not head_scale >= 0:
        raise InputError(f"{who} has a head's spread of {head_scale}: give a number of at least 0.")
    if norm not in NORMS or form not in FORMS:
        raise InputError(
            f"{who} has norm {norm!r} and form {form!r}: use a norm of {', '.join(NORMS)} and a form of {', '.join(FORMS)}."
        )


def _unflatten(x: Array, shape: ImageShape) -> Float[Array, "n height width channels"]:
    if x.ndim != 2 or x.shape[1] != math.prod(shape):
        raise InputError(f"images have shape {x.shape}: give flat rows (n, {math.prod(shape)}), each of shape {shape}.")
    return x.reshape(-1, *shape)


def _layer(key: PRNGKeyArray, fan: int, filters: int, norm: Norm) -> Layer:
    # One matrix for each convolution, so that optimisers of matrices (Muon) see a whole kernel as one matrix.
    layer = {"kernel": math.sqrt(2 / fan) * jax.random.normal(key, (fan, filters)), "bias": jnp.zeros(filters)}
    return layer if norm == "none" else layer | {"scale": jnp.ones(filters)}


def _normalised(norm: Norm, layer: Layer, z: Array) -> Array:
    return z + layer["bias"][None, None, None] if norm == "none" else normalise(norm, z, layer["scale"], layer["bias"])


def _head(key: PRNGKeyArray, features: int, outputs: int | None, head_scale: float) -> Layer | None:
    if outputs is None:
        return None
    weight = jax.random.normal(key, (features, outputs)) * (head_scale / math.sqrt(features))
    return {"weight": weight, "bias": jnp.zeros(outputs)}


def _headed(head: Layer | None, features: Array) -> Array:
    return features if head is None else affine(head, features)
