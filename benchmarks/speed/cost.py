"""How the time and the memory of a meta-step grow: with tasks, points, units of a layer, particles and inner steps.

    python benchmarks/speed/cost.py --out docs/results/speed

One picture a method: each line changes one size and leaves the others as they are. A slope is that of a line through the larger
half of the sizes, both axes in logarithms: 1 is linear, and below 1 something is shared. Time is processor time, the
least of several turns; memory is what the compiled program holds at once. With `--methods` the numbers of the other methods
stay as they are in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from program import Program

from bmaml import methods
from bmaml.experiments.numbers import markdown_table, write_results
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel, MLPFeatures
from bmaml.plots.style import PALETTE, panels, plain_log, save, title
from bmaml.training.memory import needed_bytes

_TURN = 0.2  # seconds


@dataclass(frozen=True)
class Sizes:
    """The sizes of a meta-step: `points` are those of the support, and of the query."""

    tasks: int = 16
    points: int = 10
    width: int = 40
    particles: int = 8
    steps: int = 1


AXES = {
    "tasks": (16, 32, 64, 128),
    "points": (10, 40, 160, 640),
    "width": (40, 80, 160, 320),
    "particles": (8, 16, 32, 64),
    "steps": (1, 2, 4, 8),
}


def _model(sizes: Sizes, **options: bool) -> GaussianModel:
    return GaussianModel(MLP((1, sizes.width, sizes.width, 1)), **options)


METHODS: dict[str, tuple[Callable[[Sizes], Method], tuple[str, ...]]] = {
    "maml": (
        lambda s: methods.maml(_model(s, known=True), inner_learning_rate=0.01, inner_steps=s.steps),
        ("tasks", "points", "width", "steps"),
    ),
    "bmaml": (
        lambda s: methods.bmaml(_model(s), particles=s.particles, inner_steps=s.steps),
        ("tasks", "points", "width", "particles", "steps"),
    ),
    "emaml": (
        lambda s: methods.emaml(_model(s), particles=s.particles, inner_steps=s.steps),
        ("tasks", "points", "width", "particles", "steps"),
    ),
    "experts": (
        lambda s: methods.experts(MLPFeatures(1, hidden=(s.width, s.width)), particles=s.particles),
        ("tasks", "points", "width", "particles"),
    ),
}


def cost(method: Method, sizes: Sizes) -> dict[str, float]:
    """Return the processor seconds of a meta-step and the bytes that its program holds."""
    program = Program(method, sizes.tasks, sizes.points)
    program.seconds(1)
    count = max(1, min(512, int(_TURN / program.seconds(1)[1])))
    least = min(program.seconds(count)[1] for _ in range(4))
    return {"seconds": least, "bytes": float(needed_bytes(program.compiled))}


def slope(at: list[int], values: list[float]) -> float:
    """Return the slope of the larger half of `values` at the sizes `at`, both in logarithms."""
    half = len(at) // 2
    return float(np.polyfit(np.log(at[half:]), np.log(values[half:]), 1)[0])


def measured(name: str, usual: Sizes) -> dict[str, list[dict[str, float]]]:
    """Return the costs of a method along each of its axes; `usual` are the sizes that do not grow."""
    build, axes = METHODS[name]
    found = {}
    for axis in axes:
        some = [replace(usual, **{axis: size}) for size in AXES[axis]]
        found[axis] = [{"size": size, **cost(build(each), each)} for size, each in zip(AXES[axis], some, strict=True)]
        print(name, axis, found[axis], flush=True)
    return found


def drawn(name: str, found: dict[str, list[dict[str, float]]], out: Path) -> None:
    """Draw time and memory of one method."""
    figure, (left, right) = panels(1, 2, width=4.2, height=3.4)
    for (axis, rows), colour in zip(found.items(), PALETTE, strict=False):
        times = [row["size"] / rows[0]["size"] for row in rows]
        for axes, key, unit in ((left, "seconds", 1e3), (right, "bytes", 1e-6)):
            values = [unit * row[key] for row in rows]
            label = f"{axis}, from {rows[0]['size']:g} (slope {slope([int(row['size']) for row in rows], values):.2f})"
            axes.plot(times, values, "o-", color=colour, label=label, markersize=4)
    for axes, what in ((left, "processor ms a meta-step"), (right, "MB held")):
        axes.set(xscale="log", xlabel="times as many", ylabel=what)
        counts = sorted({row["size"] / rows[0]["size"] for rows in found.values() for row in rows})
        axes.set_xticks(counts, [f"{count:g}" for count in counts])
        axes.minorticks_off()
        plain_log(axes)
        # Outside, so that no line runs under it.
        axes.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.suptitle(title(name))
    save(figure, out / f"cost-{name}.png")


def before(out: Path | None) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return what the folder `out` has from an earlier run."""
    path = None if out is None else out / "cost.json"
    return json.loads(path.read_text())["rows"] if path is not None and path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--particles", type=int, default=Sizes.particles)
    parser.add_argument("--out", type=Path, help="folder for cost.json, cost.md and the pictures")
    options = parser.parse_args()
    load, usual = os.getloadavg()[0], Sizes(particles=options.particles)
    again = options.methods.split(",")
    found = before(options.out) | {name: measured(name, usual) for name in again}
    rows = []
    for name, each in found.items():
        for axis, several in each.items():
            sizes = [int(row["size"]) for row in several]
            slopes = [slope(sizes, [row[key] for row in several]) for key in ("seconds", "bytes")]
            ends = f"{1e3 * several[0]['seconds']:.2f} to {1e3 * several[-1]['seconds']:.2f}"
            rows.append([name, axis, f"{sizes[0]} to {sizes[-1]}", ends, *(f"{one:.2f}" for one in slopes)])
    head = ("method", "what grows", "from, to", "ms a meta-step", "slope of time", "slope of memory")
    text = f"{markdown_table(head, rows)}\n\nOtherwise {usual}. Load {load:.1f} at the start.\n"
    print(text)
    if options.out:
        write_results(options.out, "cost", text, {"load": load, "rows": found})
        for name in again:
            drawn(name, found[name], options.out)


if __name__ == "__main__":
    main()
