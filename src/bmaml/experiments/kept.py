"""Trainings that an experiment keeps in a folder: what is finished is used again, and what was interrupted goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.tasks.base import AbstractSource
from bmaml.training.callbacks import Callback
from bmaml.training.keeper import is_finished
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
        held = f"a run of {kept.steps:,} meta-steps and {plan.steps:,} are asked for"
        held = held if kept.steps != plan.steps else "a run with other settings"
        raise InputError(f"{path} holds {held}: use another --out, or delete it.")
    if progress is not None and is_finished(folder, plan):
        progress.say("trained already")
    # Whatever a file cannot hold of them, such as a method with a network of Python code, is here.
    return resume(path, method=method, outer=plan.outer, tasks=tasks, callbacks=callbacks, progress=progress)


class Trainings:
    """The trainings of an experiment, one after another: each says which of how many it is, and a folder keeps them.

    - `count`: how many there are.
    - `directory`: keeps the trainings, so that a second call goes on (None: nowhere).
    - `progress`: makes what shows a training from its title.
    """

    def __init__(self, count: int, directory: Path | None = None, progress: Callable[[str], Progress] | None = None):
        self.count, self.directory, self.progress = count, directory, progress
        self._place = 0

    def run(
        self,
        title: str,
        method: AbstractMethod,
        tasks: AbstractSource,
        plan: Plan,
        *,
        name: str | None = None,
        about: dict[str, str] | None = None,
        callbacks: Iterable[Callback] | Callback = (),
    ) -> Run:
        """Return the next training.

        - `title`: names it among all, such as "EMAML, 5 particles".
        - `method`, `tasks`, `plan`, `about`, `callbacks`: as in `bmaml.train`.
        - `name`: name of its folder; None makes one from the title, the meta-steps and the seed.

        Raises: InputError if the folder holds a training of something else; KeyboardInterrupt if Ctrl-C stopped it.
        """
        self._place += 1
        shown = self.progress and self.progress(f"training {self._place} of {self.count}: {title}, seed {plan.seed}")
        if self.directory is None:
            return train(method, tasks, plan, callbacks=callbacks, progress=shown)
        name = name or "-".join(re.findall(r"[a-z0-9]+", f"{title} {plan.steps} {plan.seed}".lower()))
        return kept_run(self.directory / name, method, tasks, plan, about=about, callbacks=callbacks, progress=shown)
