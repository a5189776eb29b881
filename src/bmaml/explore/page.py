"""The page of a model: the points that a user gives, and the posterior that follows them. Each window has a page of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import DoubleTap, Pan, PanEnd, PanStart, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    AllIndices,
    Button,
    Column,
    ColumnDataSource,
    DataTable,
    Div,
    NumberEditor,
    Select,
    Slider,
    Spinner,
    TableColumn,
)
from bokeh.models.widgets.tables import CellEditor, NumberFormatter

from bmaml.errors import BmamlError
from bmaml.explore.axes import Axis
from bmaml.explore.looks import Looks, Points, look, start_view
from bmaml.explore.panels import (
    BLUE,
    ORANGE,
    SLIDER,
    VERMILION,
    WIDE,
    WRAP,
    CurvePanel,
    PlanePanel,
    WeightsPanel,
    WorthPanel,
    span,
)
from bmaml.explore.pointers import nearest
from bmaml.explore.subjects import AbstractSubject
from bmaml.explore.texts import files, head, numbers
from bmaml.explore.warm import Warmth

# Moves of a dragged point within so many milliseconds are one update.
_TOGETHER = 12
_ASKED_EVERY = 250
_PLANES = (("mean", "Viridis256"), ("deviation", "Cividis256"))


class Page:
    """One window: its points, its view, and its pictures of one model or two.

    A pointer's click adds a point or selects the one under it, a drag moves it, and a double click deletes it.
    """

    def __init__(self, subjects: Sequence[AbstractSubject], warmth: Warmth, links: str = ""):
        """Make the pictures.

        - `subjects`: one model, or two with the same inputs.
        - `warmth`: how far the compilation of their programs is.
        - `links`: HTML of links to other pages.
        """
        self.subjects, self.warmth, self.token = tuple(subjects), warmth, secrets.token_urlsafe(16)
        self.points, self.view = Points(), start_view(subjects[0])
        self.first = subjects[0]
        self.selected: int | None = None
        self.looks: list[Looks] = []
        self.priors: list[Looks] = []
        self.seconds: list[float] = []
        self._held: int | None = None
        self._waiting = self._quiet = self._due = False
        self._document: Document | None = None
        names = ("along", "other", "y", "mean", "std")
        self.source = ColumnDataSource({name: [] for name in names}, name="points")
        self._build_pictures()
        self._build_controls(links)

    # What is on the page

    def _build_pictures(self) -> None:
        ends = [(subject.outcome.low, subject.outcome.high) for subject in self.subjects]
        self.y_range = span(min(low for low, _ in ends), max(high for _, high in ends))
        outcome, colours = self.first.outcome, (BLUE, ORANGE)[: len(self.subjects)]
        self.prior, self.posterior = (
            [
                CurvePanel(f"{kind}: {subject.title}", subject, outcome, self.y_range, colour)
                for subject, colour in zip(self.subjects, colours, strict=True)
            ]
            for kind in ("Prior", "Posterior")
        )
        kinds = [(kind, *plane) for plane in _PLANES for kind in ("Prior", "Posterior")]
        self.planes = [
            [PlanePanel(f"{kind} {what}: {subject.title}", subject, palette) for kind, what, palette in kinds]
            for subject in self.subjects
            if len(subject.drawn) == 2
        ]
        of = f": {self.first.title}" if len(self.subjects) > 1 else ""
        self.worth, self.weights = WorthPanel(f"Next point to measure{of}", self.first), WeightsPanel(colours)
        for panel in (*self.posterior, *self.prior):
            panel.add_points(self.source)
            self._listen(panel.figure, self._on_curve)
        for panel in (panel for panels in self.planes for panel in panels):
            panel.add_points(self.source)
            self._listen(panel.figure, self._on_plane)

    def _build_controls(self, links: str) -> None:
        first = self.first.drawn[0]
        self.status = Div(text="Starting.", name="status", **WIDE)
        self.numbers = Div(text="", name="numbers", **WIDE)
        self.next = Div(text="", name="next", **WIDE)
        self.delete_button = Button(label="Delete selected", width=130, name="delete")
        self.delete_button.on_click(self.delete_selected)
        self.clear_button = Button(label="Delete all", width=100, name="clear")
        self.clear_button.on_click(self.clear)
        self.at = Spinner(title=f"Numbers at {first.name} =", value=self.view.at, width=150, name="at")
        self.at.on_change("value", self._on_at)
        shape: Any = {"height": 220, "index_position": None, "reorderable": False} | WIDE
        self.table = DataTable(source=self.source, columns=self._columns(), editable=True, **shape)
        self.source.on_change("data", self._on_table)
        self.source.selected.on_change("indices", self._on_selected)
        self.head = Div(text=head(self.subjects, links), **WIDE)
        self.files = Div(text=files(self.token), **WIDE)
        self.settings = self._settings()

    def _settings(self) -> list[Any]:
        """Return what else can be set: inner steps, levels of categories, where the curve lies in the other input."""
        found: list[Any] = []
        steps = next((subject for subject in self.subjects if subject.steps is not None), None)
        if steps is not None:
            own = steps.steps or 0
            slider = Slider(
                title=f"Inner steps (trained with {own})", start=0, end=steps.most_steps, value=own, width=220, **SLIDER
            )
            slider.name = "steps"
            slider.on_change("value", lambda attr, old, new: self.set_steps(new))
            found.append(slider)
        for place, axis in enumerate(self.first.inputs):
            if axis.levels:
                choice = Select(title=axis.name, options=[(str(i), n) for i, n in enumerate(axis.levels)], value="0", width=150)
                choice.on_change("value", partial(self._on_fixed, place))
                found.append(choice)
            elif axis is not self.first.drawn[0]:
                step = (axis.high - axis.low) / 50
                slider = Slider(title=f"Curve at {axis.name}", start=axis.low, end=axis.high, step=step, width=220, **SLIDER)
                slider.value = self.view.fixed[place]
                slider.on_change("value", partial(self._on_fixed, place))
                found.append(slider)
        if len(self.first.drawn) == 2:
            self.new_value = Spinner(title=f"{self.first.outcome.name} of new points", width=150)
            self.new_value.value = self.first.outcome.snapped(self.first.outcome.middle)
            found.append(self.new_value)
        return found

    def _columns(self) -> list[TableColumn]:
        number = NumberFormatter(format="0,0.000")
        names = [("along", self.first.drawn[0].name), ("y", f"{self.first.outcome.name}, given")]
        names += [("other", self.first.drawn[1].name)] if len(self.first.drawn) == 2 else []
        told = [("mean", "mean there"), ("std", "deviation")]
        given = [TableColumn(field=f, title=t, formatter=number, editor=NumberEditor(step=0.01)) for f, t in names]
        return given + [TableColumn(field=f, title=t, formatter=number, editor=CellEditor()) for f, t in told]

    def layout(self) -> Column:
        """Return everything that the page shows, from top to bottom."""
        rows = [row(prior.figure, post.figure, **WRAP) for prior, post in zip(self.prior, self.posterior, strict=True)]
        planes = [row(*(panel.figure for panel in panels[i : i + 2]), **WRAP) for panels in self.planes for i in (0, 2)]
        controls = row(self.delete_button, self.clear_button, *self.settings, self.at, **WRAP)
        below = row(self.worth.figure, self.weights.figure, **WRAP)
        tables = row(column(self.numbers, self.next, self.files, **WIDE), self.table, **WRAP)
        return column(self.head, controls, self.status, *planes, *rows, below, tables, name="page", **WIDE)

    def open(self, document: Document) -> None:
        """Put the page into a window's `document`, and draw as soon as the programs are compiled."""
        self._document = document
        document.title = f"bmaml explore: {self.first.title}"
        document.add_root(self.layout())
        if not self.warmth.finished:
            self._asking = document.add_periodic_callback(self._on_warmer, _ASKED_EVERY)
        self.refresh()

    # What a user does

    def add(self, x: tuple[float, ...], y: float) -> None:
        """Give a point with inputs `x` and outcome `y`, and draw what follows."""
        try:
            self.points.add(x, self.first.outcome.snapped(y))
        except BmamlError as error:
            self._say(str(error), wrong=True)
            return
        self.selected = len(self.points) - 1
        self.refresh()

    def move(self, index: int, x: tuple[float, ...], y: float) -> None:
        """Move point `index` to inputs `x` and outcome `y`, and draw what follows."""
        self.points.move(index, x, self.first.outcome.snapped(y))
        self.refresh()

    def delete(self, index: int) -> None:
        """Remove point `index`, and draw what follows."""
        self.points.delete(index)
        self.selected = self._held = None
        self.refresh()

    def delete_selected(self) -> None:
        """Remove the selected point, if there is one."""
        if self.selected is not None and self.selected < len(self.points):
            self.delete(self.selected)

    def clear(self) -> None:
        """Remove all points, and draw what follows."""
        self.points.clear()
        self.selected = self._held = None
        self.refresh()

    def set_steps(self, steps: int) -> None:
        """Let the models take so many inner `steps`, and draw what follows."""
        self.view.steps = int(steps)
        self.priors = []
        self.refresh()

    # What follows

    def refresh(self) -> None:
        """Ask the models and draw their answers, once their programs are compiled for so many points."""
        self._show_points()
        own = all(subject.steps in (None, self.view.steps) for subject in self.subjects) or self.view.steps is None
        self._due = not self.warmth.knows(len(self.points), not own)
        if self._due:
            self._say("")
            return
        began = time.perf_counter()
        try:
            if not self.priors:
                self.priors = [look(subject, Points(), self.view) for subject in self.subjects]
            self.looks = [look(s, self.points, self.view) for s in self.subjects] if len(self.points) else self.priors
        except BmamlError as error:
            self._say(str(error), wrong=True)
            return
        self._draw()
        self.seconds.append(time.perf_counter() - began)
        self._say(f"Updated in {1000 * self.seconds[-1]:.0f} ms.")

    def _draw(self) -> None:
        self._show_points()
        for prior, posterior, before, after in zip(self.prior, self.posterior, self.priors, self.looks, strict=True):
            posterior.show(after)
            prior.show(before)
        for panels, before, after in zip(self.planes, self.priors, self.looks, strict=bool(self.planes)):
            for i in (0, 1):
                pair = [looks.plane[i] for looks in (before, after) if looks.plane is not None]
                low, high = (float(part) for part in (np.min(pair), np.max(pair)))
                for panel, values in zip(panels[2 * i : 2 * i + 2], pair, strict=True):
                    panel.show(values, low if i == 0 else 0.0, high)
        self.next.text = f"<b>Next point to measure</b> {escape(self.worth.show(self.looks[0], self.view))}"
        self.weights.show([looks.weights for looks in self.looks], self.first.members)
        self.numbers.text = numbers(self.subjects, self.looks, self.view.at)

    def _show_points(self) -> None:
        """Show the given points, and beside each what the first model predicts there, as far as that is known."""
        along, other = (self._place(i) for i in (0, -1))
        told = self.looks[0].given if self.looks else (np.zeros(0), np.zeros(0))
        known = [np.concatenate([part, np.full(len(self.points), np.nan)])[: len(self.points)] for part in told]
        columns: Any = {"along": [x[along] for x in self.points.x], "other": [x[other] for x in self.points.x]}
        self._quiet = True
        self.source.data = columns | {"y": list(self.points.y), "mean": known[0], "std": known[1]}
        # Bokeh's table draws its cells again only if the rows that it shows are others.
        self.table.view.filter = AllIndices()
        chosen = [] if self.selected is None else [self.selected]
        if self.source.selected.indices != chosen:
            self.source.selected.indices = chosen
        self._quiet = False

    def _place(self, which: int) -> int:
        return self.first.inputs.index(self.first.drawn[which])

    def _say(self, what: str, *, wrong: bool = False) -> None:
        """Show `what` happened, and how far the compilation is."""
        if self.warmth.fault is not None:
            what, wrong = f"The model cannot be drawn: {self.warmth.fault}", True
        elif not self.warmth.finished:
            ready = f"ready for {self.warmth.ready} points, " if self.warmth.ready > 0 else ""
            what = f"Compiling programs, which takes a minute at the start: {ready}more follow. {what}"
        colour = VERMILION if wrong else "#444444"
        self.status.text = f'<span style="color: {colour}">{escape(what)}</span>'

    def _on_warmer(self) -> None:
        if self._due:
            self.refresh()
        if (self.warmth.finished or self.warmth.fault is not None) and self._document is not None:
            self._document.remove_periodic_callback(self._asking)
            self._say("Ready." if self.looks else "")

    # What the browser reports

    def _listen(self, plot: Any, to: Any) -> None:
        for kind in (Tap, DoubleTap, PanStart, Pan, PanEnd):
            plot.on_event(kind, to)

    def _on_curve(self, event: Any) -> None:
        along = self._place(0)
        places = [(x[along], y) for x, y in zip(self.points.x, self.points.y, strict=True)]
        axes = (self.first.drawn[0], Axis("", self.y_range.start, self.y_range.end))  # pyright: ignore[reportArgumentType]

        def placed(index: int | None) -> tuple[tuple[float, ...], float]:
            x = list(self.view.fixed if index is None else self.points.x[index])
            x[along] = event.x
            return tuple(x), event.y

        self._on_pointer(event, places, axes, placed)

    def _on_plane(self, event: Any) -> None:
        along, other = self._place(0), self._place(1)
        places = [(x[along], x[other]) for x in self.points.x]

        def placed(index: int | None) -> tuple[tuple[float, ...], float]:
            x = list(self.view.fixed)
            x[along], x[other] = event.x, event.y
            return tuple(x), float(self.new_value.value or 0.0) if index is None else self.points.y[index]

        self._on_pointer(event, places, self.first.drawn, placed)

    def _on_pointer(self, event: Any, places: list, axes: Sequence[Axis], placed: Any) -> None:
        """Do what a pointer's event asks for; `placed` gives a point (None: a new one) the pointer's place."""
        under = nearest(places, (event.x, event.y), axes)
        if isinstance(event, PanStart):
            self._held = self.selected = under
        elif isinstance(event, Pan | PanEnd) and self._held is not None:
            x, y = placed(self._held)
            self.points.move(self._held, x, self.first.outcome.snapped(y))
            self._show_points()
            self._soon()
            self._held = None if isinstance(event, PanEnd) else self._held
        elif isinstance(event, Tap):
            if under is None:
                self.add(*placed(None))
            else:
                self.selected = under
                self._show_points()
        elif isinstance(event, DoubleTap) and under is not None:
            self.delete(under)

    def _soon(self) -> None:
        """Draw what follows in a moment, so that a pointer's many moves become one update."""
        if self._document is None or self._document.session_context is None:
            self.refresh()
        elif not self._waiting:
            self._waiting = True
            self._document.add_timeout_callback(self._now, _TOGETHER)

    def _now(self) -> None:
        self._waiting = False
        self.refresh()

    def _on_table(self, _: str, __: Any, data: dict[str, Any]) -> None:
        """Take over what a user typed into the table."""
        if self._quiet:
            return
        along, other = self._place(0), self._place(-1)
        for i in range(min(len(self.points), len(data["y"]))):
            typed = [data[name][i] for name in ("other", "along", "y")]
            if not all(isinstance(value, int | float | np.number) and np.isfinite(value) for value in typed):
                continue  # A cell that was emptied: the table shows the point as it is.
            x = list(self.points.x[i])
            x[other], x[along] = typed[:2]
            self.points.move(i, tuple(x), self.first.outcome.snapped(typed[2]))
        self._soon()  # Not now: the table's data cannot be replaced while they are being changed.

    def _on_selected(self, _: str, __: Any, chosen: list[int]) -> None:
        if not self._quiet:
            self.selected = chosen[0] if chosen and chosen[0] < len(self.points) else None

    def _on_at(self, _: str, __: Any, value: float | None) -> None:
        if value is not None:
            self.view.at = float(value)
            self.priors = []
            self.refresh()

    def _on_fixed(self, place: int, _: str, __: Any, value: Any) -> None:
        self.view.fixed[place] = float(value)
        self.priors = []
        self.refresh()
