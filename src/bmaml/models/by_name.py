"""Networks for images, chosen by name."""

from __future__ import annotations

import math
from typing import Literal

from bmaml.errors import InputError
from bmaml.models.convnets import Conv4, ResNet12
from bmaml.models.network import MLP, AbstractNetwork

ImageShape = tuple[int, int, int]
Network = Literal["auto", "conv4", "pyramid", "resnet12", "mlp"]
NETWORKS = ("auto", "conv4", "pyramid", "resnet12", "mlp")
_SMALLEST = 16  # Conv-4 and ResNet-12 halve an image four times.
_HIDDEN, _FEATURES = (256, 128), 64


def image_network(
    name: str, shape: ImageShape, outputs: int | None = None, filters: int | None = None
) -> tuple[AbstractNetwork, int]:
    """Return a network for flat images, and the width of its outputs.

    - `name`: `"conv4"`; `"pyramid"`, a conv4 whose modules have 1/4, 1/2, 1 and 2 times the filters, which takes a third of the
      time; `"resnet12"`; `"mlp"` (layers of 256 and 128 on the pixels); or `"auto"`, which is conv4, or mlp for images with a
      side below 16 pixels.
    - `shape`: height, width and channels of an image.
    - `outputs`: width of a linear head, whose weights start at 0, so that adaptation makes class means. None gives features
      instead of a head.
    - `filters`: filters of conv4, of the third module of pyramid, or of the first block of resnet12 (the others have 2, 4 and 8
      times as many), 32 by default; features of mlp, 64 by default.

    Raises: InputError for an unknown name, or images too small for the network.
    """
    if name not in NETWORKS:
        raise InputError(f"unknown network {name!r}: use one of {', '.join(NETWORKS)}.")
    head_scale = 1.0 if outputs is None else 0.0
    small = min(shape[:2]) < _SMALLEST
    if name == "mlp" or (name == "auto" and small):
        width = outputs or filters or _FEATURES
        return MLP((math.prod(shape), *_HIDDEN, width), head_scale=head_scale), width
    if small:
        raise InputError(f"{name} needs images of at least 16 pixels a side and these are {shape[0]}x{shape[1]}: use mlp.")
    count = filters or 32
    if name == "resnet12":
        network = ResNet12(shape, tuple(count * 2**i for i in range(4)), outputs, head_scale=head_scale)
    elif name == "pyramid":
        network = Conv4(shape, max(count // 4, 1), outputs, head_scale=head_scale, growth=2)
    else:
        network = Conv4(shape, count, outputs, head_scale=head_scale)
    return network, outputs or network.features
