"""Training as one call, and what comes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from bmaml.data import Data, data
from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.io.config import NotSaved
from bmaml.learners.base import Meta
from bmaml.learners.predictor import Predictor
from bmaml.tasks.base import AbstractSource
from bmaml.training.arguments import check_arguments
from bmaml.training.callbacks import Callback, Callbacks
from bmaml.training.interrupt import Interrupt
from bmaml.training.keeper import Keeper
from bmaml.training.loop import Loop
from bmaml.training.method import AbstractMethod, Adapted, Given, TrainState
from bmaml.training.optimisers import AbstractOuter, CustomOuter, as_outer
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress, as_progress
from bmaml.training.records import Ledger, Record


class Run(eqx.Module, Generic[Given, Adapted]):
    """A trained (or interrupted) run: a method, its meta-parameters, the plan that it followed, and how the loss went.

    `history` has a record for each `plan.record_length` meta-steps: `step`, `loss`, the objective's own numbers, what
    callbacks measured, the learning rate, and the meta-steps `skipped` so far. `seconds` is the time that meta-steps took,
    `stopped` why a callback ended the run before its plan did, and `directory` where the run is saved.
    """

    method: AbstractMethod[Given, Adapted]
    meta: Meta
    plan: Plan
    step: int = eqx.field(static=True)
    skipped: int = eqx.field(static=True, default=0)
    history: list[Record] = eqx.field(static=True, default_factory=list)
    seconds: float = eqx.field(static=True, default=0.0)
    stopped: str | None = eqx.field(static=True, default=None)
    directory: Path | None = eqx.field(static=True, default=None)

    @property
    def steps(self) -> int:
        """How many meta-steps the plan has."""
        return self.plan.steps

    @property
    def finished(self) -> bool:
        """Whether training reached the end of its plan, or a callback ended it."""
        return self.step >= self.plan.steps or self.stopped is not None

    @property
    def loss(self) -> float:
        """The loss of the last record, NaN before the first."""
        return self.history[-1]["loss"] if self.history else math.nan

    def __repr__(self) -> str:
        """Say in a line what was trained, how far, and where it is saved."""
        what = f"{type(self.method.learner).__name__} with {type(self.method.objective).__name__}"
        how_far = f"{self.step} of {self.steps} meta-steps" + (f" ({self.stopped})" if self.stopped else "")
        loss = f", loss {self.loss:.4g}" if self.history else ""
        return f"Run({what}, {how_far}{loss}, {f'saved in {self.directory}' if self.directory else 'not saved'})"

    def save(self, directory: str | Path, about: dict[str, Any] | None = None) -> None:
        """Save the run as a new folder, without what it was trained on and without what training would go on from.

        `about` is JSON that is kept with it. Raises: InputError where the folder holds a run already or cannot be written.
        """
        folder = RunFolder(directory)
        folder.create({"method": self.method, "tasks": None, "plan": self.plan, "options": {"save_every": None}}, about or {})
        fresh = self.method.begin(self.plan)
        counts = [jnp.asarray(count, fresh.step.dtype) for count in (self.step, self.skipped)]
        state = eqx.tree_at(lambda s: (s.meta, s.step, s.skipped), fresh, (self.meta, *counts))
        keeper = Keeper(folder, self.steps)
        keeper.begin(self.history)
        keeper.save(state, self.step, self.history, {"seconds": self.seconds, "stopped": self.stopped, "part": {}}, {})

    @property
    def predictor(self) -> Predictor:
        """The learner that the run answers with, and its meta-parameters."""
        return Predictor(self.method.answerer, self.meta)

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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a training. `run` is the run so far, `directory` where its checkpoint is (None for nowhere).

    Nothing is kept of a run that was stopped before its first meta-step.
    """

    def __init__(self, run: Run):
        self.run = run
        self.directory = run.directory if run.step else None
        kept = f"go on with bmaml.resume({str(self.directory)!r})" if self.directory else "no checkpoint was written"
        super().__init__(f"training was stopped at meta-step {run.step} of {run.steps}: {kept}.")


