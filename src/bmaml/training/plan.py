"""How long and how to train."""

from __future__ import annotations

import equinox as eqx

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.training.optimisers import AbstractOuter, Adam


@register("plan/plan")
class Plan(eqx.Module):
    """How long and how to train: meta-steps, tasks in a meta-batch, outer optimiser, seed.

    A meta-batch is worked off in `accumulation_steps` equal groups whose gradients are added: the same gradient in less
    memory, and on a CPU up to twice as fast where a group's activations fit the cache and the whole batch's do not. More than
    `skip_limit` meta-steps with a loss or gradient that is not finite stop the run.
    Raises: InputError for fewer than one step or task, groups that do not divide the batch, or a seed that is negative or
    above 32 bits.
    """

    steps: int = eqx.field(static=True, default=20_000)
    batch: int = eqx.field(static=True, default=16)
    outer: AbstractOuter = Adam()
    seed: int = eqx.field(static=True, default=0)
    accumulation_steps: int = eqx.field(static=True, default=1)
    skip_limit: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        if self.steps < 1 or self.batch < 1:
            raise InputError(f"{self.steps} steps and meta-batches of {self.batch} tasks: give at least 1 of each.")
        if self.accumulation_steps < 1 or self.batch % self.accumulation_steps:
            raise InputError(
                f"{self.accumulation_steps} groups do not divide a meta-batch of {self.batch} tasks: give a divisor."
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}: give a whole number from 0 to 4294967295.")
