"""Training as one call, and its result."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from bmaml.data import Data, data
from bmaml.errors import InputError, first_sentence, said
from bmaml.io.checked import Count, Seed, checked
from bmaml.io.checkpoint import RunFolder
from bmaml.io.config import NotSaved
from bmaml.io.lock import check_unlocked
from bmaml.io.notebook import facts_html
from bmaml.learners.base import Meta
from bmaml.learners.predictor import Predictor
from bmaml.tasks.base import AbstractSource
from bmaml.training.arguments import check_options
from bmaml.training.callbacks import Callback, CallbackError, Callbacks
from bmaml.training.interrupt import Interrupt
from bmaml.training.keeper import Keeper, Notes, Reader, is_finished
from bmaml.training.loop import Loop
from bmaml.training.method import AbstractMethod, Adapted, Given, TrainState
from bmaml.training.optimisers import AbstractOuter, CustomOuter, as_outer
from bmaml.training.plan import Plan
from bmaml.training.processes import is_first
from bmaml.training.progress import Progress, as_progress
from bmaml.training.records import Ledger, Record


class Run(eqx.Module, Generic[Given, Adapted]):
    """A trained (or interrupted) run.

    - `method`: what was trained.
    - `meta`: meta-parameters.
    - `plan`: the plan that training followed.
    - `step`: meta-steps so far.
    - `skipped`: meta-steps that were left out.
    - `history`: one record for each `plan.record_length` meta-steps: `step`, `loss`, the objective's own numbers, what
      callbacks measured, the learning rate, and the meta-steps `skipped` so far.
    - `seconds`: time that the meta-steps took.
    - `stopped`: why a callback ended the run before its plan did, or None.
    - `pending`: whether the meta-steps are done and what the run answers with is not found yet.
    - `directory`: where the run is saved, or None.
    """

    method: AbstractMethod[Given, Adapted]
    meta: Meta
    plan: Plan
    step: int = eqx.field(static=True)
    skipped: int = eqx.field(static=True, default=0)
    history: list[Record] = eqx.field(static=True, default_factory=list)
    seconds: float = eqx.field(static=True, default=0.0)
    stopped: str | None = eqx.field(static=True, default=None)
    pending: bool = eqx.field(static=True, default=False)
    directory: Path | None = eqx.field(static=True, default=None)

    @property
    def steps(self) -> int:
        """How many meta-steps the plan has."""
        return self.plan.steps

    @property
    def finished(self) -> bool:
        """Whether training reached the end of its plan, or a callback ended it, and what the run answers with is found."""
        return (self.step >= self.plan.steps or self.stopped is not None) and not self.pending

    @property
    def loss(self) -> float:
        """The loss of the last record, NaN before the first."""
        return self.history[-1].get("loss", math.nan) if self.history else math.nan

    def __repr__(self) -> str:
        """Say in a line what was trained, how far, and where it is saved."""
        pair = f"{type(self.method.learner).__name__} with {type(self.method.objective).__name__}"
        what = f"{self.method.name}: {pair}" if self.method.name else pair
        how_far = f"{self.step} of {self.steps} meta-steps" + (f" ({self.stopped})" if self.stopped else "")
        loss = f", loss {self.loss:.4g}" if self.history else ""
        return f"Run({what}, {how_far}{loss}, {f'saved in {self.directory}' if self.directory else 'not saved'})"

    def _repr_html_(self) -> str:
        learner, objective = (type(part).__name__ for part in (self.method.learner, self.method.objective))
        facts = {"learner": learner, "objective": objective, "meta-steps": f"{self.step:,} of {self.steps:,}"}
        facts |= {"loss": f"{self.loss:.4g}", "seconds": f"{self.seconds:.0f}", "saved in": self.directory or "nowhere"}
        return facts_html(f"Run of {self.method.name or learner}", facts)

    @checked
    def save(self, directory: str | Path, about: dict[str, Any] | None = None, *, overwrite: bool = False) -> None:
        """Save the run in the new folder `directory`, without its tasks and without the state that training would continue
        from.

        `about` is JSON that is kept with the run, and `overwrite` says whether to replace a run in the folder.
        Raises: InputError if the folder holds a run already or cannot be written.
        """
        folder = RunFolder(directory)
        folder.replaced(overwrite)  # A folder that holds other things is not even locked.
        parts = {"method": self.method, "tasks": None, "plan": self.plan, "options": {"save_every": None}}
        fresh = self.method.begin(self.plan)
        counts = [jnp.asarray(count, fresh.step.dtype) for count in (self.step, self.skipped)]
        state = eqx.tree_at(lambda s: (s.meta, s.step, s.skipped), fresh, (self.meta, *counts))
        with folder.lock():
            folder.create(parts, about or {}, overwrite=overwrite)
            keeper = Keeper(folder, self.steps)
            keeper.begin(self.history)
            notes = {"seconds": self.seconds, "stopped": self.stopped, "pending": self.pending, "part": {}}
            keeper.save(state, self.step, self.history, notes, {})

    @property
    def predictor(self) -> Predictor:
        """The learner that the run answers with, and its meta-parameters."""
        return Predictor(self.method.answerer, self.meta)

    @overload
    def adapt(self: Run[Data, Adapted], given: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Adapted: ...

    @overload
    def adapt(self, given: Given, *, seed: int = 0) -> Adapted: ...

    @checked
    def adapt(self, given, y=None, *, seed: Seed = 0):
        """Return what is believed of a new task.

        `given` and `y` are inputs of shape (n, inputs) and targets of shape (n, outputs), or a `Data` alone. A run of policies
        takes trajectories instead, and returns an adapted policy.
        Raises: InputError for different numbers of rows, numbers that are not finite, or another kind or width of data than the
        method learns from.
        """
        return self.method.adapt(self.meta, given if y is None else data(given, y), key=jax.random.key(seed))  # pyright: ignore[reportArgumentType]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a training. `run` is the run so far, and `directory` the place of its checkpoint (or None).

    A run that was stopped before its first meta-step leaves nothing behind.
    """

    def __init__(self, run: Run):
        self.run = run
        self.directory = run.directory if run.step else None
        kept = f"go on with bmaml.resume({str(self.directory)!r})" if self.directory else "no checkpoint was written"
        super().__init__(f"training was stopped by Ctrl-C or SIGTERM at meta-step {run.step} of {run.steps}: {kept}.")


