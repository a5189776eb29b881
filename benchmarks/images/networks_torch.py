"""The network and the losses in PyTorch, as functions of a dictionary of parameters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from settings import FILTERS, HEAD_LR, PARTICLES, SHAPE, SUPPORT, WAY, WEIGHT_PRIOR, Leaves, labels

Params = dict[str, torch.Tensor]


def load(leaves: Leaves) -> Params:
    """Parameters in PyTorch's own layout: kernels (filters, channels, 3, 3)."""
    found = {name: torch.from_numpy(leaf.copy()) for name, leaf in leaves.items()}
    for name in [n for n in found if n.startswith("kernel")]:
        found[name] = found[name].reshape(3, 3, -1, FILTERS).permute(3, 2, 0, 1).contiguous()
    return found


def unload(slopes: Params) -> Leaves:
    """The reverse of `load`, for gradients."""
    kernels = {n for n in slopes if n.startswith("kernel")}
    moved = {n: s.permute(2, 3, 1, 0).reshape(-1, FILTERS) if n in kernels else s for n, s in slopes.items()}
    return {name: slope.detach().numpy() for name, slope in moved.items()}


def shaped(x: torch.Tensor) -> torch.Tensor:
    """Flat rows as PyTorch's images (n, channels, height, width)."""
    height, width, channels = SHAPE
    return x.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()


def features(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Conv-4 with layer norm, of images (n, channels, height, width)."""
    for i in range(4):
        x = F.conv2d(x, params[f"kernel{i}"], padding=1)
        x = F.group_norm(x, 1, params[f"scale{i}"], params[f"bias{i}"])
        x = F.max_pool2d(F.relu(x), 2)
    return x.flatten(1)


def classify(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Logits of images."""
    return features(params, x) @ params["weight"] + params["bias"]


def cross_entropy(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of images whose classes go round."""
    return F.cross_entropy(classify(params, x), torch.from_numpy(labels(len(x))))


HEAD = ("weight", "bias", "log_lambda")


def log_posterior(heads: Params, h: torch.Tensor) -> torch.Tensor:
    """Sum over particles of each head's log joint in nats, up to constants; heads have a leading axis."""
    y = torch.from_numpy(labels(len(h)))
    logits = torch.einsum("nf,pfw->pnw", h, heads["weight"]) + heads["bias"][:, None]
    likelihood = torch.log_softmax(logits, -1)[:, torch.arange(len(h)), y].sum(1)
    size = FILTERS * WAY + WAY
    square = heads["weight"].square().sum((1, 2)) + heads["bias"].square().sum(1)
    precision, (a, b) = heads["log_lambda"], WEIGHT_PRIOR
    prior = 0.5 * size * precision - 0.5 * precision.exp() * square + a * precision - b * precision.exp()
    return (likelihood + prior).sum()


def stein_step(heads: Params, score: Params) -> Params:
    """One Stein step: RBF kernel, median bandwidth with log(n + 1), stopped, and the true gradient of the kernel."""
    flat = torch.cat([heads[n].reshape(PARTICLES, -1) for n in HEAD], 1)
    slope = torch.cat([score[n].reshape(PARTICLES, -1) for n in HEAD], 1)
    distance = (flat[:, None] - flat[None]).square().sum(-1)
    middle = distance.detach().flatten().sort().values[PARTICLES**2 // 2 - 1 : PARTICLES**2 // 2 + 1].mean()
    bandwidth = middle / math.log(PARTICLES + 1)
    kernel = torch.exp(-distance / bandwidth)
    repulsion = 2 * (kernel.sum(1, keepdim=True) * flat - kernel @ flat) / bandwidth
    moved = flat + HEAD_LR * (kernel @ slope + repulsion) / PARTICLES
    parts = torch.split(moved, [heads[n][0].numel() for n in HEAD], 1)
    return {n: part.reshape(heads[n].shape) for n, part in zip(HEAD, parts, strict=True)}


def chaser_distance(chaser: Params, leader: Params) -> torch.Tensor:
    """Squared distance of the weights of the heads to a stopped leader."""
    return sum((chaser[n] - leader[n].detach()).square().sum() for n in ("weight", "bias"))


def split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Support and query rows."""
    return x[:SUPPORT], x[SUPPORT:]
