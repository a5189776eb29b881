"""The report on a run that was trained on a family of tasks: what it says of new tasks, if they can be drawn."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from bmaml.distributions import AbstractContinuous
from bmaml.evaluation.evaluate import Evaluation, evaluate
from bmaml.evaluation.metrics import LEVEL
from bmaml.plots.style import BLUE, SUPPORT, label, panels
from bmaml.recipes.families import build_tasks
from bmaml.reports.made import figure_of, how_made, papers, training, unfinished
from bmaml.reports.parts import Grid, ModelReport, Picture, Section, interval
from bmaml.tasks import FAMILIES, AbstractTasks
from bmaml.tasks.base import drawn_sizes, scored
from bmaml.training.run import NotSaved, Run, about, source

_TASKS = 200
_SHOWN = 8
_SCORES = {
    "mse": "squared error",
    "nll": "NLL a point (nats)",
    "crps": "CRPS",
    "coverage": f"{LEVEL:.0%} interval holds",
    "accuracy": "right",
    "brier": "Brier score",
}


def report_of_run(run: Run) -> ModelReport:
    """Return the report on a `run`. New tasks are drawn from what it was trained on, if its folder names that."""
    noted = {} if run.directory is None else about(run.directory)
    made, how = how_made(run, noted.get("command"))
    learner, objective = (type(getattr(run.method, part, None)).__name__ for part in ("learner", "objective"))
    what = run.method.name or f"{learner} with {objective}"
    lines = [f"The method is {what}: the learner {learner} with the objective {objective}."]
    tasks, family = _tasks(run, noted), noted.get("tasks")
    if isinstance(family, str):
        lines.append(f"It was trained on tasks of the family {family}.")
    sections, numbers, warned = [], {}, unfinished(run)
    if tasks is None:
        warned.append("New tasks cannot be drawn from what is saved, so nothing here says how right the run is.")
    else:
        shots = _shots(tasks, family)
        found = evaluate(run, tasks, shots=shots, count=_TASKS, seed=1)
        sections, numbers = [_scored(found)], {"scores": [vars(row) for row in found.rows]}
        if tasks.inputs == 1 and tasks.outputs == 1:
            sections += _examples(run, tasks, max(shots))
    sections += [*training(run), made, *papers(run)]
    numbers = {"kind": "run", "tasks": family, "learner": learner, "objective": objective} | numbers | {"made": how}
    return ModelReport(f"A run of {what}", lines, warned, sections, numbers)


def _tasks(run: Run, noted: dict[str, Any]) -> AbstractTasks | None:
    """Return new tasks of the kind that a run was trained on, None if they cannot be drawn."""
    if noted.get("kind") == "family" and noted.get("tasks") in FAMILIES:
        return build_tasks(noted["tasks"])
    try:
        found = None if run.directory is None else source(run.directory)
    except NotSaved:
        return None
    return found if isinstance(found, AbstractTasks) else None


def _shots(tasks: AbstractTasks, family: Any) -> tuple[int, ...]:
    """Return the numbers of points to score after."""
    return (FAMILIES[family].shots if family in FAMILIES else ()) or (max(drawn_sizes(tasks).shots, 1),)


def _scored(found: Evaluation) -> Section:
    metrics = [name for name in _SCORES if any(row.metric == name for row in found.rows)]
    rows = [
        [str(shots), *(_cell(found, name, shots) for name in metrics)] for shots in sorted({row.shots for row in found.rows})
    ]
    grid = Grid("Scores", ["points given", *(_SCORES[name] for name in metrics)], rows)
    text = f"Means over {found.rows[0].tasks} new tasks, with 95% intervals over tasks."
    return Section("How well new tasks are predicted", [text], tables=[grid])


def _cell(found: Evaluation, metric: str, shots: int) -> str:
    row = found.get(metric, shots)
    known = np.isfinite([row.low, row.high]).all()
    return interval(row.mean, row.low if known else None, row.high if known else None)


def _examples(run: Run, tasks: AbstractTasks, shots: int) -> list[Section]:
    """Return a section with predictions for some new tasks; none if the run does not predict numbers."""
    keys = jax.random.split(jax.random.key(1), _SHOWN)
    drawn = [scored(tasks, key, jnp.asarray(shots)) for key in keys]
    support = [one.task.support for one in drawn]
    masks = [np.asarray(data.mask) > 0 for data in support]
    every = np.concatenate([np.asarray(part.x) for one in drawn for part in (one.task.support, one.task.query)])
    grid = np.linspace(every.min(), every.max(), 101, dtype=every.dtype)[:, None]
    learner, meta, key = run.predictor.learner, run.predictor.meta, jax.random.key(0)

    def predictive(data: Any) -> Any:
        return learner.adapt(meta, data, key=key).predict(jnp.asarray(grid))

    if not isinstance(eqx.filter_eval_shape(predictive, support[0]), AbstractContinuous):
        return []

    @eqx.filter_jit
    def answer(data: Any) -> tuple[Array, Array, Array]:
        found = predictive(data)
        return found.mean, *found.interval(LEVEL)

    answers = [[np.asarray(part)[:, 0] for part in answer(data)] for data in support]

    def draw() -> Figure:
        _, axes = panels(2, _SHOWN // 2, width=2.5, height=2.1)
        for axis, (mean, low, high), one, data, mask in zip(axes, answers, drawn, support, masks, strict=True):
            axis.fill_between(grid[:, 0], low, high, color=BLUE, alpha=0.2, lw=0, label=f"{LEVEL:.0%} interval")
            axis.plot(grid[:, 0], mean, color=BLUE, lw=1.5, label="mean")
            real = np.asarray(one.task.query.mask) > 0
            axis.plot(one.task.query.x[real, 0], one.task.query.y[real, 0], ".", ms=3, color="#999999", label="other points")
            axis.plot(data.x[mask, 0], data.y[mask, 0], "o", ms=5, color=SUPPORT, label="given")
            label(axis, x="x")
        label(axes[0], y="y")
        label(axes[_SHOWN // 2], y="y")
        axes[0].figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )
        return figure_of(axes[0])

    line = f"{_SHOWN} new tasks, each predicted from {shots} points."
    return [Section("Single tasks", [line], [Picture("Predictions for new tasks.", draw, 900)])]