@checked
def train(
    method: AbstractMethod[Given, Adapted],
    tasks: AbstractSource,
    plan: Plan | None = None,
    *,
    directory: str | Path | None = None,
    overwrite: bool = False,
    about: dict[str, Any] | None = None,
    save_every: Count | None = None,
    keep: Count = 3,
    callbacks: Iterable[Callback] | Callback = (),
    progress: Progress | bool | None = None,
    **options: Any,
) -> Run[Given, Adapted]:
    """Meta-train a method on a task source.

    - `method`: a learner with an objective, such as `bmaml.methods.maml(model)`.
    - `tasks`: what to train on.
    - `plan`: how long and how.
    - `directory`: folder to save the run in. Its records go to `metrics.jsonl` there, and `resume` continues it.
    - `overwrite`: replace a run in the folder. Only the files of that run are removed, once the new one is about to begin.
    - `about`: JSON that is kept with the run.
    - `save_every`: meta-steps between checkpoints; a tenth of the run by default. Checkpoints are also written at the end and
      on Ctrl-C.
    - `keep`: number of checkpoints to keep.
    - `callbacks`: hear of the run, measure, and may stop it (`bmaml.Callback`).
    - `progress`: True shows a bar.
    - `options`: single fields of the plan (`steps`, `batch`, `outer`, `seed`).

    Raises: Interrupted (a KeyboardInterrupt) if Ctrl-C or SIGTERM stopped the run; InputError for wrong arguments, or a
    directory that holds a run or cannot be written; CallbackError, which holds the run so far, if a callback raises an error;
    NoRoomError (an InputError) if the program needs more memory than is free;
    NonFiniteError past the plan's limit.
    """
    check_options(options)
    plan, heard, progress = dataclasses.replace(plan or Plan(), **options), Callbacks(callbacks), as_progress(progress)
    method.check(tasks)
    with ExitStack() as held:
        interrupt = held.enter_context(Interrupt())
        if directory is None:
            return _trained(Loop(method, tasks, plan, callbacks=heard), progress, None, interrupt)
        folder, every = RunFolder(directory, keep), _every(plan, save_every)
        if not is_first():
            return _trained(Loop(method, tasks, plan, callbacks=heard), progress, Reader(folder, every, new=True), interrupt)
        check_unlocked(folder.path)
        folder.replaced(overwrite)  # The folder is checked before the program is compiled, which takes longer.

        def create() -> None:
            parts = {"method": method, "tasks": tasks, "plan": plan, "options": {"save_every": save_every}}
            held.enter_context(folder.lock())
            folder.create(parts, about or {}, overwrite=overwrite)

        keeper = Keeper(folder, every, create=create)
        return _trained(Loop(method, tasks, plan, callbacks=heard), progress, keeper, interrupt)


