"""Sinusoid families: those of MAML and BMAML, and PLATIPUS's ambiguous mixture with lines."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.errors import InputError
from bmaml.io.checked import NotNegative
from bmaml.io.registry import register
from bmaml.tasks.base import AbstractTasks, FixedTasks, ScoredTask, draw_shots, prefix_task, split_rows
from bmaml.tasks.shots import Shots, shot_counts

Range = tuple[float, float]


class Wave(eqx.Module):
    """The true function of one task: y = amplitude sin(frequency x - phase) + slope x + intercept.

    `noise` is the standard deviation of the noise.
    """

    amplitude: Float[Array, "*batch"]
    frequency: Float[Array, "*batch"]
    phase: Float[Array, "*batch"]
    slope: Float[Array, "*batch"]
    intercept: Float[Array, "*batch"]
    noise: Float[Array, "*batch"]

    def __call__(self, x: Array) -> Array:
        """Return the noise-free values at inputs `x`."""
        return self.amplitude * jnp.sin(self.frequency * x - self.phase) + self.slope * x + self.intercept


@register("tasks/sinusoids")
class Sinusoids(AbstractTasks):
    """y = A sin(w x - phi) + noise, with uniform x. The defaults are those of the code of Kim et al. (2018).

    From https://arxiv.org/abs/1806.03836. Each range is a pair (low, high) of a uniform distribution.

    - `shots`: support points. Several counts are equally likely, and 0 may be one of them, which trains the prediction before
      any point.
    - `queries`: query points.
    - `amplitude`, `phase`, `frequency`: ranges of A, phi and w.
    - `domain`: range of x.
    - `relative_noise`: noise deviation as a share of A.
    - `noise`: noise deviation in units of y, added to the relative one.
    - `lines`: probability that a task is a line, with slope and intercept ~ U[-3, 3] (Finn et al., 2018,
      https://arxiv.org/abs/1806.02817).

    Raises: InputError for shots below 0 or all 0, queries below 1, or a range that is no pair (low, high).

    >>> task = Sinusoids(shots=5).sample(jax.random.key(0))
    >>> task.support.x.shape, task.query.y.shape
    ((5, 1), (10, 1))
    """

    shots: tuple[int, ...] = eqx.field(static=True, default=(10,), converter=shot_counts)
    queries: int = eqx.field(static=True, default=10)
    amplitude: Range = eqx.field(static=True, default=(0.1, 5.0))
    phase: Range = eqx.field(static=True, default=(0.0, 2 * jnp.pi))
    frequency: Range = eqx.field(static=True, default=(0.5, 2.0))
    domain: Range = eqx.field(static=True, default=(-5.0, 5.0))
    relative_noise: NotNegative = eqx.field(static=True, default=0.01)
    noise: NotNegative = eqx.field(static=True, default=0.0)
    lines: NotNegative = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if max(self.shots) < 1 or self.queries < 1:
            raise InputError(
                f"shots {self.shots} and queries {self.queries}: give at least 1 of each (several shots may include 0)."
            )

        for name in ("amplitude", "phase", "frequency", "domain"):
            ends = getattr(self, name)
            if not ends[0] <= ends[1]:
                raise InputError(f"the {name} of sinusoids is {ends!r}: give a pair (low, high), such as (0.5, 2.0).")

    @property
    def inputs(self):
        return 1

    @property
    def outputs(self):
        return 1

    def wave(self, key: PRNGKeyArray) -> Wave:
        """Return the function of a new task."""
        keys = jax.random.split(key, 6)
        amplitude, phase, frequency = (
            jax.random.uniform(k, minval=low, maxval=high)
            for k, (low, high) in zip(keys, (self.amplitude, self.phase, self.frequency), strict=False)
        )
        line = (jax.random.uniform(keys[3]) < self.lines).astype(amplitude.dtype)
        slope, intercept = jax.random.uniform(keys[4], (2,), minval=-3.0, maxval=3.0) * line
        amplitude = amplitude * (1 - line)
        return Wave(amplitude, frequency, phase, slope, intercept, self.relative_noise * amplitude + self.noise)

    def points(self, wave: Wave, key: PRNGKeyArray, count: int) -> Data:
        """Return `count` noisy points of a `wave`."""
        x_key, noise_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (count, 1), minval=self.domain[0], maxval=self.domain[1])
        y = wave(x) + wave.noise * jax.random.normal(noise_key, x.shape)
        return Data(x, y, jnp.ones(count, x.dtype))

    def sample(self, key):
        wave_key, point_key, shot_key = jax.random.split(key, 3)
        rows = self.points(self.wave(wave_key), point_key, max(self.shots) + self.queries)
        if len(self.shots) == 1:
            return split_rows(rows, self.shots[0], self.shots[0], self.queries)
        return prefix_task(rows, draw_shots(shot_key, self.shots), max(self.shots))

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return dataclasses.replace(self, shots=shots, queries=queries)

    def truth(self, key, x):
        return self.wave(jax.random.split(key, 3)[0])(x)

    def evaluation_task(self, key, index, given):
        # Support and query are drawn separately, so that neither depends on the size of the other.
        del index
        most, (wave_key, support_key, query_key) = max(self.shots), jax.random.split(key, 3)
        wave = self.wave(wave_key)
        support, query = self.points(wave, support_key, most), self.points(wave, query_key, self.queries)
        support = dataclasses.replace(support, mask=jnp.where(jnp.arange(most) < given, support.mask, 0.0))
        return ScoredTask(Task(support, query), wave(query.x))

    def fixed(self, tasks: int, samples: int, key: PRNGKeyArray) -> FixedTasks:
        """Return a finite set of `tasks` tasks with `samples` noisy points each, all drawn once."""

        def draw_task(key: PRNGKeyArray) -> Data:
            wave_key, point_key = jax.random.split(key)
            return self.points(self.wave(wave_key), point_key, samples)

        return FixedTasks(jax.vmap(draw_task)(jax.random.split(key, tasks)), self.shots, self.queries)


def maml_sinusoids(shots: Shots = 10, queries: int = 10) -> Sinusoids:
    """MAML's own family with `shots` and `queries`: frequency 1, phase U[0, pi], no noise.

    From Finn et al. (2017), section 5.1, https://arxiv.org/abs/1703.03400.
    """
    return Sinusoids(shots, queries, phase=(0.0, float(jnp.pi)), frequency=(1.0, 1.0), relative_noise=0.0)


def ambiguous(shots: Shots = 5, queries: int = 10) -> Sinusoids:
    """A sinusoid or a line, each with probability 1/2, with noise deviation 0.3, `shots` and `queries`.

    The ambiguous family of Finn et al. (2018), https://arxiv.org/abs/1806.02817.
    """
    return Sinusoids(
        shot_counts(shots), queries, phase=(0.0, float(jnp.pi)), frequency=(1.0, 1.0), relative_noise=0.0, noise=0.3, lines=0.5
    )
