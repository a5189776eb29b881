"""The same as `peer_eager.py` in `torch.func`: functional gradients, `vmap` over tasks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from networks_torch import (
    HEAD,
    Params,
    chaser_distance,
    cross_entropy,
    features,
    load,
    log_posterior,
    split,
    stein_step,
    unload,
)
from peer_eager import prepared
from settings import INNER_LR, OUTER_LR, PARTICLES, Leaves, images, parameters
from torch.func import grad, vmap


def maml_loss(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Query loss of one task after one differentiable step on the support."""
    support, query = split(x)
    slopes = grad(cross_entropy)(params, support)
    return cross_entropy({n: leaf - INNER_LR * slopes[n] for n, leaf in params.items()}, query)


def bmaml_loss(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Chaser loss of one task: the extractor once, then particles of heads, their products batched."""
    support, query = (features(params, part) for part in split(x))
    everything = torch.cat([support, query]).detach()
    heads = {n: params[n] for n in HEAD}
    chaser = stein_step(heads, grad(log_posterior)(heads, support))
    start = {n: leaf.detach() for n, leaf in chaser.items()}
    return chaser_distance(chaser, stein_step(start, grad(log_posterior)(start, everything)))


LOSSES = {"maml": maml_loss, "bmaml": bmaml_loss}


def meta_gradient(name: str, params: Params, batch: torch.Tensor) -> Params:
    """The second-order meta-gradient, leaf by leaf."""
    return grad(lambda params: vmap(LOSSES[name], (None, 0))(params, batch).mean())(params)


def _start(name: str) -> Params:
    return load(parameters(particles=None if name == "maml" else PARTICLES))


def gradient(name: str, x) -> Leaves:
    """The meta-gradient of the common parameters on a meta-batch."""
    return unload(meta_gradient(name, _start(name), prepared(x)))


def build(name: str) -> Callable[[int], None]:
    """Return a function that makes that many meta-steps."""
    params, batch = _start(name), prepared(images())
    optimiser = torch.optim.Adam(params.values(), lr=OUTER_LR)

    def run(count: int) -> None:
        for _ in range(count):
            for n, slope in meta_gradient(name, params, batch).items():
                params[n].grad = slope
            optimiser.step()

    return run
