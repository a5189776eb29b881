"""The callback protocol: what a user's code can hear of a run, measure during the run, and ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import Array, PyTree

from bmaml.errors import BmamlError, InputError, first_sentence, said
from bmaml.learners.base import Meta
from bmaml.training.method import AbstractMethod
from bmaml.training.plan import Plan
from bmaml.training.records import Record

_Answer = TypeVar("_Answer")


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


class CallbackError(BmamlError, RuntimeError):
    """A callback raised an error, which is this one's cause.

    `run` is the run so far. If the run has a folder, a checkpoint was saved first, and `bmaml.resume` goes on from there.
    """

    run: Any = None


class Callbacks:
    """Several callbacks, each asked in turn.

    Every question raises CallbackError, which names the callback, if the callback's own code raises an error.
    """

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
            _asked(callback, hear)

    def measure(self, training: Training) -> Record:
        """Return the numbers that all callbacks add to a record of `training`.

        Raises: InputError if two numbers have the same name.
        """
        found: Record = {}
        for callback in self.several:
            new = _asked(callback, lambda one: {name: float(value) for name, value in one.measure(training).items()})
            if found.keys() & new.keys():
                raise InputError(f"two callbacks measure {min(found.keys() & new.keys())!r}: give each number its own name.")
            found |= new
        return found

    def record(self, training: Training, record: Record) -> str | None:
        """Let every callback hear a `record` of `training`; return the first reason to stop."""
        reasons = [_asked(callback, lambda one: one.record(training, dict(record))) for callback in self.several]
        return next((reason for reason in reasons if reason), None)

    def final(self, meta: Meta) -> Meta:
        """Return the meta-parameters that a finished run answers with."""
        for callback in self.several:
            meta = _asked(callback, lambda one, meta=meta: one.final(meta))
        return meta

    def state(self) -> dict[str, PyTree[Array]]:
        """Return the state of each callback that has one, under its place and class."""
        states = {
            f"{i}-{type(callback).__name__}": _asked(callback, lambda one: one.state())
            for i, callback in enumerate(self.several)
        }
        return {name: state for name, state in states.items() if state is not None}

    def restore(self, states: Mapping[str, PyTree[Array]]) -> None:
        """Give every callback its state from `states`."""
        for i, callback in enumerate(self.several):
            name = f"{i}-{type(callback).__name__}"
            if name in states:
                _asked(callback, lambda one, name=name: one.restore(states[name]))


def _asked(callback: Callback, ask: Callable[[Callback], _Answer]) -> _Answer:
    """Return what a callback answers. Errors of the library's own pass through, since they are sentences already."""
    try:
        return ask(callback)
    except BmamlError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {first_sentence(error)}"
        raise CallbackError(
            f"the callback {type(callback).__name__} raised an error ({why}): correct it and resume the run, or use the run "
            "that this error holds."
        ) from error