def _every(plan: Plan, save_every: int | None) -> int:
    return save_every or max(plan.steps // 10, 1)


def _trained(loop: Loop, progress: Progress, keeper: Keeper | None, interrupt: Interrupt) -> Run:
    """Return the run of a loop.

    Raises: Interrupted if Ctrl-C stopped it.
    """
    try:
        loop.run(progress=progress if is_first() else None, keeper=keeper, interrupt=interrupt)
    except CallbackError as error:
        error.run = _so_far(loop, keeper)
        raise
    finally:
        if keeper is not None and not loop.step:
            keeper.forget()
    if not loop.finished:
        raise Interrupted(_so_far(loop, keeper))
    return _so_far(loop, keeper)


def _so_far(loop: Loop, keeper: Keeper | None) -> Run:
    directory = None if keeper is None else keeper.directory
    told = {"seconds": loop.seconds, "stopped": loop.stopped, "pending": loop.pending, "directory": directory}
    return Run(loop.method, loop.meta, loop.plan, loop.step, int(loop.state.skipped), loop.ledger.history, **told)


@checked
def resume(
    directory: str | Path,
    *,
    method: AbstractMethod | None = None,
    outer: AbstractOuter | optax.GradientTransformation | None = None,
    tasks: AbstractSource | None = None,
    callbacks: Iterable[Callback] | Callback = (),
    progress: Progress | bool | None = None,
    keep: Count = 3,
) -> Run:
    """Continue a saved run from its last checkpoint. The result equals the uninterrupted run bit for bit.

    - `directory`: the run's folder.
    - `method`, `outer`, `tasks`: parts that the file could not hold: Python functions, optax transformations, classes without a
      registered name (`bmaml.register`).
    - `callbacks`: as in `train`. Callbacks with a state (`EarlyStopping`) must be given again.
    - `progress`, `keep`: as in `train`.

    Raises: Interrupted as in `train`; InputError if the folder holds no run, a damaged one or one with other callbacks;
    NotSaved (an InputError), which names the part, if a part is missing from the file and is not given.
    """
    folder = RunFolder(directory, keep)
    given = _given(method=method, tasks=tasks) | _given(**{"plan.outer": None if outer is None else as_outer(outer)})
    made, plan, source, options = _parts(folder, "method", "plan", "tasks", "options", given=given)
    every = _every(plan, _saved_every(folder, options))
    if source is None:
        without = f"{directory} was saved without the tasks that it was trained on"
        raise InputError(
            f"{without}: pass tasks= to go on.", typed=f"{without}: resume it in Python, where bmaml.resume takes tasks."
        )
    with ExitStack() as held:
        interrupt = held.enter_context(Interrupt())
        if is_first() and not is_finished(folder, plan):
            held.enter_context(folder.lock())
            folder.clean()
        state, notes = folder.load(_shapes(folder, made, plan)), Notes.read(folder)
        if state is not None and is_finished(folder, plan):
            return _loaded(folder, made, plan, state)
        ledger = Ledger(plan, folder.history(), notes.part)
        told = {"ledger": ledger, "callbacks": Callbacks(callbacks), "seconds": notes.seconds, "stopped": notes.stopped}
        keeper = Keeper(folder, every) if is_first() else Reader(folder, every, new=False)
        return _trained(Loop(made, source, plan, state, **told), as_progress(progress), keeper, interrupt)


def _loaded(folder: RunFolder, method: AbstractMethod, plan: Plan, state: TrainState) -> Run:
    notes = Notes.read(folder)
    if notes.pending:
        warnings.warn(
            f"{folder.path} has made its meta-steps, and was stopped before it found what it answers with: resume it.",
            stacklevel=4,
        )
    told = {"seconds": notes.seconds, "stopped": notes.stopped, "pending": notes.pending, "directory": folder.path}
    return Run(method, state.meta, plan, int(state.step), int(state.skipped), folder.history(), **told)


def _given(**parts: Any) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part is not None}


