"""The page of inferences alone: particles on a density, step by step."""

from __future__ import annotations

import time
from html import escape
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bokeh.document import Document
from bokeh.events import Pan, Tap
from bokeh.layouts import column, row
from bokeh.models import Button, Column, ColumnDataSource, Div, Select, Slider
from bokeh.palettes import Blues256

from bmaml.errors import BmamlError
from bmaml.explore.axes import Axis
from bmaml.explore.densities import DENSITIES, MOST_CENTRES, drawing, on_grid
from bmaml.explore.moves import MOVES, Walk, advance, start
from bmaml.explore.panels import GREY, SLIDER, VERMILION, WIDE, WRAP, blank

_COUNTS = (1, 10, 50, 200)
_TRAIL = 40
_CELLS = 90
_FRAMES = 15
# A pointer that draws a density leaves a centre at most this often, as a share of the picture.
_APART = 0.04


class InferencePage:
    """One window: a density, particles, and the method that moves them."""

    def __init__(self, links: str = ""):
        """Make the picture. `links` is HTML of links to other pages."""
        self.centres: list[tuple[float, float]] = []
        self.running = False
        self._key = 0
        self._document: Document | None = None
        self._beat: Any = None
        self._build_controls(links)
        self._build_picture()
        self.reset()

    # What is on the page

    def _build_controls(self, links: str) -> None:
        self.density = Select(title="Density", value="banana", options=[(n, n) for n in DENSITIES], width=110, name="density")
        self.move = Select(
            title="Method", value="svgd", options=[(n, m.title) for n, m in MOVES.items()], width=130, name="move"
        )
        self.count = Select(title="Particles", value="50", options=[str(c) for c in _COUNTS], width=80, name="count")
        self.size = Slider(
            title="log10 of the step size", start=-3, end=0.2, step=0.05, value=-1, name="size", width=170, **SLIDER
        )
        self.speed = Slider(title="Steps a second", start=1, end=120, step=1, value=20, name="speed", width=170, **SLIDER)
        self.play = Button(label="Play", button_type="primary", width=70, name="play")
        self.one = Button(label="One step", width=80, name="step")
        self.again = Button(label="Start again", width=95, name="reset")
        self.erase = Button(label="Erase drawing", width=110, name="erase", visible=False)
        self.status = Div(text="", name="told", **WIDE)
        head = "A dot is a particle, and the line behind it is its way. Choose the density <i>drawn</i> to draw one yourself."
        self.head = Div(text=f'<div style="font-size: 18px">Inference alone</div><div>{head} {links}</div>', **WIDE)
        self.density.on_change("value", lambda attr, old, new: self._new_density())
        self.move.on_change("value", lambda attr, old, new: self._new_move())
        self.count.on_change("value", lambda attr, old, new: self.reset())
        self.speed.on_change("value", lambda attr, old, new: self._set_beat())
        self.play.on_click(self.toggle)
        self.one.on_click(lambda: self.step(1))
        self.again.on_click(self.reset)
        self.erase.on_click(self._erase)

    def _build_picture(self) -> None:
        self.image = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.dots = ColumnDataSource({"x": [], "y": []}, name="particles")
        self.trails = ColumnDataSource({"xs": [], "ys": []})
        self.figure: Any = blank("", Axis("x1", -1.0, 1.0), Axis("x2", -1.0, 1.0), height=520)
        plot = self.figure
        place: Any = {"x": "x", "y": "y", "dw": "dw", "dh": "dh"}
        plot.image(image="image", source=self.image, palette=Blues256[::-1], **place)
        plot.multi_line("xs", "ys", source=self.trails, line_color=GREY, line_alpha=0.6)
        plot.scatter("x", "y", source=self.dots, size=8, fill_color=VERMILION, line_color="white")
        plot.on_event(Tap, self._on_pointer)
        plot.on_event(Pan, self._on_pointer)

    def layout(self) -> Column:
        """Return everything that the page shows, from top to bottom."""
        choices = row(self.density, self.move, self.count, self.size, self.speed, **WRAP)
        buttons = row(self.play, self.one, self.again, self.erase, **WRAP)
        return column(self.head, choices, buttons, self.status, self.figure, name="inference", **WIDE)

    def open(self, document: Document) -> None:
        """Put the page into a window's `document`."""
        self._document = document
        document.title = "bmaml explore: inference alone"
        document.template_variables["page"] = self
        document.add_root(self.layout())

    @property
    def which(self) -> int:
        """The number of the density."""
        return list(DENSITIES).index(self.density.value)

    # What a user does

    def reset(self) -> None:
        """Start again, with fresh particles."""
        row_ = DENSITIES[self.density.value]
        self._key += 1
        key = jax.random.key(self._key)
        self.walk: Walk = start(int(self.count.value), (row_.x, row_.y), key=key)
        self.trail = [np.asarray(self.walk.particles)]
        self._draw_density()
        self._draw()

    def step(self, count: int) -> None:
        """Move the particles by `count` steps, and draw them."""
        began, key = time.perf_counter(), jax.random.fold_in(jax.random.key(self._key), int(self.walk.steps))
        size = float(10.0**self.size.value)
        try:
            self.walk = advance(self.move.value, self.which, drawing(self.centres), self.walk, size, count, key=key)
        except BmamlError as error:
            self.status.text = f'<span style="color: {VERMILION}">{escape(str(error))}</span>'
            self._stop()
            return
        self.trail = [*self.trail, np.asarray(self.walk.particles)][-_TRAIL:]
        self._draw(time.perf_counter() - began)

    def toggle(self) -> None:
        """Let the particles move, or stop them."""
        self.running = not self.running
        self.play.label = "Pause" if self.running else "Play"
        self._set_beat()

    def _stop(self) -> None:
        if self.running:
            self.toggle()

    def _set_beat(self) -> None:
        """Move the particles in the rhythm that the slider says."""
        if self._document is None:
            return
        if self._beat is not None:
            self._document.remove_periodic_callback(self._beat)
            self._beat = None
        if self.running:
            speed = int(self.speed.value)
            frames = min(speed, _FRAMES)
            self._beat = self._document.add_periodic_callback(lambda: self.step(max(1, round(speed / frames))), 1000 // frames)

    def _new_density(self) -> None:
        self.erase.visible = self.density.value == "drawn"
        self.reset()

    def _new_move(self) -> None:
        self.size.value = round(float(np.log10(MOVES[self.move.value].sizes[1])), 2)
        self.reset()

    def _erase(self) -> None:
        self.centres.clear()
        self._draw_density()

    def _on_pointer(self, event: Any) -> None:
        """Add a centre to the drawn density where the pointer is."""
        if self.density.value != "drawn" or len(self.centres) >= MOST_CENTRES:
            return
        box = DENSITIES["drawn"]
        apart = _APART * (box.x[1] - box.x[0])
        if all(np.hypot(event.x - x, event.y - y) > apart for x, y in self.centres):
            self.centres.append((float(event.x), float(event.y)))
            self._draw_density()

    # What follows

    def _draw_density(self) -> None:
        box = DENSITIES[self.density.value]
        x, y = (jnp.linspace(*ends, _CELLS) for ends in (box.x, box.y))
        values = np.asarray(on_grid(jnp.asarray(self.which), drawing(self.centres), x, y))
        self.grid = np.asarray(x), np.asarray(y), values
        place = {"x": [box.x[0]], "y": [box.y[0]], "dw": [box.x[1] - box.x[0]], "dh": [box.y[1] - box.y[0]]}
        self.image.data = {"image": [values], **place}
        for ends, shown in ((box.x, self.figure.x_range), (box.y, self.figure.y_range)):
            shown.update(start=ends[0], end=ends[1])

    def _draw(self, seconds: float | None = None) -> None:
        particles = np.asarray(self.walk.particles)
        self.dots.data = {"x": particles[:, 0], "y": particles[:, 1]}
        paths = np.stack(self.trail) if len(self.trail[0]) <= _COUNTS[2] else np.zeros((1, 0, 2))
        self.trails.data = {"xs": list(paths[..., 0].T), "ys": list(paths[..., 1].T)}
        self.status.text = self._told(particles) + ("" if seconds is None else f"; {1000 * seconds:.0f} ms")

    def _told(self, particles: np.ndarray) -> str:
        """Return in words where the particles are, beside where the density is."""
        x, y, values = self.grid
        shares = values / values.sum()
        centre = float((shares.sum(0) * x).sum()), float((shares.sum(1) * y).sum())
        wide = (
            float(((shares.sum(0)) * (x - centre[0]) ** 2).sum()) ** 0.5,
            float(((shares.sum(1)) * (y - centre[1]) ** 2).sum()) ** 0.5,
        )
        own, spread = particles.mean(0), particles.std(0)
        accepted = f"; accepted {float(self.walk.accepted):.0%}" if MOVES[self.move.value].blackjax else ""
        return (
            f"Step {int(self.walk.steps)}: mean ({own[0]:.2f}, {own[1]:.2f}), deviation ({spread[0]:.2f}, {spread[1]:.2f}); "
            f"the density has mean ({centre[0]:.2f}, {centre[1]:.2f}), deviation ({wide[0]:.2f}, {wide[1]:.2f}){accepted}"
        )
