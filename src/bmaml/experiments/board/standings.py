"""The table of a leaderboard from every task's own scores: means, intervals over tasks and seeds, regrets, marks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bmaml.evaluation.intervals import as_text, two_way
from bmaml.evaluation.metrics import COVERAGES, bootstrap_calibration, range_of, reliability
from bmaml.experiments.board.run import OPTIMAL, Entry
from bmaml.experiments.numbers import Numbers, markdown_table

_REJECTING = tuple(f"accuracy_at_{round(100 * share)}" for share in COVERAGES if share < 1)
_SCORED = ("accuracy", "nll", "mse", "crps", "brier", "coverage", *_REJECTING, "accuracy_rejecting")
METRICS = (
    *("accuracy", "nll", "mse", "crps", "brier", "coverage", "calibration", "accuracy_at_90", "accuracy_rejecting"),
    *("regret_nll", "regret_mse"),
)
COLUMNS = ("method", "shots", "metric", "mean", "low", "high", "seeds", "tasks")
TIMES = ("method", "seeds", "meta_steps", "train_seconds", "adapt_ms")
# The coverage that an honest 90% interval may have.
HONEST = (0.87, 0.93)


def standings(entries: Sequence[Entry], *, own_tasks: bool = False) -> tuple[Numbers, Numbers]:
    """Return the scores (a row for each method, shots and metric) and the times (a row for each method) of `entries`.

    `own_tasks` says that each seed was scored on its own tasks. `low` and `high` are the ends of the 95% interval, which adds
    the squared standard errors over tasks and over seeds (one seed: over tasks alone). `tasks` is the number of all tasks.
    Regrets are paired with the Bayes-optimal predictor on the same tasks.
    """
    methods = list(dict.fromkeys(entry.method for entry in entries))
    best = next((entry for entry in entries if entry.method == OPTIMAL), None)
    rows, times = [], []
    for method in methods:
        of_method = [entry for entry in entries if entry.method == method]
        for shots in dict.fromkeys(shots for shots, _ in of_method[0].scores):
            sizes = [len(entry.scores[shots, "nll"]) for entry in of_method]
            tasks = sum(sizes) if own_tasks else sizes[0]
            rows += [(method, shots, *row, len(of_method), tasks) for row in _rows(of_method, best, shots, own_tasks)]
        adapt = 1e3 * float(np.median([entry.adapt_seconds for entry in of_method]))
        train = float(np.mean([entry.train_seconds for entry in of_method]))
        times.append((method, len(of_method), of_method[0].steps, train, adapt))
    return Numbers(COLUMNS, rows), Numbers(TIMES, times)


def _rows(of_method: list[Entry], best: Entry | None, shots: int, own_tasks: bool) -> list[tuple[str, float, float, float]]:
    each = {name: [entry.scores[shots, name] for entry in of_method] for s, name in of_method[0].scores if s == shots}
    rows = [(name, *two_way(each[name], own_tasks=own_tasks, within=range_of(name))) for name in _SCORED if name in each]
    calibration = bootstrap_calibration({name: np.concatenate(values) for name, values in each.items()})
    assert calibration is not None
    rows.append(("calibration", *calibration))
    if best is not None and of_method[0].method != OPTIMAL:
        rows += [
            (f"regret_{name}", *two_way([values - best.scores[shots, name] for values in each[name]]))
            for name in ("nll", "mse")
        ]
    return rows


def honest(numbers: Numbers, method: str) -> bool:
    """Return whether the 90% intervals of `method` in `numbers` cover 87% to 93% at every number of shots.

    A method without intervals counts as honest.
    """
    return all(HONEST[0] <= value <= HONEST[1] for value in numbers.values("mean", method=method, metric="coverage"))


def ranked(numbers: Numbers) -> list[str]:
    """Return the methods in `numbers` by mean NLL over all shots, the lowest first, with the Bayes-optimal predictor in
    front.
    """
    names = [name for name in numbers.distinct("method") if name != OPTIMAL]
    names.sort(key=lambda name: float(np.mean(numbers.values("mean", method=name, metric="nll"))))
    return [OPTIMAL] * (OPTIMAL in numbers.distinct("method")) + names


def to_markdown(numbers: Numbers, times: Numbers, command: str) -> str:
    """Return the board as Markdown: methods in order of NLL, with a mark on those whose intervals are not honest.

    - `numbers`, `times`: the results of `standings`.
    - `command`: the command that made them.
    """
    parts = [f"`{command}`", ""]
    for shots in numbers.distinct("shots"):
        parts += [f"## {shots} shots", "", _table(numbers, shots), ""]
    parts += ["## Time", "", _time_table(numbers, times), ""]
    parts.append(f"{numbers.values('tasks')[0]:,} new tasks; brackets: 95% intervals over tasks and seeds. {_legend(numbers)}")
    return "\n".join(parts) + "\n"


def _legend(numbers: Numbers) -> str:
    if "accuracy" in numbers.distinct("metric"):
        return (
            "NLL in nats an image; accuracy_at_90 is that of the 90% of a task's images that a method is surest of, "
            "accuracy_rejecting its mean over shares of 100 to 50%; calibration is the expected calibration error in 15 bins."
        )
    low, high = (f"{100 * end:.0f}" for end in HONEST)
    regret = ", regret against the Bayes-optimal on the same tasks" * ("regret_nll" in numbers.distinct("metric"))
    return (
        f"NLL in nats a point{regret}; coverage of the 90% interval, calibration error over levels of 5 to 95%. (!) marks "
        f"methods whose 90% intervals do not cover {low} to {high}% at every number of shots."
    )


def _table(numbers: Numbers, shots: int) -> str:
    shown = [metric for metric in METRICS if metric in numbers.distinct("metric")]
    rows = []
    for name in ranked(numbers):
        cells = [_cell(numbers.where(method=name, shots=shots, metric=metric)) for metric in shown]
        rows.append([f"{name}{'' if honest(numbers, name) else ' (!)'}", *cells])
    return markdown_table(["method", *shown], rows)


def _time_table(numbers: Numbers, times: Numbers) -> str:
    rows = []
    for name in ranked(numbers):
        row = times.where(method=name)[0]
        training = (f"{row['meta_steps']:,}", f"{row['train_seconds']:.0f}") if row["meta_steps"] else ("-", "-")
        rows.append([name, row["seeds"], *training, f"{row['adapt_ms']:.2f}"])
    return markdown_table(["method", "seeds", "meta-steps", "training, s", "adapting and predicting, ms"], rows)


def _cell(rows: list[dict]) -> str:
    return as_text(*(rows[0][name] for name in ("mean", "low", "high"))) if rows else ""


def reliabilities(entries: Sequence[Entry]) -> Numbers:
    """Return the bins of every method's reliability diagram from `entries`, with seeds and tasks pooled. Only classes
    have rows.
    """
    rows = []
    for method in dict.fromkeys(entry.method for entry in entries):
        of_method = [entry for entry in entries if entry.method == method]
        for shots in dict.fromkeys(shots for shots, name in of_method[0].scores if name == "share@0"):
            names = [name for s, name in of_method[0].scores if s == shots]
            pooled = {name: np.concatenate([entry.scores[shots, name] for entry in of_method]) for name in names}
            rows += [(method, shots, *bin) for bin in reliability(pooled)]
    return Numbers(("method", "shots", "confidence", "accuracy", "low", "high", "share"), rows)


def rejections(numbers: Numbers) -> Numbers:
    """Return accuracy against the share of images answered, from the scores `numbers` of a board of classes."""
    rows = []
    for row in numbers.where():
        known = {"accuracy": 1.0} | {f"accuracy_at_{round(100 * c)}": c for c in COVERAGES if c < 1}
        if row["metric"] in known:
            rows.append((row["method"], row["shots"], known[row["metric"]], row["mean"], row["low"], row["high"]))
    return Numbers(("method", "shots", "answered", "accuracy", "low", "high"), rows)
