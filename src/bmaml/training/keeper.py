"""Keeps a run in its folder during training: checkpoints at fixed meta-steps, and one line for each record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Array, PyTree

from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.training.callbacks import Callbacks
from bmaml.training.method import TrainState
from bmaml.training.records import Record, as_line


class Keeper:
    """Keeps a run in a folder, with a checkpoint every `every` meta-steps. `create` makes the folder of a new run."""

    def __init__(self, folder: RunFolder, every: int, *, create: Callable[[], None] | None = None):
        self.folder, self.every, self.directory = folder, every, folder.path
        self._create, self._saved = create, 0 if create else folder.step()

    def begin(self, history: Sequence[Record]) -> None:
        """Make the folder, and write the lines of `history`, the records up to the checkpoint, so that later lines are
        dropped.
        """
        if self._create is not None:
            self._create()
        self.folder.begin_log("".join(as_line(record) for record in history))

    def record(self, record: Record) -> None:
        """Write the line of a `record`."""
        self.folder.log(as_line(record))

    def save(
        self,
        state: TrainState,
        step: int,
        history: Sequence[Record],
        notes: Mapping[str, Any],
        heard: Mapping[str, PyTree[Array]],
    ) -> bool:
        """Write a checkpoint, unless there is one of this meta-step; return whether one was written.

        - `state`, `step`: training state and meta-step.
        - `history`: records so far.
        - `notes`: further JSON.
        - `heard`: states of callbacks.
        """
        if step == self._saved:
            return False
        fields = {"meta": state.meta, "optimiser": state.optimiser, "step": state.step, "skipped": state.skipped}
        callbacks = {"callbacks": dict(heard)} if heard else {}
        content = fields | {"bad": state.bad} | callbacks
        self.folder.save(content, list(history), step, {**notes, "callbacks": sorted(heard)})
        self._saved = step
        return True

    def restore(self, callbacks: Callbacks) -> None:
        """Give `callbacks` the states that a checkpoint holds.

        Raises: InputError if they are not the callbacks that the run was trained with.
        """
        states = callbacks.state()
        if self._create is not None or not self._saved:
            return
        kept = self.folder.notes().get("callbacks", [])
        if kept != sorted(states):
            names = ", ".join(name.split("-")[1] for name in kept) or "no callback with a state"
            raise InputError(
                f"{self.directory} was trained with {names}: pass the same callbacks= when resuming, in the same order."
            )
        if states:
            content = self.folder.load({"callbacks": states})
            assert content is not None  # there is a checkpoint
            callbacks.restore(content["callbacks"])

    def forget(self) -> None:
        """Remove the folder of a new run that made no meta-step."""
        if self._create is not None and self.folder.exists:
            self.folder.forget()
