"""MAML with `torch.func`: vmap over tasks of a functional inner step."""

from __future__ import annotations

from collections.abc import Callable

import sinusoids
import torch
from torch.func import grad, vmap

Params = dict[str, torch.Tensor]
SHOTS, INNER_LR, OUTER_LR = 10, 0.01, 1e-3


def predict(params: Params, x: torch.Tensor) -> torch.Tensor:
    """The 1-40-40-1 ReLU network: x (points, 1) to (points, 1)."""
    hidden = torch.relu(x @ params["weight0"] + params["bias0"])
    hidden = torch.relu(hidden @ params["weight1"] + params["bias1"])
    return hidden @ params["weight2"] + params["bias2"]


def mse(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the points."""
    return torch.nn.functional.mse_loss(predict(params, x), y)


def task_loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Query error after one differentiable step on the support."""
    slopes = grad(mse)(params, x[:SHOTS], y[:SHOTS])
    adapted = {name: params[name] - INNER_LR * slopes[name] for name in params}
    return mse(adapted, x[SHOTS:], y[SHOTS:])


def meta_loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean of the query errors over tasks."""
    return vmap(task_loss, in_dims=(None, 0, 0))(params, x, y).mean()


def meta_gradient(params: Params, x: torch.Tensor, y: torch.Tensor) -> Params:
    """The second-order meta-gradient, leaf by leaf."""
    return grad(meta_loss)(params, x, y)


def build(gradient: Callable[..., Params] = meta_gradient) -> Callable[[], None]:
    """A step that draws a batch and moves the parameters by Adam."""
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.from_numpy(leaf) for name, leaf in sinusoids.parameters(sinusoids.MAML_SIZES).items()}
    optimiser = torch.optim.Adam(params.values(), lr=OUTER_LR)

    def step() -> None:
        x, y = sinusoids.draw(generator, 2 * SHOTS)
        for name, slope in gradient(params, x, y).items():
            params[name].grad = slope
        optimiser.step()

    return step
