"""MAML with `higher`: a loop over tasks, each in `innerloop_ctx`, gradients accumulating on the module."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import higher
import sinusoids
import torch

SHOTS, INNER_LR, OUTER_LR = 10, 0.01, 1e-3


def network() -> torch.nn.Sequential:
    """The 1-40-40-1 ReLU network with the common first parameters."""
    linear, layers = torch.nn.Linear, []
    for fan_in, fan_out in pairwise(sinusoids.MAML_SIZES):
        layers += [linear(fan_in, fan_out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    load(net, sinusoids.parameters(sinusoids.MAML_SIZES))
    return net


def load(net: torch.nn.Sequential, leaves: dict) -> None:
    """Copy leaves with weights (in, out) into the linear layers, which hold (out, in)."""
    with torch.no_grad():
        for layer, linear in enumerate(net[::2]):
            linear.weight.copy_(torch.from_numpy(leaves[f"weight{layer}"]).T)
            linear.bias.copy_(torch.from_numpy(leaves[f"bias{layer}"]))


def accumulate(net: torch.nn.Module, inner: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
    """Add the meta-gradient of every task to the module's `.grad`."""
    mse = torch.nn.functional.mse_loss
    for x_task, y_task in zip(x, y, strict=True):
        with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (fast, steps):
            steps.step(mse(fast(x_task[:SHOTS]), y_task[:SHOTS]))
            loss = mse(fast(x_task[SHOTS:]), y_task[SHOTS:]) / len(x)
            loss.backward()


def build() -> Callable[[], None]:
    """A step that draws a batch, loops over its tasks and moves the module by Adam."""
    generator, net = torch.Generator().manual_seed(0), network()
    inner = torch.optim.SGD(net.parameters(), lr=INNER_LR)
    optimiser = torch.optim.Adam(net.parameters(), lr=OUTER_LR)

    def step() -> None:
        x, y = sinusoids.draw(generator, 2 * SHOTS)
        optimiser.zero_grad()
        accumulate(net, inner, x, y)
        optimiser.step()

    return step
