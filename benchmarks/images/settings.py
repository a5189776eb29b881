"""What every entry computes: sizes, rates, the images and the first parameters, in NumPy."""

from __future__ import annotations

import math

import numpy as np

SHAPE, FILTERS, WAY, SHOTS, QUERIES = (28, 28, 1), 32, 5, 1, 15
TASKS = 8  # of a meta-batch
INNER_LR, OUTER_LR = 0.1, 1e-3
PARTICLES, HEAD_LR = 10, 0.01
SUPPORT = WAY * SHOTS
WEIGHT_PRIOR = (2.0, 2.0)  # shape and rate of the Gamma prior of a head's weight precision

Leaves = dict[str, np.ndarray]


def parameters(seed: int = 0, particles: int | None = None) -> Leaves:
    """Conv-4's kernels (9 * channels, filters), norms, and a linear head; with `particles` the head has that leading axis."""
    rng = np.random.default_rng(seed)
    leaves: Leaves = {}
    for layer, fan in enumerate((9 * SHAPE[2], *[9 * FILTERS] * 3)):
        leaves[f"kernel{layer}"] = (math.sqrt(2 / fan) * rng.standard_normal((fan, FILTERS))).astype(np.float32)
        leaves[f"scale{layer}"] = (1 + 0.1 * rng.standard_normal(FILTERS)).astype(np.float32)
        leaves[f"bias{layer}"] = (0.1 * rng.standard_normal(FILTERS)).astype(np.float32)
    lead = () if particles is None else (particles,)
    leaves["weight"] = (rng.standard_normal((*lead, FILTERS, WAY)) / math.sqrt(FILTERS)).astype(np.float32)
    leaves["bias"] = (0.1 * rng.standard_normal((*lead, WAY))).astype(np.float32)
    if particles is not None:
        leaves["log_lambda"] = (0.1 * rng.standard_normal(particles)).astype(np.float32)
    return leaves


def images(seed: int = 0, tasks: int = TASKS) -> np.ndarray:
    """A meta-batch of random images (tasks, support + query, height * width * channels): row i is of class i mod way."""
    rng = np.random.default_rng(seed)
    rows = WAY * (SHOTS + QUERIES)
    return rng.uniform(size=(tasks, rows, math.prod(SHAPE))).astype(np.float32)


def labels(rows: int) -> np.ndarray:
    """The class of each row."""
    return np.arange(rows) % WAY
