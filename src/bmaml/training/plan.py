"""How long and how to train."""

from __future__ import annotations

import equinox as eqx

from bmaml.errors import InputError
from bmaml.io.checked import Seed
from bmaml.io.registry import register
from bmaml.training.optimisers import AbstractOuter, Adam, as_outer

# Number of records of a run, unless its plan says otherwise.
_RECORDS = 200
_MOST = 2**31 - 2**20


@register("plan/plan")
class Plan(eqx.Module):
    """How long and how to train.

    - `steps`: meta-steps.
    - `batch`: tasks in a meta-batch.
    - `outer`: outer optimiser, or an optax transformation.
    - `seed`: seed of everything random.
    - `accumulation_steps`: equal groups of a meta-batch whose gradients are added. The gradient is the same and needs less
      memory. On a CPU this is up to twice as fast, if the activations of a group fit the cache and those of the batch do not.
    - `skip_limit`: a run stops after more than this many meta-steps with a loss or gradient that is not finite.
    - `record_every`: meta-steps in a record of metrics (None: a two-hundredth of the run), however the run was interrupted.

    Raises: InputError for an `outer` that is no optimiser, fewer than one step, task or meta-step
    in a record, groups that do not divide the batch, or a seed that is negative or above 32 bits.
    """

    steps: int = eqx.field(static=True, default=20_000)
    batch: int = eqx.field(static=True, default=16)
    outer: AbstractOuter = eqx.field(converter=as_outer, default=Adam())
    seed: Seed = eqx.field(static=True, default=0)
    accumulation_steps: int = eqx.field(static=True, default=1)
    skip_limit: int = eqx.field(static=True, default=100)
    record_every: int | None = eqx.field(static=True, default=None)

    @property
    def record_length(self) -> int:
        """How many meta-steps a record covers."""
        return self.record_every or max(self.steps // _RECORDS, 1)

    def __check_init__(self):
        if self.record_every is not None and self.record_every < 1:
            raise InputError(f"a record covers {self.record_every} meta-steps: give at least 1, or None.")
        if self.steps < 1 or self.batch < 1:
            raise InputError(f"{self.steps} steps and meta-batches of {self.batch} tasks: give at least 1 of each.")
        # The device counts in 32 bits.
        if max(self.steps, self.batch) >= _MOST:
            raise InputError(f"{self.steps} steps and meta-batches of {self.batch} tasks: give less than {_MOST} of each.")
        if self.accumulation_steps < 1 or self.batch % self.accumulation_steps:
            raise InputError(
                f"{self.accumulation_steps} groups do not divide a meta-batch of {self.batch} tasks: give a divisor."
            )
