"""Gaussian processes whose kernel, length and size differ from task to task, as in papers on neural processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.io.checked import Count, Positive
from bmaml.io.registry import register
from bmaml.tasks.base import AbstractTasks, draw_shots, prefix_task
from bmaml.tasks.shots import shot_counts

Range = tuple[float, float]
Kernel = Literal["rbf", "matern", "periodic"]


def _rbf(distance: Array, length: Array, period: float) -> Array:
    del period
    return jnp.exp(-0.5 * (distance / length) ** 2)


def _matern(distance: Array, length: Array, period: float) -> Array:
    del period
    scaled = 5**0.5 * jnp.abs(distance) / length
    return (1 + scaled + scaled**2 / 3) * jnp.exp(-scaled)


def _periodic(distance: Array, length: Array, period: float) -> Array:
    return jnp.exp(-2 * (jnp.sin(jnp.pi * distance / period) / length) ** 2)


_CORRELATIONS: dict[str, Callable[[Array, Array, float], Array]] = {"rbf": _rbf, "matern": _matern, "periodic": _periodic}
KERNELS: tuple[Kernel, ...] = ("rbf", "matern", "periodic")
"""Names of the kernels: squared exponential, Matern 5/2, and periodic."""


class Process(eqx.Module):
    """The prior of one task's function: a Gaussian process.

    - `kernel`: which of the family's kernels, counted from 0.
    - `length`: length of the kernel, in units of x (periodic: of the sine).
    - `scale`: standard deviation of the function.
    """

    kernel: Int[Array, "*batch"]
    length: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


@register("tasks/gaussian-processes")
class GaussianProcesses(AbstractTasks):
    """y = f(x) + noise, where f is a Gaussian process of mean 0 with its own kernel, length and size, and x is uniform.

    The defaults for lengths, sizes, noise and inputs are those with which bootstrapping and transformer neural processes were
    tried: Lee et al. (2020), https://arxiv.org/abs/2008.02956; Nguyen and Grover (2022), https://arxiv.org/abs/2207.04179. The
    function itself is not kept, so squared errors are against noisy targets.

    - `shots`: support points. Several counts are equally likely.
    - `queries`: query points.
    - `kernels`: names of kernels, each equally likely: `"rbf"`, `"matern"` (5/2), `"periodic"`.
    - `length`, `scale`: ranges of the kernel's length and of the function's standard deviation. Each is uniform.
    - `period`: period of the periodic kernel, in units of x. It is the same for all tasks, so that the exact predictor is
      known: the posterior of an unknown period has peaks that are too many and too narrow to integrate over.
    - `noise`: standard deviation of the noise, in units of y.
    - `domain`: range of x.

    Raises: InputError for shots below 1, an unknown kernel, or a range that is no pair (low, high) of numbers above 0.

    >>> task = GaussianProcesses(shots=5).sample(jax.random.key(0))
    >>> task.support.x.shape, task.query.y.shape
    ((5, 1), (10, 1))
    """

    shots: tuple[int, ...] = eqx.field(static=True, default=(10,), converter=shot_counts)
    queries: Count = eqx.field(static=True, default=10)
    kernels: tuple[Kernel, ...] = eqx.field(static=True, default=("rbf",))
    length: Range = eqx.field(static=True, default=(0.1, 0.6))
    scale: Range = eqx.field(static=True, default=(0.1, 1.0))
    period: Positive = eqx.field(static=True, default=1.0)
    noise: Positive = eqx.field(static=True, default=0.02)
    domain: Range = eqx.field(static=True, default=(-2.0, 2.0))

    def __check_init__(self):
        if max(self.shots) < 1:
            raise InputError(f"shots are {self.shots}: give at least 1 (several shots may include 0).")
        if not self.kernels:
            raise InputError(f"there are no kernels: give some of {', '.join(KERNELS)}.")
        for name in ("length", "scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"the {name} of Gaussian processes is {(low, high)}: give a pair (low, high) above 0.")
        if not self.domain[0] < self.domain[1]:
            raise InputError(
                f"the domain of Gaussian processes is {self.domain}: give a pair (low, high), such as (-2.0, 2.0)."
            )

    @property
    def inputs(self):
        return 1

    @property
    def outputs(self):
        return 1

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return dataclasses.replace(self, shots=shots, queries=queries)

    def process(self, key: PRNGKeyArray) -> Process:
        """Return the prior of a new task's function."""
        kernel_key, length_key, scale_key = jax.random.split(key, 3)
        length, scale = (
            jax.random.uniform(k, minval=low, maxval=high)
            for k, (low, high) in ((length_key, self.length), (scale_key, self.scale))
        )
        return Process(jax.random.randint(kernel_key, (), 0, len(self.kernels)), length, scale)

    def covariance(self, process: Process, a: Float[Array, "n 1"], b: Float[Array, "m 1"]) -> Float[Array, "n m"]:
        """Return the covariance of the function of a `process` at inputs `a` with that at inputs `b`, without noise."""
        distance = a - b.T
        every = jnp.stack([_CORRELATIONS[name](distance, process.length, self.period) for name in self.kernels])
        return process.scale**2 * every[process.kernel]

    def points(self, process: Process, key: PRNGKeyArray, count: int) -> Data:
        """Return `count` noisy points of one function of a `process`."""
        x_key, y_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (count, 1), minval=self.domain[0], maxval=self.domain[1])
        covariance = self.covariance(process, x, x) + self.noise**2 * jnp.eye(count)
        y = jnp.linalg.cholesky(covariance, symmetrize_input=False) @ jax.random.normal(y_key, x.shape)
        return Data(x, y, jnp.ones(count, x.dtype))

    def sample(self, key):
        process_key, point_key, shot_key = jax.random.split(key, 3)
        rows = self.points(self.process(process_key), point_key, max(self.shots) + self.queries)
        return prefix_task(rows, draw_shots(shot_key, self.shots), max(self.shots))
