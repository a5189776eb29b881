"""Task sources made from others: a finite number of tasks, and supports with missing rows."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import Task
from bmaml.errors import InputError
from bmaml.io.checked import Seed
from bmaml.io.registry import register
from bmaml.tasks.base import AbstractDerivedTasks, AbstractTasks, scored


@register("tasks/finite")
class FiniteTasks(AbstractDerivedTasks):
    """A finite number of tasks of a source. A draw is one of them, equally likely.

    No task is kept in memory. A task is drawn again, with the same result, whenever it is needed.

    - `source`: the source.
    - `count`: number of tasks.
    - `seed`: seed and number of a task give the task's key.

    Raises: InputError for fewer than one task.
    """

    source: AbstractTasks
    count: int = eqx.field(static=True)
    seed: Seed = eqx.field(static=True, default=0)

    def __check_init__(self):
        if self.count < 1:
            raise InputError(f"{self.count} tasks: give at least 1.")

    @property
    def total(self):
        return self.count

    def sized(self, shots, queries):
        return dataclasses.replace(self, source=self.source.sized(shots, queries))

    def sample(self, key):
        return self.source.sample(self._key(self._which(key)))

    def truth(self, key, x):
        return self.source.truth(self._key(self._which(key)), x)

    def evaluation_task(self, key, index, given):
        del key
        return scored(self.source, self._key(index), given)

    def _which(self, key: PRNGKeyArray) -> Array:
        return jax.random.randint(key, (), 0, self.count)

    def _key(self, which: Array) -> PRNGKeyArray:
        return jax.random.fold_in(jax.random.key(self.seed), which)


@register("tasks/partial")
class PartialTasks(AbstractDerivedTasks):
    """Tasks of a `source` with a random part of their support: a share of the rows, uniform on (0, 1), but at least one row.

    Classes may then be missing from the support, as happens before someone has labelled an image of each class. Each draw takes
    a new part, so tasks are endless even if the source has a finite number.
    """

    source: AbstractTasks

    def sized(self, shots, queries):
        return dataclasses.replace(self, source=self.source.sized(shots, queries))

    def truth(self, key, x):
        return self.source.truth(jax.random.split(key, 3)[0], x)

    def sample(self, key):
        source_key, share_key, order_key = jax.random.split(key, 3)
        task = self.source.sample(source_key)
        mask = task.support.mask
        # Masked rows come last, so the first rows are a random part of the real ones.
        place = jnp.argsort(jnp.argsort(jax.random.uniform(order_key, mask.shape) + jnp.where(mask == 0, 1.0, 0.0)))
        share = jax.random.uniform(share_key) * (mask > 0).sum().astype(mask.dtype)
        kept = place < jnp.maximum(jnp.ceil(share), 1).astype(place.dtype)
        return Task(dataclasses.replace(task.support, mask=jnp.where(kept, mask, 0.0)), task.query)
