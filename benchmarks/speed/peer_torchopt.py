"""MAML with `torchopt`: a loop over tasks with `MetaSGD`, the network's state extracted and recovered around each."""

from __future__ import annotations

from collections.abc import Callable

import peer_higher
import sinusoids
import torch
import torchopt

SHOTS, INNER_LR, OUTER_LR = 10, 0.01, 1e-3


def meta_loss(net: torch.nn.Module, inner: torchopt.MetaSGD, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean query error of the adapted networks; the module is back at its own state afterwards."""
    mse, losses = torch.nn.functional.mse_loss, []
    net_state = torchopt.extract_state_dict(net, by="reference", detach_buffers=True)
    inner_state = torchopt.extract_state_dict(inner, by="reference")
    for x_task, y_task in zip(x, y, strict=True):
        inner.step(mse(net(x_task[:SHOTS]), y_task[:SHOTS]))
        losses.append(mse(net(x_task[SHOTS:]), y_task[SHOTS:]))
        torchopt.recover_state_dict(net, net_state)
        torchopt.recover_state_dict(inner, inner_state)
    return torch.stack(losses).mean()


def build() -> Callable[[], None]:
    """A step that draws a batch, loops over its tasks and moves the module by Adam."""
    generator, net = torch.Generator().manual_seed(0), peer_higher.network()
    inner = torchopt.MetaSGD(net, lr=INNER_LR)
    optimiser = torch.optim.Adam(net.parameters(), lr=OUTER_LR)

    def step() -> None:
        x, y = sinusoids.draw(generator, 2 * SHOTS)
        optimiser.zero_grad()
        meta_loss(net, inner, x, y).backward()
        optimiser.step()

    return step
