"""BMAML with its chaser loss in `torch.func`: vmap over tasks, and over particles inside."""

from __future__ import annotations

import math
from collections.abc import Callable

import sinusoids
import torch
from torch.func import grad, vmap

Params = dict[str, torch.Tensor]
SHOTS, PARTICLES, INNER_LR, OUTER_LR = 5, 10, 1e-3, 1e-3
GAMMA_PRIOR, LAMBDA_PRIOR = (2.0, 0.2), (2.0, 2.0)  # shape and rate, on the noise and the weight precision


def predict(params: Params, x: torch.Tensor) -> torch.Tensor:
    """One particle's 1-40-40-40-1 ReLU network: x (points, 1) to (points, 1)."""
    hidden = x
    for layer in range(3):
        hidden = torch.relu(hidden @ params[f"weight{layer}"] + params[f"bias{layer}"])
    return hidden @ params["weight3"] + params["bias3"]


def is_weight(name: str) -> bool:
    """Whether a leaf belongs to the network, not to the hyper-parameters."""
    return not name.startswith("log_")


def log_posterior(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Log joint of one particle in nats up to constants: sum over points, plus weight and Gamma priors."""
    log_gamma, log_lambda = params["log_gamma"], params["log_lambda"]
    gamma, lam = log_gamma.exp(), log_lambda.exp()
    likelihood = (0.5 * log_gamma - 0.5 * gamma * (predict(params, x) - y).square()).sum()
    weights = [leaf for name, leaf in params.items() if is_weight(name)]
    prior = sum((0.5 * log_lambda - 0.5 * lam * leaf.square()).sum() for leaf in weights)
    (a_gamma, b_gamma), (a_lambda, b_lambda) = GAMMA_PRIOR, LAMBDA_PRIOR
    return likelihood + prior + a_gamma * log_gamma - b_gamma * gamma + a_lambda * log_lambda - b_lambda * lam


def flatten(leaves: Params) -> torch.Tensor:
    """All leaves as one matrix (particles, parameters)."""
    return torch.cat([leaf.reshape(PARTICLES, -1) for leaf in leaves.values()], dim=1)


def unflatten(matrix: torch.Tensor, like: Params) -> Params:
    """The leaves of a matrix made by `flatten`."""
    sizes = [leaf[0].numel() for leaf in like.values()]
    parts = torch.split(matrix, sizes, dim=1)
    return {name: part.reshape(leaf.shape) for (name, leaf), part in zip(like.items(), parts, strict=True)}


def svgd_step(params: Params, x: torch.Tensor, y: torch.Tensor) -> Params:
    """One Stein step: RBF kernel, median bandwidth with log(n + 1), stopped, and the true gradient of the kernel."""
    theta = flatten(params)
    score = flatten(vmap(grad(log_posterior), in_dims=(0, None, None))(params, x, y))
    distance = (theta[:, None] - theta[None]).square().sum(-1)
    middle = distance.detach().flatten().sort().values[PARTICLES**2 // 2 - 1 : PARTICLES**2 // 2 + 1]
    bandwidth = middle.mean() / math.log(PARTICLES + 1)
    kernel = torch.exp(-distance / bandwidth)
    repulsion = 2 * (kernel.sum(1, keepdim=True) * theta - kernel @ theta) / bandwidth
    return unflatten(theta + INNER_LR * (kernel @ score + repulsion) / PARTICLES, params)


def task_loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Squared distance of the weights to a stopped leader one step further, on support and query together."""
    follower = svgd_step(params, x[:SHOTS], y[:SHOTS])
    leader = svgd_step(follower, x, y)
    return sum((follower[name] - leader[name].detach()).square().sum() for name in params if is_weight(name))


def meta_loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean of the chaser losses over tasks."""
    return vmap(task_loss, in_dims=(None, 0, 0))(params, x, y).mean()


def meta_gradient(params: Params, x: torch.Tensor, y: torch.Tensor) -> Params:
    """The second-order meta-gradient, leaf by leaf."""
    return grad(meta_loss)(params, x, y)


def build(gradient: Callable[..., Params] = meta_gradient) -> Callable[[], None]:
    """A step that draws a batch and moves all particles by Adam."""
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.from_numpy(leaf) for name, leaf in sinusoids.bayesian_parameters(PARTICLES).items()}
    optimiser = torch.optim.Adam(params.values(), lr=OUTER_LR)

    def step() -> None:
        x, y = sinusoids.draw(generator, 2 * SHOTS)
        for name, slope in gradient(params, x, y).items():
            params[name].grad = slope
        optimiser.step()

    return step
