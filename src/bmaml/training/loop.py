"""The one training loop: compiled meta-steps, and a plain Python loop over chunks of them."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import stages
from jaxtyping import Array

from bmaml.errors import BmamlError, InputError
from bmaml.io.programs import compiler_options
from bmaml.learners.base import Meta
from bmaml.tasks.base import AbstractSource
from bmaml.training.callbacks import CallbackError, Callbacks, Training
from bmaml.training.interrupt import Interrupt
from bmaml.training.jaxlib_versions import check_platform
from bmaml.training.keeper import Keeper
from bmaml.training.memory import check_memory, check_start
from bmaml.training.meta_step import LONGEST, idle_share
from bmaml.training.method import AbstractMethod, TrainState
from bmaml.training.plan import Plan
from bmaml.training.processes import agreed, on_all_devices, on_own_device, together
from bmaml.training.progress import Progress
from bmaml.training.records import Ledger, Record

# Length of a chunk, in seconds.
_SECONDS = 1.0


class NonFiniteError(BmamlError, RuntimeError):
    """Too many meta-steps gave a loss or a gradient that is not finite."""


def _strong(leaf: Array) -> Array:
    """Return an array without a weak type. A file does not hold weak types, so a resumed run would compile another program."""
    return jax.lax.convert_element_type(leaf, leaf.dtype)


def _first(method: AbstractMethod, plan: Plan) -> TrainState:
    """Return the state before the first meta-step, made by one program: one for each operation would be dozens.

    Raises: NoRoomError if it does not fit the free memory.
    """
    lowered = jax.jit(lambda: jax.tree.map(_strong, method.begin(plan))).lower()
    check_start(lowered.out_info, plan, method.SIZES)
    return lowered.compile(compiler_options(runs_once=True))()


class Loop:
    """Runs chunks until the plan is done or a callback stops the run, and tells the given listeners what happens.

    `ledger` holds the records of an earlier part of the run. `state` is the end of that part, `seconds` the time that it took,
    and `stopped` why a callback ended it. The attribute `pending` says that Ctrl-C or an error came between the last meta-step
    and what the run answers with.
    """

    def __init__(
        self,
        method: AbstractMethod,
        tasks: AbstractSource,
        plan: Plan,
        state: TrainState | None = None,
        *,
        ledger: Ledger | None = None,
        callbacks: Callbacks | None = None,
        seconds: float = 0.0,
        stopped: str | None = None,
    ):
        check_platform()
        method.check(tasks)
        if method.masses is not None:
            method.masses.drawn_from(tasks)  # Tasks that it cannot have are refused now, and not after hours of training.
        self.method, self.tasks, self.plan = method, tasks, plan
        # Donation needs buffers of its own, and distinct ones, as a program returns them.
        start = _first(method, plan) if state is None else jax.tree.map(lambda leaf: _strong(jnp.copy(leaf)), state)
        if len(jax.devices()) > 1:
            _say_idle(plan)
            with together(0):
                start = on_all_devices(start)
                self.tasks = on_all_devices(tasks) if jax.process_count() > 1 else tasks
        self.state: TrainState = start
        self.step = int(start.step)
        self.ledger, self.callbacks, self.seconds = ledger or Ledger(plan), callbacks or Callbacks(), seconds
        self.stopped = stopped
        self.due: list[Record] = []
        self.pending = False

    @property
    def finished(self) -> bool:
        """Whether the plan is done, or a callback has stopped the run, and what the run answers with is found."""
        return (self.step >= self.plan.steps or self.stopped is not None) and not self.pending

    def compile(self) -> int:
        """Compile the chunk, without running it, so that an interrupt in between stops a run that has not begun.

        Returns the bytes that the program needs, or 0 if the platform does not say.
        Raises: NoRoomError if fewer bytes are free.
        """
        self._chunk = self.method.compile(self.plan, self.tasks, self.state)
        return check_memory(self._chunk, self.plan, self.method.SIZES) if isinstance(self._chunk, stages.Compiled) else 0

    def _arguments(self, count: int) -> tuple[Any, Any]:
        # Of the host, since several processes share no device.
        return np.asarray(self.plan.seed, np.uint32), np.asarray(count, np.int32)

    def advance(self, count: int) -> Record:
        """Run `count` meta-steps; return their mean loss, the meta-steps skipped so far, and the seconds that they took.

        The records that are due are then in `due`.
        Raises: NonFiniteError past the plan's limit of skipped meta-steps.
        """
        began = time.perf_counter()
        self.state, numbers = self._chunk(self.state, self.tasks, *self._arguments(count))
        numbers = {name: np.asarray(values)[:count] for name, values in numbers.items()}
        self.due = self.ledger.add(self.step, numbers)
        self.step += count
        finite = numbers["loss"][np.isfinite(numbers["loss"])]
        skipped, seconds = int(numbers["skipped"][-1]), time.perf_counter() - began
        self.seconds += seconds
        if skipped > self.plan.skip_limit:
            raise NonFiniteError(self.method.explain(self.state.bad, skipped))
        loss = float(finite.mean()) if len(finite) else float("nan")
        return {"step": self.step, "loss": loss, "seconds": seconds, "skipped": skipped}

    def run(
        self,
        *,
        progress: Progress | None = None,
        keeper: Keeper | None = None,
        interrupt: Interrupt | None = None,
    ) -> bool:
        """Run to the end of the plan; return False if Ctrl-C stopped the run.

        - `progress`: shows the run.
        - `keeper`: saves the run.
        - `interrupt`: a flag that was set up earlier. A KeyboardInterrupt would be lost in a callback of JAX, for instance
          while the first state is made.
        """
        progress = progress or Progress()
        with interrupt or Interrupt() as interrupt:
            if interrupt.raised:
                return False
            progress.start(self.step, self.plan.steps)
            try:
                progress.compiled(self.compile())
                if interrupt.raised:
                    return False
                self._begin(keeper)
                self._go_or_rescue(progress, keeper, interrupt)
                self._end(keeper, progress, interrupt)
            finally:
                progress.close()
                self.callbacks.tell(lambda callback: callback.close())
        return self.finished

    def training(self, keeper: Keeper | None = None) -> Training:
        """Return the run as callbacks see it now; `keeper` is what saves it."""
        directory = None if keeper is None else keeper.directory
        return Training(self.method, self.plan, self.step, self.meta, directory)

    @property
    def meta(self) -> Meta:
        """The meta-parameters so far, as arrays of this process."""
        return on_own_device(self.state.meta)

    def _begin(self, keeper: Keeper | None) -> None:
        if keeper is not None:
            keeper.begin(self.ledger.history)
        training = self.training(keeper)
        self.callbacks.tell(lambda callback: callback.start(training))
        if keeper is not None:
            keeper.restore(self.callbacks)

    def _go_or_rescue(self, progress: Progress, keeper: Keeper | None, interrupt: Interrupt) -> None:
        """Run as `_go` does. If a callback raises an error, save what there is first, so that the run can be resumed.

        A record that was due then has the numbers of the loop alone.
        """
        try:
            self._go(progress, keeper, interrupt)
        except (CallbackError, InputError):
            while self.due:
                self._add(self.due[0], keeper)
            with contextlib.suppress(BmamlError):
                self._end(keeper, progress, interrupt)
            raise

    def _go(self, progress: Progress, keeper: Keeper | None, interrupt: Interrupt) -> None:
        """Run chunks until the run is finished or Ctrl-C has come."""
        # A meta-step of policies can take longer than a chunk should. The first chunk has one meta-step, which shows how long
        # it takes.
        count = 1
        while not self.finished:
            with together(self.step):
                count, stop = agreed(self._cut(count, keeper), interrupt.raised)
                if stop:
                    break
                told = self.advance(count)
            speed = count / told["seconds"]
            progress.update(self.step, told["loss"], speed)
            while self.due:
                self._record(self.due[0], keeper)
            if keeper is not None and self.step % keeper.every == 0 and not self.finished:
                self._save(keeper)
            count = max(1, int(speed * _SECONDS))

    def _cut(self, count: int, keeper: Keeper | None) -> int:
        left = self.plan.steps - self.step
        if keeper is not None:
            left = min(left, keeper.every - self.step % keeper.every)
        if self.callbacks:
            left = min(left, self.ledger.left(self.step))
        return min(count, left, LONGEST)

    def _record(self, record: Record, keeper: Keeper | None) -> None:
        training = self.training(keeper)
        if self.callbacks:
            record = record | self.callbacks.measure(training)
        self._add(record, keeper)
        self.stopped = self.callbacks.record(training, record) or self.stopped

    def _add(self, record: Record, keeper: Keeper | None) -> None:
        """Keep a record, the first of those that are due."""
        del self.due[0]
        self.ledger.history.append(record)
        if keeper is not None:
            keeper.record(record)

    def _save(self, keeper: Keeper) -> None:
        notes = {"seconds": self.seconds, "part": self.ledger.part, "stopped": self.stopped, "pending": self.pending}
        if keeper.save(self.state, self.step, self.ledger.history, notes, self.callbacks.state()):
            training = self.training(keeper)
            self.callbacks.tell(lambda callback: callback.checkpoint(training))

    def _end(self, keeper: Keeper | None, progress: Progress, interrupt: Interrupt) -> None:
        """Take the meta-parameters that a finished run answers with; save a run that has begun.

        If a callback fails to say what the run answers with, or Ctrl-C comes before the masses are found, the run is saved as
        it is, and resuming it asks again.
        Raises: NonFiniteError if no meta-step of a finished run was finite.
        """
        if self.finished:
            if self.step and int(self.state.skipped) == self.step:
                raise NonFiniteError(self.method.explain(self.state.bad, self.step))
            try:
                meta = self._answer(progress, interrupt)
            except BmamlError:
                self.pending = True
                if keeper is not None:
                    self._save(keeper)
                raise
            self.pending = meta is None
            if meta is not None:
                self.state = eqx.tree_at(lambda state: state.meta, self.state, meta)
        if keeper is not None and self.step:
            self._save(keeper)

    def _answer(self, progress: Progress, interrupt: Interrupt) -> Meta | None:
        """Return the meta-parameters that the run answers with, or None if Ctrl-C has come first."""
        meta, masses = self.callbacks.final(self.state.meta), self.method.masses
        if masses is None:
            return meta
        # Each process finds the same masses by itself, and all of them stop together.
        own, tasks = on_own_device(meta), on_own_device(self.tasks)
        return masses(self.method.answerer, own, tasks, self.plan, progress.say, lambda: agreed(0, interrupt.raised)[1])


def _say_idle(plan: Plan) -> None:
    """Warn once if devices repeat work, because they do not divide the tasks that run together."""
    share, devices = idle_share(plan), len(jax.devices())
    if share:
        warnings.warn(
            f"{plan.batch // plan.accumulation_steps} tasks at a time do not divide over {devices} devices, which repeat "
            f"{share:.0%} of the work: use a batch that is a multiple of {devices * plan.accumulation_steps}.",
            stacklevel=4,
        )
