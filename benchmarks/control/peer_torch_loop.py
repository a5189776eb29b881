"""A MAML-TRPO meta-iteration in PyTorch with a Python loop over tasks, the way published PyTorch code is written."""

from __future__ import annotations

from collections.abc import Callable

import navigation
import numpy as np
import peer_torch_batched
import torch
import torch_policy
from torch_policy import Params, Rows

Collected = list[tuple[Rows, Rows, tuple]]


def mean_losses(tasks: Collected) -> torch_policy.Losses:
    """Surrogate and KL as means over tasks, gone through one by one."""

    def losses(params: Params, create_graph: bool) -> tuple[torch.Tensor, torch.Tensor]:
        each = [torch_policy.losses(params, *task, create_graph) for task in tasks]
        surrogates, divergences = zip(*each, strict=True)
        return torch.stack(surrogates).mean(), torch.stack(divergences).mean()

    return losses


def gather(params: Params, target: np.ndarray, generator: torch.Generator) -> tuple[Rows, Rows, tuple]:
    """One task's trajectories before and after its adaptation."""
    support = torch_policy.to_rows(torch_policy.sample(params, target[None], generator))
    adapted = [leaf.detach() for leaf in torch_policy.adapt(params, support, False)]
    query = torch_policy.to_rows(torch_policy.sample(adapted, target[None], generator))
    return support, query, torch_policy.remember(adapted, query)


def iterate(params: Params, rng: np.random.Generator, generator: torch.Generator) -> Params:
    """Gather and adapt task by task, and take TRPO's step."""
    tasks = [gather(params, target, generator) for target in navigation.goals(rng)]
    return torch_policy.trust_region_step(params, mean_losses(tasks))


def build() -> Callable[[], None]:
    """A function that makes one meta-iteration."""
    return peer_torch_batched.build(iterate)
