"""BMAML in `torch.func` under `torch.compile`: the whole meta-gradient is one compiled graph."""

from __future__ import annotations

from collections.abc import Callable

import peer_bmaml_torch_func
import torch


def build() -> Callable[[], None]:
    """The `torch.func` step with its meta-gradient compiled."""
    torch._dynamo.reset()
    return peer_bmaml_torch_func.build(torch.compile(peer_bmaml_torch_func.meta_gradient))
