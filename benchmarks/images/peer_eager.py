"""PyTorch as most code is written: eager, `autograd.grad` with `create_graph`, a loop over tasks."""

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
    shaped,
    split,
    stein_step,
    unload,
)
from settings import INNER_LR, OUTER_LR, PARTICLES, Leaves, images, parameters


def maml_loss(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Query loss of one task after one differentiable step on the support."""
    support, query = split(x)
    slopes = torch.autograd.grad(cross_entropy(params, support), list(params.values()), create_graph=True)
    fast = {name: leaf - INNER_LR * slope for (name, leaf), slope in zip(params.items(), slopes, strict=True)}
    return cross_entropy(fast, query)


def _advance(heads: Params, h: torch.Tensor, graph: bool) -> Params:
    slopes = torch.autograd.grad(log_posterior(heads, h), [heads[n] for n in HEAD], create_graph=graph)
    return stein_step(heads, dict(zip(HEAD, slopes, strict=True)))


def bmaml_loss(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Chaser loss of one task: the extractor once, then particles of heads, their products batched."""
    support, query = (features(params, part) for part in split(x))
    chaser = _advance({n: params[n] for n in HEAD}, support, graph=True)
    # The leader is stopped: it needs no graph of its own.
    start = {n: leaf.detach().requires_grad_() for n, leaf in chaser.items()}
    return chaser_distance(chaser, _advance(start, torch.cat([support, query]).detach(), graph=False))


LOSSES = {"maml": maml_loss, "bmaml": bmaml_loss}


def _start(name: str) -> Params:
    leaves = parameters(particles=None if name == "maml" else PARTICLES)
    return {n: leaf.requires_grad_() for n, leaf in load(leaves).items()}


def accumulate(name: str, params: Params, batch: torch.Tensor) -> None:
    """Add the meta-gradient of a meta-batch to `.grad`, task after task."""
    for x in batch:
        (LOSSES[name](params, x) / len(batch)).backward()


def prepared(x) -> torch.Tensor:
    """A meta-batch of flat rows as images."""
    return torch.stack([shaped(torch.from_numpy(task)) for task in x])


def gradient(name: str, x) -> Leaves:
    """The meta-gradient of the common parameters on a meta-batch."""
    params = _start(name)
    accumulate(name, params, prepared(x))
    return unload({n: leaf.grad for n, leaf in params.items()})


def build(name: str) -> Callable[[int], None]:
    """Return a function that makes that many meta-steps."""
    params, batch = _start(name), prepared(images())
    optimiser = torch.optim.Adam(params.values(), lr=OUTER_LR)

    def run(count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            accumulate(name, params, batch)
            optimiser.step()

    return run
