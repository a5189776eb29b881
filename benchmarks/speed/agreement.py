"""Do all entries compute the same meta-gradient? One batch, the same parameters, the largest difference printed."""

from __future__ import annotations

import numpy as np
import ours
import peer_bmaml_torch_func
import peer_higher
import peer_torch_func
import peer_torchopt
import sinusoids
import torch
import torchopt

Leaves = dict[str, np.ndarray]


def _functional(module, leaves: Leaves, x: torch.Tensor, y: torch.Tensor, compiled: bool) -> Leaves:
    gradient = torch.compile(module.meta_gradient) if compiled else module.meta_gradient
    found = gradient({name: torch.from_numpy(leaf) for name, leaf in leaves.items()}, x, y)
    return {name: slope.numpy() for name, slope in found.items()}


def _of_module(net: torch.nn.Sequential) -> Leaves:
    leaves = {}
    for layer, linear in enumerate(net[::2]):
        leaves |= {f"weight{layer}": linear.weight.grad.numpy().T, f"bias{layer}": linear.bias.grad.numpy()}
    return leaves


def _of_higher(x: torch.Tensor, y: torch.Tensor) -> Leaves:
    net = peer_higher.network()
    peer_higher.accumulate(net, torch.optim.SGD(net.parameters(), lr=peer_higher.INNER_LR), x, y)
    return _of_module(net)


def _of_torchopt(x: torch.Tensor, y: torch.Tensor) -> Leaves:
    net = peer_higher.network()
    peer_torchopt.meta_loss(net, torchopt.MetaSGD(net, lr=peer_torchopt.INNER_LR), x, y).backward()
    return _of_module(net)


def distance(found: Leaves, wanted: Leaves) -> float:
    """Largest absolute difference over all leaves, relative to the largest entry."""
    scale = max(np.abs(leaf).max() for leaf in wanted.values())
    return float(max(np.abs(found[name] - wanted[name]).max() for name in wanted) / scale)


def agreement(compiled: bool = True) -> dict[str, float]:
    """Relative distance of every entry's meta-gradient to that of `torch.func`, on one batch."""
    generator, found = torch.Generator().manual_seed(1), {}
    leaves = sinusoids.parameters(sinusoids.MAML_SIZES)
    x, y = sinusoids.draw(generator, 20)
    wanted = _functional(peer_torch_func, leaves, x, y, False)
    found["maml/higher"] = distance(_of_higher(x, y), wanted)
    found["maml/torchopt"] = distance(_of_torchopt(x, y), wanted)
    found["maml/ours"] = distance(ours.maml_gradient(leaves, x.numpy(), y.numpy()), wanted)
    if compiled:
        found["maml/torch.compile"] = distance(_functional(peer_torch_func, leaves, x, y, True), wanted)
    leaves = sinusoids.bayesian_parameters()
    x, y = sinusoids.draw(generator, 10)
    wanted = _functional(peer_bmaml_torch_func, leaves, x, y, False)
    found["bmaml/ours"] = distance(ours.bmaml_gradient(leaves, x.numpy(), y.numpy()), wanted)
    if compiled:
        found["bmaml/torch.compile"] = distance(_functional(peer_bmaml_torch_func, leaves, x, y, True), wanted)
    return found


if __name__ == "__main__":
    for name, gap in agreement().items():
        print(f"{name:24s} differs from torch.func by {gap:.1e} of the largest entry")