# What each part of a run must be: a file may hold any object in its place.
_KINDS = {"method": AbstractMethod, "plan": Plan, "tasks": AbstractSource | None, "options": dict}


def _parts(folder: RunFolder, *names: str, given: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """Return parts of a run as `RunFolder.parts` does.

    Raises: InputError if the file holds something else in the place of one.
    """
    found = folder.parts(*names, given=given)
    for name, part in zip(names, found, strict=True):
        if not isinstance(part, _KINDS[name]):
            raise _damaged(folder, f"its {name} is {said(part)}")
    return found


def _damaged(folder: RunFolder, why: str) -> InputError:
    return InputError(f"{folder.path / 'run.json'} is damaged ({why}): restore it from a copy.")


def _saved_every(folder: RunFolder, options: dict[str, Any]) -> int | None:
    every = options.get("save_every")
    if every is None or (type(every) is int and every > 0):
        return every
    raise _damaged(folder, f"its save_every is {said(every)}")


def _shapes(folder: RunFolder, method: AbstractMethod, plan: Plan) -> TrainState:
    """Return the shapes of a checkpoint.

    Raises: InputError if the settings, which a file may hold in any combination, do not make a run.
    """
    try:
        return eqx.filter_eval_shape(lambda: method.begin(plan))
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise InputError(
            f"{folder.path} describes a method that cannot begin ({first_sentence(error)}): restore it."
        ) from error


@checked
def load(directory: str | Path, *, method: AbstractMethod | None = None) -> Run:
    """Return a saved run, from its last checkpoint, by the name of its folder alone.

    - `directory`: the run's folder.
    - `method`: only needed if the file could not hold it: it has Python functions, or classes without a registered name
      (`bmaml.register`). The tasks and the outer optimiser are not needed to predict.

    Raises: InputError if the folder holds no run, a damaged one, or one without a checkpoint; NotSaved (an InputError), which
    names the part, if a part is missing from the file and is not given.
    """
    folder = RunFolder(directory)
    (made,), plan = _parts(folder, "method", given=_given(method=method)), _plan(folder)
    # The optimiser's state is left out of the checkpoint, and with it everything that depends on the optimiser.
    shapes = jax.eval_shape(lambda state: dataclasses.replace(state, optimiser=None), _shapes(folder, made, plan))
    state = folder.load(shapes)
    if state is None:
        raise InputError(f"{directory} has no checkpoint yet: resume the run first.")
    return _loaded(folder, made, plan, state)


def _plan(folder: RunFolder) -> Plan:
    """Return a run's plan, with an optimiser that does nothing if the file could not hold the run's own."""
    try:
        return _parts(folder, "plan")[0]
    except InputError:
        return _parts(folder, "plan", given={"plan.outer": CustomOuter(optax.identity())})[0]


@checked
def method_of(directory: str | Path) -> AbstractMethod:
    """Return the method of the saved run in `directory`, whatever its checkpoints are like.

    Raises: InputError if the folder holds no run, or NotSaved if the file could not hold the method.
    """
    return _parts(RunFolder(directory), "method")[0]


@checked
def source(directory: str | Path) -> Any:
    """Return what the saved run in `directory` was trained on.

    Raises: InputError if the folder holds no run.
    """
    return RunFolder(directory).parts("tasks")[0]


@checked
def about(directory: str | Path) -> dict[str, Any]:
    """Return what the caller of `train` wanted to keep with the run in `directory`.

    Raises: InputError if the folder holds no run.
    """
    return RunFolder(directory).about()


__all__ = ["Interrupted", "NotSaved", "Run", "about", "load", "method_of", "resume", "source", "train"]