def train(
    method: AbstractMethod[Given, Adapted],
    tasks: AbstractSource,
    plan: Plan | None = None,
    *,
    directory: str | Path | None = None,
    overwrite: bool = False,
    about: dict[str, Any] | None = None,
    save_every: int | None = None,
    keep: int = 3,
    callbacks: Iterable[Callback] | Callback = (),
    progress: Progress | bool | None = None,
    **options: Any,
) -> Run[Given, Adapted]:
    """Meta-train a method on a task source.

    `plan` says how long and how; `options` change single fields of it (`steps`, `batch`, `outer`, `seed`). With a
    `directory` the run is saved there every `save_every` meta-steps (a tenth of the run by default), at the end and on
    Ctrl-C; its records go to `metrics.jsonl` there, and `resume` goes on from it. `overwrite` lets the run replace one that
    is there already: the files of that run alone are removed, once the new one is about to begin. `callbacks` hear of the
    run, measure and may stop it (`bmaml.Callback`); `progress=True` shows a bar.
    Raises: Interrupted (a KeyboardInterrupt) where Ctrl-C or SIGTERM stopped the run: it holds the run so far and the folder
    to resume; InputError for what is no method, task source, plan or setting of one, `save_every` or `keep` below 1, or where
    the directory holds a run already or cannot be written; NoRoomError (an InputError) where the program needs more memory
    than is free; NonFiniteError past the plan's limit.
    """
    if keep < 1 or (save_every is not None and save_every < 1):
        raise InputError(f"save_every is {save_every} and keep {keep}: give at least 1 of each.")
    check_arguments(method, tasks, plan, options)
    plan, heard, progress = dataclasses.replace(plan or Plan(), **options), Callbacks(callbacks), as_progress(progress)
    method.check(tasks)
    with Interrupt() as interrupt:
        if directory is None:
            return _trained(Loop(method, tasks, plan, callbacks=heard), progress, None, interrupt)
        folder = RunFolder(directory, keep)
        folder.replaced(overwrite)  # To be refused before the program is compiled, which takes longer.

        def create() -> None:
            parts = {"method": method, "tasks": tasks, "plan": plan, "options": {"save_every": save_every}}
            folder.create(parts, about or {}, overwrite=overwrite)

        keeper = Keeper(folder, _every(plan, save_every), create=create)
        return _trained(Loop(method, tasks, plan, callbacks=heard), progress, keeper, interrupt)


def _every(plan: Plan, save_every: int | None) -> int:
    return save_every or max(plan.steps // 10, 1)


def _trained(loop: Loop, progress: Progress, keeper: Keeper | None, interrupt: Interrupt) -> Run:
    """Return the run of a loop. Raises: Interrupted where Ctrl-C stopped it."""
    try:
        loop.run(progress=progress, keeper=keeper, interrupt=interrupt)
    finally:
        if keeper is not None and not loop.step:
            keeper.forget()
    state, directory = loop.state, None if keeper is None else keeper.directory
    told = {"seconds": loop.seconds, "stopped": loop.stopped, "directory": directory}
    run = Run(loop.method, state.meta, loop.plan, loop.step, int(state.skipped), loop.ledger.history, **told)
    if not loop.finished:
        raise Interrupted(run)
    return run


def resume(
    directory: str | Path,
    *,
    method: AbstractMethod | None = None,
    outer: AbstractOuter | optax.GradientTransformation | None = None,
    tasks: AbstractSource | None = None,
    callbacks: Iterable[Callback] | Callback = (),
    progress: Progress | bool | None = None,
    keep: int = 3,
) -> Run:
    """Go on with a saved run from its last checkpoint; the result is bit for bit that of a run never stopped.

    `method`, `outer` (the outer optimiser) and `tasks` are needed only where the file could not hold them: Python functions,
    optax transformations, classes without a registered name (`bmaml.register`). Callbacks that have a state (`EarlyStopping`)
    are to be given again, as to `train`.
    Raises: Interrupted as `train`; InputError where the folder holds no run, a damaged one or one with other callbacks;
    NotSaved (an InputError), naming the part, where a part is missing from the file and is not given.
    """
    folder = RunFolder(directory, keep)
    given = _given(method=method, tasks=tasks) | _given(**{"plan.outer": None if outer is None else as_outer(outer)})
    made, plan, source, options = folder.parts("method", "plan", "tasks", "options", given=given)
    if source is None:
        raise InputError(f"{directory} was saved without the tasks that it was trained on: pass tasks= to go on.")
    with Interrupt() as interrupt:
        state, notes = folder.load(_shapes(folder, made, plan)), folder.notes()
        if state is not None and (notes.get("stopped") or int(state.step) >= plan.steps):
            return _loaded(folder, made, plan, state)
        ledger = Ledger(plan, folder.history(), notes.get("part"))
        told = {"ledger": ledger, "callbacks": Callbacks(callbacks), "seconds": notes.get("seconds", 0.0)}
        keeper = Keeper(folder, _every(plan, options["save_every"]))
        return _trained(Loop(made, source, plan, state, **told), as_progress(progress), keeper, interrupt)


def _loaded(folder: RunFolder, method: AbstractMethod, plan: Plan, state: TrainState) -> Run:
    notes = folder.notes()
    told = {"seconds": notes.get("seconds", 0.0), "stopped": notes.get("stopped"), "directory": folder.path}
    return Run(method, state.meta, plan, int(state.step), int(state.skipped), folder.history(), **told)


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
    (made,), plan = folder.parts("method", given=_given(method=method)), _plan(folder)
    # Of a checkpoint the optimiser's state is left out, and with it all that has to be known of the optimiser.
    state = folder.load(eqx.tree_at(lambda state: state.optimiser, _shapes(folder, made, plan), None))
    if state is None:
        raise InputError(f"{directory} has no checkpoint yet: resume the run first.")
    return _loaded(folder, made, plan, state)


def _plan(folder: RunFolder) -> Plan:
    """Return a run's plan, with an optimiser that does nothing where the file could not hold its own."""
    try:
        return folder.parts("plan")[0]
    except InputError:
        return folder.parts("plan", given={"plan.outer": CustomOuter(optax.identity())})[0]


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


__all__ = ["Interrupted", "NotSaved", "Run", "about", "load", "resume", "source", "train"]
