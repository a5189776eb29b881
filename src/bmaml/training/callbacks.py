"""The callback protocol: what a user's code can hear of a run, measure during the run, and ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Array, PyTree

from bmaml.errors import InputError, said
from bmaml.learners.base import Meta
from bmaml.training.method import AbstractMethod
from bmaml.training.plan import Plan
from bmaml.training.records import Record


@dataclasses.dataclass(frozen=True)
class Training:
    """A run as a callback sees it.

    - `method`, `plan`: what is trained, and how.
    - `step`: meta-steps made so far.
    - `meta`: meta-parameters after these meta-steps. The loop reuses their memory, so copy what you keep
      (`jax.tree.map(jnp.copy, training.meta)`).
    - `directory`: where the run is saved, or None.
    """

    method: AbstractMethod
    plan: Plan
    step: int
    meta: Meta
    directory: Path | None = None

    def settings(self) -> dict[str, str | int]:
        """Return what a tracker shows of a run."""
        plan = self.plan
        return {
            "method": self.method.name or "without a name",
            "learner": type(self.method.learner).__name__,
            "objective": type(self.method.objective).__name__,
            "outer": type(plan.outer).__name__,
            "steps": plan.steps,
            "batch": plan.batch,
            "seed": plan.seed,
        }


class Callback:
    """Hears of a run between two chunks of meta-steps, never inside the compiled program. The base class does nothing.

    Subclass it and write the methods that you need. Records end at fixed meta-steps (`Plan.record_every`), and with a callback
    the loop stops at each of them. So a callback sees the same records, and ends a run at the same place, on every machine. A
    callback's `state` is part of the checkpoint, so a resumed run equals the uninterrupted one.
    """

    def start(self, training: Training) -> None:
        """Hear that the program is compiled and `training` begins, or continues, at `training.step`."""

    def measure(self, training: Training) -> Mapping[str, float]:
        """Return further numbers by name for the record that is due now; `training` is the run."""
        return {}

    def record(self, training: Training, record: Record) -> str | None:
        """Hear a `record` of `training`: `step`, `loss` and all other numbers. Return a reason to stop training, or None."""

    def checkpoint(self, training: Training) -> None:
        """Hear that a checkpoint of `training.step` has been written; `training` is the run."""

    def final(self, meta: Meta) -> Meta:
        """Return the meta-parameters that a finished run answers with, given the last ones."""
        return meta

    def close(self) -> None:
        """Hear that training has ended, for whatever reason."""

    def state(self) -> PyTree[Array]:
        """Return the arrays that a resumed run needs, in the same shapes from `start` on, or None."""
        return None

    def restore(self, state: PyTree[Array]) -> None:
        """Continue from the `state` of a checkpoint. This is called after `start`."""


class Callbacks:
    """Several callbacks, each asked in turn."""

    def __init__(self, several: Iterable[Callback] | Callback = ()):
        self.several = tuple(several) if isinstance(several, Iterable) else (several,)
        for callback in self.several:
            if not isinstance(callback, Callback):
                raise InputError(
                    f"a callback is {said(callback)}: give an object of a class that inherits from bmaml.Callback."
                )

    def __bool__(self) -> bool:
        return bool(self.several)

    def tell(self, hear: Callable[[Callback], Any]) -> None:
        """Call `hear` with every callback."""
        for callback in self.several:
            hear(callback)

    def measure(self, training: Training) -> Record:
        """Return the numbers that all callbacks add to a record of `training`.

        Raises: InputError if two numbers have the same name.
        """
        found: Record = {}
        for callback in self.several:
            new = {name: float(value) for name, value in callback.measure(training).items()}
            if found.keys() & new.keys():
                raise InputError(f"two callbacks measure {min(found.keys() & new.keys())!r}: give each number its own name.")
            found |= new
        return found

    def record(self, training: Training, record: Record) -> str | None:
        """Let every callback hear a `record` of `training`; return the first reason to stop."""
        reasons = [callback.record(training, dict(record)) for callback in self.several]
        return next((reason for reason in reasons if reason), None)

    def final(self, meta: Meta) -> Meta:
        """Return the meta-parameters that a finished run answers with."""
        for callback in self.several:
            meta = callback.final(meta)
        return meta

    def state(self) -> dict[str, PyTree[Array]]:
        """Return the state of each callback that has one, under its place and class."""
        states = {f"{i}-{type(callback).__name__}": callback.state() for i, callback in enumerate(self.several)}
        return {name: state for name, state in states.items() if state is not None}

    def restore(self, states: Mapping[str, PyTree[Array]]) -> None:
        """Give every callback its state from `states`."""
        for i, callback in enumerate(self.several):
            name = f"{i}-{type(callback).__name__}"
            if name in states:
                callback.restore(states[name])
