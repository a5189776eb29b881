"""The pictures of a page: curves with their bands, planes, what a measurement is worth, and the weights of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from bokeh.models import BasicTicker, ColorBar, ColumnDataSource, LinearColorMapper, Range1d
from bokeh.models.glyphs import MultiLine
from bokeh.models.tickers import FixedTicker
from bokeh.plotting import figure

from bmaml.explore.axes import Axis
from bmaml.explore.looks import Looks, View, pool_rows
from bmaml.explore.subjects import AbstractSubject

# Okabe and Ito's colours, which people with colour blindness tell apart.
BLUE, ORANGE, GREEN, VERMILION, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777", "#111111"
ACQUISITION_COLOURS = {"variance": BLUE, "information": VERMILION, "reduction": GREEN}
_MARKERS = {"variance": "triangle", "information": "diamond", "reduction": "square"}
WIDE: Any = {"sizing_mode": "stretch_width"}
WRAP: Any = {"sizing_mode": "stretch_width", "styles": {"flex-wrap": "wrap"}}
# The title of a slider shows the value, and a tooltip would lie over it.
SLIDER: Any = {"tooltips": False}
_EMPTY = ("x", "mean", "low90", "low50", "high50", "high90")
_HEIGHT = 345
# Share of an axis that is left free at its ends for marks.
_ROOM = 0.02


def axis_type(axis: Axis) -> Literal["datetime", "log", "linear"]:
    """Return Bokeh's name for the kind of `axis`."""
    return "datetime" if axis.form == "date" else "log" if axis.log else "linear"


def span(low: float, high: float) -> Range1d:
    """Return a range of an axis from `low` to `high`."""
    ends: Any = {"start": low, "end": high}
    return Range1d(**ends)


def blank(title: str, x: Axis, y: Axis, height: int = _HEIGHT, y_range: Range1d | None = None) -> figure:
    """Return a figure without tools, whose axes are named after columns and do not move.

    - `title`: its title.
    - `x`, `y`: its axes.
    - `height`: in pixels; the width follows the window.
    - `y_range`: the range of the second axis, if pictures share one.
    """
    ranges: Any = {"x_range": span(x.low, x.high), "y_range": y_range or span(y.low, y.high)}
    kinds: Any = {"x_axis_type": axis_type(x), "y_axis_type": axis_type(y), "toolbar_location": None, "tools": ""}
    size: Any = {"height": height, "min_width": 300, "sizing_mode": "stretch_width"}
    plot: Any = figure(title=title, **size, **kinds, **ranges)
    plot.xaxis.axis_label, plot.yaxis.axis_label = x.name, y.name
    plot.title.text_font_style, plot.title.text_font_size = "normal", "14px"
    plot.grid.grid_line_alpha, plot.outline_line_color = 0.4, None
    for labelled in (*plot.xaxis, *plot.yaxis):
        labelled.axis_label_text_font_style = "normal"
    if y.levels:
        plot.yaxis.ticker = FixedTicker(ticks=list(range(len(y.levels))))
        plot.yaxis.major_label_overrides = dict(enumerate(y.levels))
    return plot


class CurvePanel:
    """The prediction of a model along one input: mean, 50% and 90% bands, and functions or particles."""

    def __init__(self, title: str, subject: AbstractSubject, outcome: Axis, y_range: Range1d, colour: str):
        """Draw an empty panel.

        - `title`: its title.
        - `subject`: the model.
        - `outcome`, `y_range`: the axis of the outcome, and its range, which panels share.
        - `colour`: colour of the model.
        """
        self.subject, self.title = subject, title
        self.bands = ColumnDataSource({name: [] for name in _EMPTY})
        self.drawn = ColumnDataSource({"xs": [], "ys": []})
        self.figure = blank(title, subject.drawn[0], outcome, y_range=y_range)
        plot: Any = self.figure
        ends = {"x": "x", "source": self.bands, "color": colour}
        plot.varea(y1="low90", y2="high90", fill_alpha=0.16, legend_label="90%", **ends)
        plot.varea(y1="low50", y2="high50", fill_alpha=0.3, legend_label="50%", **ends)
        plot.add_glyph(self.drawn, MultiLine(xs="xs", ys="ys", line_color=GREY, line_alpha=0.4, line_width=1))
        plot.line(y="mean", line_width=2, legend_label="mean", **ends)
        _flat_legend(plot)

    def show(self, looks: Looks) -> None:
        """Draw `looks` of the model."""
        x = self.subject.drawn[0].grid(len(looks.mean))
        self.bands.data = {"x": x, "mean": looks.mean, **looks.bands._asdict()}
        self.drawn.data = {"xs": [x] * len(looks.functions), "ys": list(looks.functions)}

    def add_points(self, points: ColumnDataSource) -> None:
        """Also draw the given points of the source `points`, with columns `along` and `y`."""
        style = {"size": 11, "line_color": "white", "fill_color": BLACK}
        chosen = {"selection_fill_color": VERMILION, "nonselection_fill_color": BLACK, "nonselection_fill_alpha": 1.0}
        self.figure.scatter("along", "y", source=points, **style, **chosen)


def _flat_legend(plot: Any) -> None:
    legend = plot.legend[0]
    legend.orientation, legend.location = "horizontal", "top_left"
    legend.padding, legend.spacing, legend.margin = 2, 6, 0
    legend.background_fill_color, legend.border_line_color, legend.label_text_font_size = None, None, "11px"
    legend.glyph_height = legend.label_height = 14
    # Outside of the frame, so that no curve runs under it.
    plot.add_layout(legend, "above")


