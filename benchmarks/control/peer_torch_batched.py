"""A MAML-TRPO meta-iteration in PyTorch with all tasks in batched matrix products."""

from __future__ import annotations

from collections.abc import Callable

import navigation
import numpy as np
import torch
import torch_policy
from torch_policy import Params, Rows


def mean_losses(support: Rows, query: Rows, old: tuple) -> torch_policy.Losses:
    """Surrogate and KL as means over tasks, a function of the meta-parameters."""

    def losses(params: Params, create_graph: bool) -> tuple[torch.Tensor, torch.Tensor]:
        surrogate, divergence = torch_policy.losses(params, support, query, old, create_graph)
        return surrogate / len(old[0]), divergence / len(old[0])

    return losses


def iterate(params: Params, rng: np.random.Generator, generator: torch.Generator) -> Params:
    """Gather, adapt, gather again, and take TRPO's step."""
    targets = navigation.goals(rng)
    support = torch_policy.to_rows(torch_policy.sample(params, targets, generator))
    adapted = [leaf.detach() for leaf in torch_policy.adapt(params, support, False)]
    query = torch_policy.to_rows(torch_policy.sample(adapted, targets, generator))
    return torch_policy.trust_region_step(params, mean_losses(support, query, torch_policy.remember(adapted, query)))


def build(iterate: Callable[..., Params] = iterate) -> Callable[[], None]:
    """A function that makes one meta-iteration."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    params = [torch.from_numpy(leaf).requires_grad_() for leaf in navigation.parameters()]

    def step() -> None:
        nonlocal params
        params = iterate(params, rng, generator)

    return step
