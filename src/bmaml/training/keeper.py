"""Keeps a run in its folder during training: checkpoints at fixed meta-steps, and one line for each record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Array, PyTree

from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder, is_number
from bmaml.training.callbacks import Callbacks
from bmaml.training.method import TrainState
from bmaml.training.plan import Plan
from bmaml.training.records import Record, as_line


@dataclasses.dataclass(frozen=True)
class Notes:
    """What a checkpoint notes besides arrays and records.

    - `seconds`: time spent on training so far.
    - `stopped`: why a callback ended the run, if one did.
    - `part`: the sums of the record that is not complete yet.
    - `callbacks`: names of the callbacks that have a state.
    - `pending`: whether callbacks still have to say what the run, whose meta-steps are done, answers with.
    """

    seconds: float = 0.0
    stopped: str | None = None
    part: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    callbacks: Sequence[str] = ()
    pending: bool = False

    @classmethod
    def read(cls, folder: RunFolder) -> Notes:
        """Return the notes of the newest checkpoint in `folder`.

        Raises: InputError if the manifest notes something else.
        """
        # Checked before an object is made of them: a file may hold anything.
        noted = dataclasses.asdict(cls())
        noted |= {name: value for name, value in folder.notes().items() if name in noted}
        sums = noted["part"].values() if isinstance(noted["part"], dict) else [None]
        whole = is_number(noted["seconds"]) and isinstance(noted["stopped"], str | None) and all(map(_is_sum, sums))
        names = noted["callbacks"] if isinstance(noted["callbacks"], Sequence) else [None]
        if not whole or not isinstance(noted["pending"], bool) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{folder.path / 'manifest.json'} is damaged (its notes): restore it from a copy.")
        return cls(**noted)


def is_finished(folder: RunFolder, plan: Plan) -> bool:
    """Return whether the run in `folder` has made the meta-steps of `plan`, or was ended by a callback, and has its answers.

    Raises: InputError if the manifest is damaged.
    """
    notes = Notes.read(folder)
    return not notes.pending and (notes.stopped is not None or folder.step() >= plan.steps)


def _is_sum(value: Any) -> bool:
    return is_number(value) or (isinstance(value, list) and len(value) == 2 and all(map(is_number, value)))


class Keeper:
    """Keeps a run in a folder, with a checkpoint every `every` meta-steps. `create` makes the folder of a new run."""

    def __init__(self, folder: RunFolder, every: int, *, create: Callable[[], None] | None = None):
        self.folder, self.every, self.directory = folder, every, folder.path
        self._create, self._made = create, False
        # The meta-step of the newest checkpoint, and whether it is pending.
        self._saved = (0, False) if create else (folder.step(), Notes.read(folder).pending)

    def begin(self, history: Sequence[Record]) -> None:
        """Make the folder, and write the lines of `history`, the records up to the checkpoint, so that later lines are
        dropped.
        """
        if self._create is not None:
            self._create()
            self._made = True
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
        """Write a checkpoint, unless there is one of this meta-step (and not pending); return whether one was written.

        - `state`, `step`: training state and meta-step.
        - `history`: records so far.
        - `notes`: further JSON.
        - `heard`: states of callbacks.
        """
        now = (step, bool(notes.get("pending")))
        if now == self._saved:
            return False
        fields = {"meta": state.meta, "optimiser": state.optimiser, "step": state.step, "skipped": state.skipped}
        callbacks = {"callbacks": dict(heard)} if heard else {}
        content = fields | {"bad": state.bad} | callbacks
        self.folder.save(content, list(history), step, {**notes, "callbacks": sorted(heard)})
        self._saved = now
        return True

    def restore(self, callbacks: Callbacks) -> None:
        """Give `callbacks` the states that a checkpoint holds.

        Raises: InputError if they are not the callbacks that the run was trained with.
        """
        states = callbacks.state()
        if self._create is not None or not self._saved[0]:
            return
        kept = list(Notes.read(self.folder).callbacks)
        if kept != sorted(states):
            names = ", ".join(name.split("-")[-1] for name in kept) or "no callback with a state"
            raise InputError(
                f"{self.directory} was trained with {names}: pass the same callbacks= when resuming, in the same order.",
                typed=f"{self.directory} was trained with {names}: resume it in Python, where bmaml.resume takes callbacks.",
            )
        if states:
            content = self.folder.load({"callbacks": states})
            assert content is not None  # there is a checkpoint
            callbacks.restore(content["callbacks"])

    def forget(self) -> None:
        """Remove the folder of a new run that made no meta-step. A folder that could not be made may be another training's."""
        if self._made:
            self.folder.forget()


class Reader(Keeper):
    """What keeps a run in a process that is not the first of several: it reads checkpoints and writes nothing.

    `new` says whether the run begins.
    """

    def __init__(self, folder: RunFolder, every: int, *, new: bool):
        super().__init__(folder, every, create=_nothing if new else None)

    def begin(self, history):
        """Write nothing of `history`."""

    def record(self, record):
        """Write no line of `record`."""

    def save(self, state, step, history, notes, heard):
        """Write no checkpoint, and say so; `state`, `step`, `history`, `notes` and `heard` are as for `Keeper`."""
        return False

    def forget(self):
        """Remove nothing."""


def _nothing() -> None:
    """Make no folder."""