def _widened(ends: Any, log: bool) -> None:
    """Add a little room at both ends of a range."""
    low, high = (np.log(end) if log else end for end in (ends.start, ends.end))
    room = _ROOM * (high - low)
    ends.start, ends.end = (float(np.exp(end) if log else end) for end in (low - room, high + room))


class PlanePanel:
    """A number over two inputs, as colours: the mean of a prediction, or its standard deviation."""

    def __init__(self, title: str, subject: AbstractSubject, palette: str):
        """Draw an empty panel with `title` for the model `subject`, in the colours of Bokeh's `palette`."""
        first, second = subject.drawn
        self.subject, self.mapper = subject, LinearColorMapper(palette=palette)
        self.image = ColumnDataSource({"image": []})
        self.figure = blank(title, first, second)
        plot: Any = self.figure
        place = {"x": first.low, "y": second.low, "dw": first.high - first.low, "dh": second.high - second.low}
        plot.image(image="image", source=self.image, color_mapper=self.mapper, **place)
        plot.add_layout(ColorBar(color_mapper=self.mapper, width=10, ticker=BasicTicker(desired_num_ticks=5)), "right")

    def show(self, values: np.ndarray, low: float, high: float) -> None:
        """Draw `values` of a grid, (side * side,), whose colours run from `low` to `high`."""
        side = round(len(values) ** 0.5)
        self.mapper.low, self.mapper.high = low, high if high > low else low + 1.0
        self.image.data = {"image": [values.reshape(side, side)]}

    def add_points(self, points: ColumnDataSource) -> None:
        """Also draw the given points of the source `points`, with columns `along` and `other`."""
        style = {"size": 11, "line_color": "white", "fill_color": BLACK}
        chosen = {"selection_fill_color": VERMILION, "nonselection_fill_color": BLACK, "nonselection_fill_alpha": 1.0}
        self.figure.scatter("along", "other", source=points, **style, **chosen)


class WorthPanel:
    """What a measurement at each place is worth, by acquisition; each curve is divided by its largest value."""

    def __init__(self, title: str, subject: AbstractSubject):
        """Draw an empty panel with `title` for the model `subject`."""
        self.subject = subject
        self.plane = len(subject.drawn) == 2
        if self.plane:
            self.figure = blank(title, *subject.drawn, height=260)
        else:
            share = Axis("worth, share of the largest", 0.0, 1.08)
            self.figure = blank(title, subject.drawn[0], share, height=260)
        plot: Any = self.figure
        # A best place is often at an end, where its mark would be cut.
        _widened(plot.x_range, subject.drawn[0].log)
        if self.plane:
            _widened(plot.y_range, subject.drawn[1].log)
        self.lines, self.best = {}, {}
        for name, colour in ACQUISITION_COLOURS.items():
            self.lines[name] = ColumnDataSource({"x": [], "y": []})
            self.best[name] = ColumnDataSource({"x": [], "y": []})
            style: Any = {"color": colour, "legend_label": name}
            if not self.plane:
                plot.line("x", "y", source=self.lines[name], line_width=1.5, **style)
            plot.scatter("x", "y", source=self.best[name], size=12, marker=_MARKERS[name], line_color="white", **style)
        _flat_legend(plot)

    def show(self, looks: Looks, view: View) -> str:
        """Draw `looks` of the model, as they are seen from `view`; returns the next points in words."""
        pool, said = pool_rows(self.subject, view), []
        along = self.subject.inputs.index(self.subject.drawn[0])
        for name in self.lines:
            values = looks.worth.get(name)
            if values is None or not np.isfinite(values).all():
                self.lines[name].data = self.best[name].data = {"x": [], "y": []}
                continue
            share, best = values / max(float(values.max()), 1e-30), pool[int(np.argmax(values))]
            other = [best[self.subject.inputs.index(self.subject.drawn[1])]] if self.plane else [1.0]
            self.best[name].data = {"x": [best[along]], "y": other}
            self.lines[name].data = {"x": pool[:, along], "y": share}
            place = ", ".join(axis.text(best[self.subject.inputs.index(axis)]) for axis in self.subject.drawn)
            said.append(f"{name}: {place}")
        return "; ".join(said)


class WeightsPanel:
    """The weight of each expert, or of each candidate of a mixture."""

    def __init__(self, colours: Sequence[str]):
        """Draw an empty panel. `colours` are those of the models, side by side."""
        self.bars = [ColumnDataSource({"place": [], "weight": [], "name": []}) for _ in colours]
        self.figure: Any = blank("Weight of each expert", Axis("expert", -0.6, 1.0), Axis("weight", 0.0, 1.0), height=260)
        self.figure.xaxis.ticker = BasicTicker(min_interval=1)
        for bars, colour in zip(self.bars, colours, strict=True):
            self.figure.vbar("place", top="weight", width=0.75, source=bars, color=colour, alpha=0.6)

    def show(self, weights: Sequence[np.ndarray], names: Sequence[str]) -> None:
        """Draw the `weights` of each model; `names` are those of the first model's experts, if they have names."""
        most = max((len(part) for part in weights), default=0)
        for bars, part in zip(self.bars, weights, strict=True):
            bars.data = {"place": np.arange(len(part)), "weight": part, "name": [str(i) for i in range(len(part))]}
        self.figure.visible = most > 0
        self.figure.x_range.end = max(most - 0.4, 0.6)
        top = max((float(part.max()) for part in weights if len(part)), default=1.0)
        self.figure.y_range.end = min(1.05, 1.25 * top)
        if len(names) == most:
            self.figure.xaxis.ticker = FixedTicker(ticks=list(range(most)))
            self.figure.xaxis.major_label_overrides = dict(enumerate(names))
            self.figure.xaxis.major_label_orientation = 0.5
