"""2-D navigation in NumPy, its linear feature baseline, and the sizes and first weights that every entry starts from.

A point starts at the origin and moves by its action, clipped to 0.1 in each coordinate. Its reward is minus the squared
distance to the task's goal, which is drawn from the unit square about the origin. An episode ends within 0.01 of the goal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

TASKS, TRAJECTORIES, STEPS = 40, 20, 100
SIZES = (2, 100, 100, 2)
INNER_RATE, KL_LIMIT, DAMPING, CG_STEPS, HALVINGS = 0.1, 0.01, 1e-5, 10, 15
DISCOUNT, RIDGE = 0.99, 1e-5


class Navigation:
    """Points of several tasks at once: states are (tasks, trajectories, 2)."""

    def __init__(self, goals: np.ndarray, trajectories: int = TRAJECTORIES):
        self.goals = goals[:, None]
        self.place = np.zeros((len(goals), trajectories, 2), np.float32)
        self.going = np.ones(self.place.shape[:2], bool)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Move every point that is not done; return the rewards."""
        moved = self.place + np.clip(action, -0.1, 0.1)
        self.place = np.where(self.going[..., None], moved, self.place)
        gap = self.place - self.goals
        self.going &= ~(np.abs(gap) < 0.01).all(-1)
        return -(gap**2).sum(-1)


def goals(rng: np.random.Generator, tasks: int = TASKS) -> np.ndarray:
    """Draw goals uniformly from the unit square about the origin."""
    return rng.uniform(-0.5, 0.5, (tasks, 2)).astype(np.float32)


@dataclass
class Trajectories:
    """Rows of several tasks' trajectories: (tasks, trajectories, steps, ...); the mask is 0 after an end."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return observations, actions, advantages and mask with the trajectories of a task on one axis."""
        flat = (len(self.mask), -1)
        advantages = normalised(advantage(self), self.mask)
        return (
            self.observations.reshape(*flat, 2),
            self.actions.reshape(*flat, 2),
            advantages.reshape(flat).astype(np.float32),
            self.mask.reshape(flat).astype(np.float32),
        )


def advantage(found: Trajectories) -> np.ndarray:
    """Discounted return minus the linear feature baseline fitted to each task's trajectories."""
    returns, later = np.zeros_like(found.rewards), 0.0
    for step in reversed(range(STEPS)):
        later = (found.rewards[..., step] + DISCOUNT * later) * found.mask[..., step]
        returns[..., step] = later
    time = np.broadcast_to(np.arange(STEPS, dtype=np.float32)[:, None] / 100.0, (*found.mask.shape, 1))
    x = found.observations
    features = np.concatenate([x, x**2, time, time**2, time**3, np.ones_like(time)], -1) * found.mask[..., None]
    flat = features.reshape(len(features), -1, features.shape[-1])
    gram = np.swapaxes(flat, 1, 2) @ flat + RIDGE * np.eye(flat.shape[-1], dtype=flat.dtype)
    weights = np.linalg.solve(gram, np.swapaxes(flat, 1, 2) @ returns.reshape(len(flat), -1, 1))
    return returns - (flat @ weights).reshape(returns.shape)


def normalised(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Each task's advantages with mean 0 and deviation 1 over its steps."""
    axes, count = (1, 2), mask.sum((1, 2), keepdims=True)
    centred = (values - (values * mask).sum(axes, keepdims=True) / count) * mask
    return centred / (np.sqrt((centred**2).sum(axes, keepdims=True) / count) + 1e-8)


def parameters(seed: int = 0) -> list[np.ndarray]:
    """Glorot-uniform weights (in, out), zero biases (1, out), and the log deviations (1, 2) of the actions."""
    rng, leaves = np.random.default_rng(seed), []
    for fan_in, fan_out in pairwise(SIZES):
        limit = np.sqrt(6.0 / (fan_in + fan_out))
        leaves += [rng.uniform(-limit, limit, (fan_in, fan_out)), np.zeros((1, fan_out))]
    return [leaf.astype(np.float32) for leaf in [*leaves, np.zeros((1, SIZES[-1]))]]
