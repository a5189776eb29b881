"""Do all entries compute the same? This prints the largest differences on one set of trajectories and the same parameters.

Compared are every task's adapted parameters, the meta-gradient of the surrogate loss, and a product with the KL's Hessian.
Ours uses the Fisher form, and the peers use double backward.
"""

from __future__ import annotations

import navigation
import numpy as np
import ours
import peer_torch_batched
import peer_torch_loop
import torch
import torch_policy

Leaves = list[np.ndarray]


def _numpy(leaves: list[torch.Tensor]) -> Leaves:
    return [leaf.detach().numpy() for leaf in leaves]


def _of(params: torch_policy.Params, losses: torch_policy.Losses, tangent: Leaves) -> tuple[Leaves, Leaves]:
    gradient, product = torch_policy.curvature_of(params, losses)
    found = product(torch_policy.flat([torch.from_numpy(leaf) for leaf in tangent]))
    return _numpy(torch_policy.unflat(gradient, params)), _numpy(torch_policy.unflat(found, params))


def distance(found: Leaves, wanted: Leaves) -> float:
    """Largest absolute difference over all leaves, relative to the largest entry."""
    scale = max(np.abs(leaf).max() for leaf in wanted)
    return float(max(np.abs(a.reshape(b.shape) - b).max() for a, b in zip(found, wanted, strict=True)) / scale)


def agreement(tasks: int = 4) -> dict[str, float]:
    """Relative distances to the batched PyTorch entry, by entry and quantity."""
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    params = [torch.from_numpy(leaf).requires_grad_() for leaf in navigation.parameters(1)]
    tangent = [rng.standard_normal(leaf.shape).astype(np.float32) for leaf in params]
    targets = navigation.goals(rng, tasks)
    support = torch_policy.to_rows(torch_policy.sample(params, targets, generator))
    adapted = [leaf.detach() for leaf in torch_policy.adapt(params, support, False)]
    query = torch_policy.to_rows(torch_policy.sample(adapted, targets, generator))
    old = torch_policy.remember(adapted, query)
    gradient, product = _of(params, peer_torch_batched.mean_losses(support, query, old), tangent)

    each = [tuple(tuple(leaf[i : i + 1] for leaf in part) for part in (support, query, old)) for i in range(tasks)]
    looped = _of(params, peer_torch_loop.mean_losses(each), tangent)
    found = {"loop/gradient": distance(looped[0], gradient), "loop/product": distance(looped[1], product)}
    mine = ours.pieces(_numpy(params), tuple(map(np.asarray, support)), tuple(map(np.asarray, query)), tangent)
    wanted = {"adapted": _numpy(adapted), "gradient": gradient, "product": product}
    return found | {f"ours/{name}": distance(mine[i], leaves) for i, (name, leaves) in enumerate(wanted.items())}


if __name__ == "__main__":
    for name, gap in agreement().items():
        print(f"{name:16s} differs from batched PyTorch by {gap:.1e} of the largest entry")
