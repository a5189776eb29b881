"""Trainings that an experiment keeps in a folder: what is finished is used again, and what was interrupted goes on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.tasks.base import AbstractSource
from bmaml.training.callbacks import Callback
from bmaml.training.method import AbstractMethod
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress
from bmaml.training.run import Run, resume, train


def kept_run(
    path: Path,
    method: AbstractMethod,
    tasks: AbstractSource,
    plan: Plan,
    *,
    about: dict[str, Any] | None = None,
    callbacks: Iterable[Callback] | Callback = (),
    progress: Progress | None = None,
) -> Run:
    """Return the training that the folder `path` holds, trained to its end; a new folder gets a new training.

    `method`, `tasks`, `plan`, `about`, `callbacks` and `progress` are as in `bmaml.train`.
    Raises: InputError if the folder holds a training of something else; KeyboardInterrupt if Ctrl-C stopped the training, with
    its checkpoint saved.
    """
    wanted, folder = {"method": method, "tasks": tasks, "plan": plan}, RunFolder(path)
    if not folder.exists:
        return train(*wanted.values(), directory=path, about=about, callbacks=callbacks, progress=progress)
    if not folder.describes(wanted):
        (kept,) = folder.parts("plan", given={"plan.outer": plan.outer})
        raise InputError(
            f"{path} holds a run of {kept.steps} meta-steps and other settings than those of the "
            f"{plan.steps} meta-steps wanted now: use another --out, or delete it."
        )
    # Whatever a file cannot hold of them, such as a method with a network of Python code, is here.
    return resume(path, method=method, outer=plan.outer, tasks=tasks, callbacks=callbacks, progress=progress)
