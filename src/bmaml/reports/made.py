"""How a model was made: the part that all reports share."""

from __future__ import annotations

import platform

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder, versions
from bmaml.methods.citations import cite
from bmaml.plots.training import plot_training
from bmaml.reports.parts import Grid, Picture, Section
from bmaml.training.run import Run


def how_made(run: Run, command: str | None) -> tuple[Section, dict[str, object]]:
    """Return the section on how a model was made, and the same for JSON.

    `run` is the model's run, and `command` what was typed to make it, if that is known.
    """
    now = versions() | {"python": platform.python_version()}
    then = now if run.directory is None else RunFolder(run.directory).made_with()
    names = list(dict.fromkeys([*then, *now]))
    grid = Grid(
        "Versions", ["package", "trained with", "reported with"], [[n, then.get(n, "-"), now.get(n, "-")] for n in names]
    )
    found = {
        "command": command,
        "trained_with": then,
        "reported_with": now,
        "seconds": round(run.seconds, 1),
        "seed": run.plan.seed,
        "method": run.method.name,
        "meta_steps": run.step,
        "skipped": run.skipped,
    }
    took = f"Training took {run.seconds:,.0f} seconds. The seed was {run.plan.seed}."
    lines = [took, "The command was:" if command else "The command is not known, because the model was made in Python."]
    return Section("How the model was made", lines, tables=[grid], code=command or ""), found


def papers(run: Run) -> list[Section]:
    """Return a section with BibTeX of the papers behind a run's method; none if the method names no paper."""
    try:
        return [Section("Papers behind the method", code=cite(run))]
    except InputError:
        return []


def training(run: Run) -> list[Section]:
    """Return a section with the loss along the training of `run`; none without records."""
    if len(run.history) < 2:
        return []

    def draw() -> Figure:
        return figure_of(plot_training(run))

    text = "The loss of the training. It is a mean over the tasks of the meta-steps before each point."
    return [Section("Training", [f"{run.step:,} of {run.steps:,} meta-steps were made."], [Picture(text, draw, 560)])]


def unfinished(run: Run) -> list[str]:
    """Return a warning if the training of `run` is not at its end, or left meta-steps out."""
    found = []
    if not run.finished:
        found.append(f"The training stopped at meta-step {run.step} of {run.steps}: finish it with bmaml resume.")
    if run.skipped:
        found.append(f"{run.skipped} meta-steps were skipped because a number was not finite: lower the learning rate.")
    return found


def figure_of(axis: Axes) -> Figure:
    """Return the figure of `axis`, out of the reach of pyplot, so that it does not stay in memory."""
    figure = axis.get_figure()
    assert isinstance(figure, Figure)
    plt.close(figure)
    return figure
