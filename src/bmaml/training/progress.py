"""What shows a run during training, paced by the clock: a bar with loss, speed and time left, or plain lines."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import TYPE_CHECKING, Any

from bmaml.errors import InputError, said
from bmaml.training.memory import in_words

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_QUIET_SECONDS, _MUCH = 10.0, 10**9


class Progress:
    """What a caller shows of a run. The base class does nothing.

    The clock decides when an update comes. So nothing that is kept should depend on updates: use a `Callback` for that.
    """

    def start(self, step: int, steps: int) -> None:
        """Hear that the program is about to be compiled, and that training then begins at `step` of `steps`."""

    def say(self, what: str) -> None:
        """Hear in words `what` is done next, where the work has parts that are no steps."""

    def compiled(self, needed: int) -> None:
        """Hear that the compiled program needs `needed` bytes of memory (0 if the platform does not say)."""

    def update(self, step: int, loss: float, speed: float) -> None:
        """Hear the mean `loss` of the last chunk, up to meta-step `step`, and its `speed` in meta-steps a second."""

    def close(self) -> None:
        """Hear that training has ended, for whatever reason."""


class BarProgress(Progress):
    """A rich bar on a terminal, a bar in the cell of a notebook, and a line every ten seconds elsewhere.

    The first and the last go to standard error.
    """

    def __init__(self, title: str = "training"):
        from rich.console import Console
        from rich.progress import TaskID

        self.title = title
        self.console = Console(stderr=True)
        self._bar: Bar | None = None
        self._cell: Any = None
        self._steps, self._task = 0, TaskID(0)
        self._said = -_QUIET_SECONDS

    def start(self, step: int, steps: int) -> None:
        """Show the bar at `step` of `steps`, or say that compiling has begun."""
        self._steps = steps
        if self.console.is_jupyter:
            self._show(step, "compiling")
            return
        if not self.console.is_terminal:
            sys.stderr.write(f"{self.title}: compiling, then steps {step} to {steps}\n")
            sys.stderr.flush()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        bar.start()
        self._task = bar.add_task(self.title, total=steps, completed=step, state="compiling")

    def _show(self, step: int, state: str) -> None:
        """Show a bar in the notebook's cell, or move the one that is there."""
        from IPython.display import HTML, display

        most = max(self._steps, 1)
        bar = f'<progress value="{step}" max="{most}"></progress>'
        content = HTML(f"<div>{escape(self.title)} {bar} {step:,} of {self._steps:,}, {escape(state)}</div>")
        if self._cell is None:
            self._cell = display(content, display_id=True)
        else:
            self._cell.update(content)

    def say(self, what: str) -> None:
        """Print `what` is done next, above the bar if there is one."""
        self.console.print(f"{self.title}: {what}", highlight=False, markup=False, soft_wrap=True)

    def compiled(self, needed: int) -> None:
        """Say that training takes `needed` bytes of memory, if that is a lot."""
        if needed >= _MUCH:
            self.console.print(f"{self.title}: takes {in_words(needed)} of memory", highlight=False)

    def update(self, step: int, loss: float, speed: float) -> None:
        """Move the bar to `step` with its `loss` and `speed`, or print a line if the last one is ten seconds old."""
        if self._cell is not None:
            self._show(step, f"loss {loss:.4g}, {speed:.4g} steps/s")
        elif self._bar is not None:
            self._bar.update(self._task, completed=step, state=f"loss {loss:.4g}  {speed:.4g} steps/s")
        elif time.monotonic() - self._said >= _QUIET_SECONDS or step >= self._steps:
            self._said = time.monotonic()
            left = (self._steps - step) / max(speed, 1e-9)
            sys.stderr.write(
                f"{self.title}: step {step}/{self._steps}, loss {loss:.4g}, {speed:.4g} steps/s, {left:.0f} s left\n"
            )
            sys.stderr.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()


def as_progress(given: Progress | bool | None) -> Progress:
    """Return what shows a run for what a caller has `given`: a bar for True, nothing for False and None.

    Raises: InputError for anything else that is no `Progress`.
    """
    if isinstance(given, Progress):
        return given
    if given is None or isinstance(given, bool):
        return BarProgress() if given else Progress()
    raise InputError(f"progress is {said(given)}: give True for a bar, or an object of a class that inherits from Progress.")
