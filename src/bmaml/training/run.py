"""Training as one call, and what comes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Generic, overload

import equinox as eqx
import jax
from jax.typing import ArrayLike

from bmaml.data import Data, data
from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.io.config import NotSaved
from bmaml.learners.base import Meta
from bmaml.tasks.base import AbstractSource
from bmaml.training.interrupt import Interrupt
from bmaml.training.loop import Loop, Progress
from bmaml.training.memory import NoRoomError
from bmaml.training.method import AbstractMethod, Adapted, Given, TrainState
from bmaml.training.optimisers import AbstractOuter, Adam
from bmaml.training.plan import Plan


class Run(eqx.Module, Generic[Given, Adapted]):
    """A trained (or interrupted) run: a method, its meta-parameters, and how the loss went."""

    method: AbstractMethod[Given, Adapted]
    meta: Meta
    step: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    skipped: int = eqx.field(static=True, default=0)
    history: list[dict[str, float]] = eqx.field(static=True, default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether training reached the end of its plan."""
        return self.step >= self.steps

    def whole(self) -> Run[Given, Adapted]:
        """Return the run, for callers that have no use for a part of one.

        Raises: KeyboardInterrupt where Ctrl-C stopped it.
        """
        if not self.finished:
            raise KeyboardInterrupt
        return self

    @overload
    def adapt(self: Run[Data, Adapted], given: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Adapted: ...

    @overload
    def adapt(self, given: Given, *, seed: int = 0) -> Adapted: ...

    def adapt(self, given, y=None, *, seed=0):
        """Return what is believed of a new task, from `x` of shape (n, inputs) and `y` of (n, outputs), or a `Data`.

        A run of policies is given trajectories instead, and returns an adapted policy.
        Raises: InputError where the numbers of rows differ, or what is given is of another kind than the method learns from.
        """
        return self.method.adapt(self.meta, given if y is None else data(given, y), key=jax.random.key(seed))  # pyright: ignore[reportArgumentType]


def _result(loop: Loop, history: list[dict[str, float]]) -> Run:
    state = loop.state
    return Run(loop.method, state.meta, loop.step, loop.plan.steps, int(state.skipped), history)


def train(
    method: AbstractMethod[Given, Adapted],
    tasks: AbstractSource,
    plan: Plan | None = None,
    *,
    directory: str | Path | None = None,
    about: dict[str, Any] | None = None,
    save_every: int | None = None,
    keep: int = 3,
    progress: Progress | None = None,
    **options: Any,
) -> Run[Given, Adapted]:
    """Meta-train a method on a task source.

    `plan` says how long and how; `options` change single fields of it (`steps`, `batch`, `outer`, `seed`). With a
    `directory` the run is saved there every `save_every` meta-steps (a tenth of the run by default) and at the end or on
    Ctrl-C, and `resume` goes on from it. Returns the run so far where Ctrl-C stopped it (`run.finished` is then False; before
    the first meta-step nothing is kept).
    Raises: InputError where the directory holds a run already or cannot be written; NoRoomError (an InputError) where
    the program needs more memory than is free; NonFiniteError past the plan's limit; InputError for `save_every` or `keep`
    below 1.
    """
    if keep < 1 or (save_every is not None and save_every < 1):
        raise InputError(f"save_every is {save_every} and keep {keep}: give at least 1 of each.")
    plan = dataclasses.replace(plan or Plan(), **options)
    method.check(tasks)
    with Interrupt() as interrupt:
        if directory is None:
            loop = Loop(method, tasks, plan)
            loop.run(progress=progress, interrupt=interrupt)
            return _result(loop, loop.history)
        folder = RunFolder(directory, keep)
        folder.create({"method": method, "tasks": tasks, "plan": plan, "options": {"save_every": save_every}}, about or {})
        try:
            run = _saved_run(folder, Loop(method, tasks, plan), save_every, progress, interrupt)
        except NoRoomError:
            folder.forget()
            raise
        if not run.step:
            folder.forget()
        return run


def _saved_run(folder: RunFolder, loop: Loop, save_every: int | None, progress: Progress | None, interrupt: Interrupt) -> Run:
    every = save_every or max(loop.plan.steps // 10, 1)
    earlier = folder.history()

    def save(loop: Loop) -> None:
        folder.save(loop.state, earlier + loop.history, loop.step)

    def on_chunk(loop: Loop) -> None:
        if loop.step % every == 0:
            save(loop)

    began = loop.step
    loop.run(progress=progress, on_chunk=on_chunk, boundary=every, interrupt=interrupt)
    if loop.step > began and loop.step % every:
        save(loop)
    return _result(loop, earlier + loop.history)


def resume(
    directory: str | Path,
    *,
    method: AbstractMethod | None = None,
    outer: AbstractOuter | None = None,
    tasks: AbstractSource | None = None,
    progress: Progress | None = None,
    keep: int = 3,
) -> Run:
    """Go on with a saved run from its last checkpoint; the result is bit for bit that of a run never stopped.

    `method`, `outer` (the outer optimiser) and `tasks` are needed only where the file could not hold them: Python functions,
    optax transformations, classes without a registered name (`bmaml.register`).
    Raises: InputError where the folder holds no run or a damaged one; NotSaved (an InputError), naming the part, where a part
    is missing from the file and is not given.
    """
    folder = RunFolder(directory, keep)
    given = _given(method=method, tasks=tasks) | _given(**{"plan.outer": outer})
    made, plan, source, options = folder.parts("method", "plan", "tasks", "options", given=given)
    if source is None:
        raise InputError(f"{directory} was saved without the tasks that it was trained on: pass tasks= to go on.")
    with Interrupt() as interrupt:
        loop = Loop(made, source, plan, folder.load(_shapes(folder, made, plan)))
        if loop.step >= plan.steps:
            return _result(loop, folder.history())
        return _saved_run(folder, loop, options["save_every"], progress, interrupt)


def _given(**parts: Any) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part is not None}


def _shapes(folder: RunFolder, method: AbstractMethod, plan: Plan) -> TrainState:
    """Return the shapes of a checkpoint.

    Raises: InputError where the settings, which a file may hold in any combination, do not make a run.
    """
    try:
        return eqx.filter_eval_shape(lambda: method.begin(plan))
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise InputError(f"{folder.path} describes a method that cannot begin ({_first_line(error)}): restore it.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def load(directory: str | Path, *, method: AbstractMethod | None = None) -> Run:
    """Return a saved run, from its last checkpoint, by name alone.

    `method` is needed only where the file could not hold it: it has Python functions, or classes without a registered name
    (`bmaml.register`). The tasks and the outer optimiser are not needed to predict.
    Raises: InputError where the folder holds no run, a damaged one, or one without a checkpoint; NotSaved (an InputError),
    naming the part, where a part is missing from the file and is not given.
    """
    folder = RunFolder(directory)
    # Of a checkpoint the optimiser's state is left out, and with it all that has to be known of the optimiser.
    made, plan = folder.parts("method", "plan", given=_given(method=method) | {"plan.outer": Adam()})
    state = folder.load(eqx.tree_at(lambda state: state.optimiser, _shapes(folder, made, plan), None))
    if state is None:
        raise InputError(f"{directory} has no checkpoint yet: resume the run first.")
    return Run(made, state.meta, int(state.step), plan.steps, int(state.skipped), folder.history())


def source(directory: str | Path) -> Any:
    """Return what a saved run was trained on.

    Raises: InputError where the folder holds no run.
    """
    return RunFolder(directory).parts("tasks")[0]


def about(directory: str | Path) -> dict[str, Any]:
    """Return what the caller of `train` wanted remembered of a run.

    Raises: InputError where the folder holds no run.
    """
    return RunFolder(directory).about()


__all__ = ["NotSaved", "Run", "about", "load", "resume", "source", "train"]
