"""MAML-TRPO for a Gaussian policy in PyTorch, batched over tasks. Both PyTorch entries use this file.

Parameters are a list of tensors: weights (in, out) and biases (1, out) of each layer, then log deviations (1, actions). An
adapted list has the task axis in front. Rows are (observations, actions, advantages, mask), with the task axis first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from navigation import CG_STEPS, DAMPING, HALVINGS, INNER_RATE, KL_LIMIT, STEPS, Navigation, Trajectories

Params = list[torch.Tensor]
Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Losses = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def mean(params: Params, x: torch.Tensor) -> torch.Tensor:
    """Mean action of each row."""
    hidden = torch.relu(x @ params[0] + params[1])
    hidden = torch.relu(hidden @ params[2] + params[3])
    return hidden @ params[4] + params[5]


def log_prob(params: Params, x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Log-density of each row's action."""
    scaled = (action - mean(params, x)) * torch.exp(-params[6])
    return -(0.5 * scaled**2 + params[6] + 0.5 * math.log(2 * math.pi)).sum(-1)


def over_rows(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over each task's rows."""
    return (values * mask).sum(-1) / mask.sum(-1)


def adapt(params: Params, rows: Rows, create_graph: bool) -> Params:
    """One REINFORCE step for every task of the rows."""
    x, action, advantage, mask = rows
    fast = [leaf.expand(len(x), *leaf.shape) for leaf in params]
    loss = -over_rows(log_prob(fast, x, action) * advantage, mask).sum()
    slopes = torch.autograd.grad(loss, fast, create_graph=create_graph)
    return [leaf - INNER_RATE * slope for leaf, slope in zip(fast, slopes, strict=True)]


def losses(params: Params, support: Rows, query: Rows, old: Rows, create_graph: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Surrogate loss and KL from the old adapted policies, each summed over tasks.

    `old` holds what the adapted policies said when the query was gathered: mean, log deviation and log-density.
    """
    x, action, advantage, mask = query
    adapted = adapt(params, support, create_graph)
    now, log_std = mean(adapted, x), adapted[6]
    scaled = (action - now) * torch.exp(-log_std)
    log_density = -(0.5 * scaled**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
    surrogate = -over_rows(torch.exp(log_density - old[2]) * advantage, mask)
    spread = torch.exp(2 * old[1]) + (old[0] - now) ** 2
    divergence = (log_std - old[1] + 0.5 * spread * torch.exp(-2 * log_std) - 0.5).sum(-1)
    return surrogate.sum(), over_rows(divergence, mask).sum()


def remember(adapted: Params, query: Rows) -> tuple[torch.Tensor, ...]:
    """What the adapted policies say of their own query."""
    with torch.no_grad():
        return mean(adapted, query[0]), adapted[6].expand_as(query[1]).clone(), log_prob(adapted, query[0], query[1])


def sample(params: Params, targets: np.ndarray, generator: torch.Generator) -> Trajectories:
    """Trajectories of every task, all stepped at once."""
    env, found = Navigation(targets), ([], [], [], [])
    shape, std = env.place.shape, torch.exp(params[6].detach())
    with torch.no_grad():
        for _ in range(STEPS):
            here, going = env.place, env.going.copy()
            action = mean(params, torch.from_numpy(here)) + std * torch.randn(shape, generator=generator)
            for column, value in zip(found, (here, action.numpy(), env.step(action.numpy()), going), strict=True):
                column.append(value)
    observations, actions, rewards, mask = (np.stack(column, 2) for column in found)
    return Trajectories(observations, actions, rewards * mask, mask.astype(np.float32))


def to_rows(found: Trajectories) -> Rows:
    """The trajectories as tensors, with their advantages."""
    return tuple(torch.from_numpy(column) for column in found.rows())  # type: ignore[return-value]


def flat(leaves: list[torch.Tensor]) -> torch.Tensor:
    """All leaves as one vector."""
    return torch.cat([leaf.reshape(-1) for leaf in leaves])


def unflat(vector: torch.Tensor, like: Params) -> Params:
    """A vector as leaves of the given shapes."""
    parts = torch.split(vector, [leaf.numel() for leaf in like])
    return [part.reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)]


def conjugate_gradient(product: Callable[[torch.Tensor], torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Solve product(x) = target in a fixed number of steps."""
    found, residual, direction = torch.zeros_like(target), target.clone(), target.clone()
    square = residual @ residual
    for _ in range(CG_STEPS):
        image = product(direction)
        length = square / (direction @ image)
        found, residual = found + length * direction, residual - length * image
        square, before = residual @ residual, square
        direction = residual + square / before * direction
    return found


def curvature_of(params: Params, losses_of: Losses) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """The surrogate's meta-gradient, and products with the Hessian of the KL (double backward, one graph)."""
    surrogate, divergence = losses_of(params, True)
    gradient = flat(torch.autograd.grad(surrogate, params, retain_graph=True))
    slopes = flat(torch.autograd.grad(divergence, params, create_graph=True))

    def product(vector: torch.Tensor) -> torch.Tensor:
        return flat(torch.autograd.grad(slopes @ vector, params, retain_graph=True)) + DAMPING * vector

    return gradient, product


def trust_region_step(params: Params, losses_of: Losses) -> Params:
    """The natural step within the KL limit, halved until it improves the surrogate and keeps the limit."""
    gradient, product = curvature_of(params, losses_of)
    direction = conjugate_gradient(product, gradient)
    step = direction * torch.sqrt(2 * KL_LIMIT / (direction @ product(direction)))
    start, before = flat(params).detach(), losses_of(params, False)[0].detach()
    for halving in range(HALVINGS):
        trial = [leaf.requires_grad_() for leaf in unflat(start - 0.5**halving * step, params)]
        surrogate, divergence = losses_of(trial, False)
        if surrogate < before and divergence < KL_LIMIT:
            return trial
    return params
