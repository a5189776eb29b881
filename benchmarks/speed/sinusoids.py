"""The sinusoid batches and first parameters every peer starts from, in PyTorch and NumPy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from sizes import BMAML_SIZES as BMAML_SIZES
from sizes import MAML_SIZES as MAML_SIZES

TASKS = 10


def draw(generator: torch.Generator, points: int, tasks: int = TASKS) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one meta-batch of sinusoids: x and y, both (tasks, points, 1); amplitude, phase and frequency vary."""

    def uniform(shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    column = (tasks, 1, 1)
    amplitude, phase = uniform(column, 0.1, 5.0), uniform(column, 0.0, 2.0 * math.pi)
    frequency, x = uniform(column, 0.5, 2.0), uniform((tasks, points, 1), -5.0, 5.0)
    noise = torch.randn(x.shape, generator=generator)
    return x, amplitude * torch.sin(frequency * x - phase) + 0.01 * amplitude * noise


def parameters(sizes: tuple[int, ...], seed: int = 0, particles: int | None = None) -> dict[str, np.ndarray]:
    """Xavier weights (in, out) and small biases of an MLP; with `particles`, each leaf has that leading axis."""
    rng = np.random.default_rng(seed)
    lead = () if particles is None else (particles,)
    leaves: dict[str, np.ndarray] = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        scale = math.sqrt(2.0 / (fan_in + fan_out))
        leaves[f"weight{layer}"] = (scale * rng.standard_normal((*lead, fan_in, fan_out))).astype(np.float32)
        leaves[f"bias{layer}"] = (0.01 * rng.standard_normal((*lead, fan_out))).astype(np.float32)
    return leaves


def bayesian_parameters(particles: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """Particles of the BMAML network with a log noise precision near log 100 and a log weight precision near 0."""
    leaves = parameters(BMAML_SIZES, seed, particles)
    rng = np.random.default_rng(seed + 1)
    leaves["log_gamma"] = (math.log(100.0) + 0.001 * rng.standard_normal(particles)).astype(np.float32)
    leaves["log_lambda"] = (0.001 * rng.standard_normal(particles)).astype(np.float32)
    return leaves
