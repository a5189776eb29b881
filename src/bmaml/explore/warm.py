"""Programs compiled before they are needed: a thread asks each model what the page will ask."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from bmaml.data import length_class
from bmaml.explore.looks import MOST, Points, look, start_view
from bmaml.explore.subjects import AbstractSubject


class Warmth:
    """How far the compilation of all programs of some models is.

    A support is padded to 8, 16 or 32 rows, and each length has programs of its own. `ready` is the number of given points
    for which every program is compiled, -1 before the first. `stepped` is the same of the programs that take any number of
    inner steps. `fault` is the error that ended the compilation, if one did.
    """

    def __init__(self, subjects: Sequence[AbstractSubject]):
        """`subjects` are the models of the page."""
        self.subjects = tuple(subjects)
        self.ready, self.stepped, self.fault = -1, -1, None
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)

    def start(self) -> Warmth:
        """Begin in a thread of its own; returns self."""
        self._thread.start()
        return self

    def wait(self) -> None:
        """Wait until everything is compiled.

        Raises: the error that ended the compilation, if one did.
        """
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    @property
    def finished(self) -> bool:
        """Whether everything is compiled."""
        return min(self.ready, self.stepped) >= MOST

    def knows(self, count: int, stepped: bool) -> bool:
        """Return whether every program is compiled for `count` points, with `stepped` those for any number of inner steps."""
        return count <= (min(self.ready, self.stepped) if stepped else self.ready)

    def _run(self) -> None:
        try:
            for most in lengths():
                for subject in self.subjects:
                    _ask(subject, most, None)
                self.ready = most
                # Before those for more points, since few give so many in the first minute.
                for subject in self.subjects:
                    if subject.steps is not None:
                        _ask(subject, most, subject.steps + 1)
                self.stepped = most
        except Exception as error:
            self.fault = error


def lengths() -> list[int]:
    """Return the numbers of points that a support is padded to."""
    return sorted({length_class(count) for count in range(MOST + 1)})


def _ask(subject: AbstractSubject, count: int, steps: int | None) -> None:
    """Ask `subject` everything once, at `count` points in the middle of what is shown."""
    points, view = Points(), start_view(subject)
    view.steps = steps
    grids = [np.zeros(count) if axis.levels else axis.grid(count) for axis in subject.inputs]
    middle = subject.outcome.snapped(subject.outcome.middle)
    for row in zip(*grids, strict=True):
        points.add(tuple(row), middle)
    look(subject, points, view)
