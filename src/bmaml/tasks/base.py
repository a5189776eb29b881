"""The contract of a task source, and the source that holds its tasks in memory."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.errors import InputError
from bmaml.io.registry import register

Selection = Literal["random", "first"]


class AbstractSource(eqx.Module):
    """What a run learns from: data to predict, or an environment to act in."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray) -> Any:
        """Return what tells one task from another, a pure function of the key."""


class AbstractTasks(AbstractSource):
    """Where tasks come from: a pure function of a key, so that tasks are drawn inside the compiled training loop."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray) -> Task:
        """Return one task; every draw has the same shapes (padded, masked)."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Width of an input row."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Width of a target row."""


def draw_shots(key: PRNGKeyArray, shots: tuple[int, ...]) -> Array:
    """Return one of the shot counts, each equally likely."""
    return jnp.asarray(shots)[jax.random.randint(key, (), 0, len(shots))]


@register("tasks/fixed")
class FixedTasks(AbstractTasks):
    """A finite set of tasks, ragged rows padded: a draw picks a task and splits its rows into support and query.

    `selection="random"` takes a random subset as the support; `"first"` takes the first rows as they stand (a forecast).
    The support has one of `shots` rows, equally likely among those that leave a task at least one row to ask for; up to
    `queries` of the other rows make the query (the nearest to the support's end where `selection="first"`).
    Raises: InputError where a task has fewer than two rows, or no more rows than the smallest shot count.
    """

    rows: Data
    shots: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    queries: int = eqx.field(static=True)
    selection: Selection = eqx.field(static=True, default="random")

    def __check_init__(self):
        # Inside a transformation the fields are tracers or placeholders, whose values nobody can check.
        if eqx.is_array(self.rows.mask) and not isinstance(self.rows.mask, Tracer):
            counts = self.rows.count
            if int(counts.min()) <= min(self.shots):
                raise InputError(
                    f"task {int(counts.argmin())} has {int(counts.min())} rows and the smallest shot count is "
                    f"{min(self.shots)}: a task needs at least one row more than that; use fewer shots."
                )

    @property
    def inputs(self):
        return self.rows.x.shape[-1]

    @property
    def outputs(self):
        return self.rows.y.shape[-1]

    def sample(self, key):
        task_key, split_key = jax.random.split(key)
        index = jax.random.randint(task_key, (), 0, len(self.rows.mask))
        return self.split(jax.tree.map(lambda leaf: leaf[index], self.rows), split_key)

    def split(self, rows: Data, key: PRNGKeyArray) -> Task:
        """Return one task's rows as support and query."""
        shot_key, order_key = jax.random.split(key)
        shots = jnp.asarray(self.shots)
        fits = jnp.where(shots < rows.count, 0.0, -jnp.inf)
        count = shots[jax.random.categorical(shot_key, fits)]
        return split_rows(self.ordered(rows, order_key), count, max(self.shots), self.queries)

    def ordered(self, rows: Data, key: PRNGKeyArray) -> Data:
        """Return one task's rows in the order in which they are given: at random, or as they stand."""
        if self.selection == "first":
            return rows
        # Masked rows sort last, so that the rows in front are a random order of the real ones.
        order = jnp.argsort(jax.random.uniform(key, rows.mask.shape) + (1 - rows.mask))
        return jax.tree.map(lambda leaf: leaf[order], rows)


def split_rows(rows: Data, count: Array | int, most: int, queries: int) -> Task:
    """Return the first `count` rows as the support (padded to `most`) and the next `queries` as the query."""
    most = min(most, len(rows.mask))
    support = jax.tree.map(lambda leaf: leaf[:most], rows)
    support = Data(support.x, support.y, support.mask * (jnp.arange(most) < count))
    place = count + jnp.arange(queries)
    there: Float[Array, " queries"] = (place < len(rows.mask)).astype(rows.mask.dtype)
    place = jnp.minimum(place, len(rows.mask) - 1)
    return Task(support, Data(rows.x[place], rows.y[place], rows.mask[place] * there))
