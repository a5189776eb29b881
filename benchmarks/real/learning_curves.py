"""Extrapolate learning curves of unseen data sets: every method on the same five folds, with paired intervals.

    python benchmarks/real/learning_curves.py --data DIR --out results/curves

DIR holds `learning_curves/learning_curves.csv.gz` (LCDB 1.0; columns curve, dataset, learner, train_size, error). A task is
a curve: its first n rows are given, and all later rows are to be predicted. To add a method, write `fit(train) ->
predictor` as in `baselines_curves.py` and give it a name in METHODS below.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import baselines_curves as baselines
import numpy as np
import ours

from bmaml.evaluation.intervals import bootstrap
from bmaml.experiments.numbers import markdown_table

METHODS = {
    "last_value": baselines.last_value,
    "power_law": baselines.power_law,
    "mixed_linear": baselines.mixed_linear,
    "grid_gaussian": baselines.grid_gaussian,
    "grid_student_t": baselines.grid_student_t,
    "lightgbm": baselines.lightgbm,
    "lightgbm_learner": baselines.lightgbm_learner,
    "bmaml": ours.bmaml,
    "bmaml_no_learner": ours.bmaml_no_learner,
}

# --- the learning curves ---------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """Sizes x (r,) = log2(train_size), ascending, and error rates y (r,) in [0, 1]."""

    dataset: str
    learner: str
    x: np.ndarray
    y: np.ndarray


def load(path) -> list[Curve]:
    """All distinct curves of the file, in a fixed order."""
    import pandas as pd

    table = pd.read_csv(path, dtype={"dataset": str}).sort_values(["curve", "train_size"])
    curves = {}
    for _, rows in table.groupby("curve", sort=True):
        # Exact duplicates are constant or degenerate learners under two names: they would count twice.
        seen = rows.train_size.to_numpy().tobytes() + rows.error.to_numpy().tobytes()
        x, y = np.log2(rows.train_size.to_numpy(float)), rows.error.to_numpy(float)
        curves.setdefault(seen, Curve(rows.dataset.iloc[0], rows.learner.iloc[0], x, y))
    return list(curves.values())


def questions(curves: list[Curve]):
    """Every curve at every n it is long enough for; the data set's name is held back from the predictor."""
    for n in baselines.SHOTS:
        for c in curves:
            if len(c.x) > n:
                context = Curve("", c.learner, c.x[:n], c.y[:n])
                yield Question(n, c.dataset, context, c.x[n:], c.y[n:], c.y[n:])


def folds(curves: list[Curve], seed: int, count: int = 5):
    """Five (train, questions) pairs; a data set is in the test part of exactly one."""
    names = np.random.default_rng(seed).permutation(sorted({c.dataset for c in curves}))
    for part in np.array_split(names, count):
        held = set(part)
        train, test = [c for c in curves if c.dataset not in held], [c for c in curves if c.dataset in held]
        yield train, lambda test=test: questions(test)


# --- scoring (shared with tides.py) ----------------------------------------------------------------------------------


class Question(NamedTuple):
    """One context and its queries (q,); the mean is scored on `clean` (q,), the density on `noisy` (q,)."""

    setting: int
    group: str
    context: Any
    queries: np.ndarray
    clean: np.ndarray
    noisy: np.ndarray


METRICS = ("rmse", "mae", "nll", "coverage")
LEVEL = 0.9  # of the predictive interval whose coverage is counted


def score(predictor: Callable, asked: Iterable[Question]) -> dict:
    """{setting: {group: sums (5,)}} of points, squared error, absolute error, NLL in nats, covered points.

    A predictor with `many(questions, level)` answers all at once: mean, log-density and covered (q,) of each question.
    """
    sums: dict = {}
    asked = list(asked)
    many = getattr(predictor, "many", None)
    answers = many(asked, LEVEL) if many else (_answer(predictor, q) for q in asked)
    for q, (mean, log_prob, covered) in zip(asked, answers, strict=True):
        error = mean - q.clean
        found = np.array([len(error), np.sum(error**2), np.sum(abs(error)), -np.sum(log_prob), np.sum(covered)])
        if not np.isfinite(found[:3]).all() or np.isinf(found[3]) or np.isnan(found[3]) != np.isnan(found[4]):
            raise ValueError(f"not finite: a prediction for {q.group!r} at {q.setting} given; mend the method")
        groups = sums.setdefault(q.setting, {})
        groups[q.group] = groups.get(q.group, 0) + found
    return sums


def _answer(predictor, q):
    """Mean, log-density of the targets and whether they are covered (q,); NaN where a method has no density."""
    guess = predictor(q.context, q.queries)
    if guess.log_prob is None:
        return guess.mean, *np.full((2, len(q.clean)), np.nan)
    low, high = guess.interval(LEVEL)
    return guess.mean, guess.log_prob(q.noisy), (low <= q.noisy) & (q.noisy <= high)


def evaluate(fit: Callable, parts: list) -> dict:
    """Sums of all folds in `parts` and the seconds spent; `fit` sees each fold's training part only."""
    sums: dict = {}
    seconds = {"fit": 0.0, "predict": 0.0}
    for train, asked in parts:
        start = time.perf_counter()
        predictor = fit(train)
        fitted = time.perf_counter()
        for setting, groups in score(predictor, asked()).items():
            sums.setdefault(setting, {}).update(groups)  # folds share no group
        seconds["fit"] += fitted - start
        seconds["predict"] += time.perf_counter() - fitted
    return {"sums": sums, "seconds": seconds}


def means(sums: np.ndarray) -> np.ndarray:
    """Metrics (..., 4) in the order of METRICS from sums (..., 5)."""
    each = sums[..., 1:] / sums[..., :1]
    each[..., 0] = np.sqrt(each[..., 0])
    return each


def columns(groups: dict) -> np.ndarray:
    """Sums (5, groups), the groups in order of their names: the same for every method, hence paired."""
    return np.stack([groups[name] for name in sorted(groups)], 1)


def metrics_of(sums: np.ndarray) -> np.ndarray:
    """Metrics (4, ...) of sums (5, ..., groups), all groups together."""
    return np.moveaxis(means(np.moveaxis(sums.sum(-1), 0, -1)), -1, 0)


def summary(results: dict) -> list[dict]:
    """One row per method and setting: each metric and its interval over groups."""
    rows = []
    for name, result in results.items():
        for setting, groups in result["sums"].items():
            value, low, high = bootstrap(columns(groups), metrics_of)
            row = {"method": name, "given": setting, "groups": len(groups)}
            for i, metric in enumerate(METRICS):
                row |= {metric: value[i], f"{metric}_low": low[i], f"{metric}_high": high[i]}
            rows.append(row | {f"{k}_s": round(v, 1) for k, v in result["seconds"].items()})
    return rows


def differences(results: dict, against: str) -> list[dict]:
    """Each other method minus `against`, with paired intervals over groups; below zero is better for errors and NLL."""
    rows = []
    for name in results:
        for setting, groups in results[name]["sums"].items() if name != against else ():
            other = results[against]["sums"][setting]
            both = np.concatenate([columns(groups), columns(other)])
            value, low, high = bootstrap(both, lambda sums: metrics_of(sums[:5]) - metrics_of(sums[5:]))
            row = {"method": name, "minus": against, "given": setting}
            for i, metric in enumerate(METRICS[:3]):
                row |= {metric: value[i], f"{metric}_low": low[i], f"{metric}_high": high[i]}
            rows.append(row)
    return rows


# --- reporting -------------------------------------------------------------------------------------------------------


def table(rows: list[dict], heads: tuple, metrics: tuple) -> str:
    """A Markdown table; a metric shows with its interval where that fits."""
    cells = [[row[head] for head in heads] + [_with_interval(row, metric) for metric in metrics] for row in rows]
    return markdown_table((*heads, *metrics), cells)


def _with_interval(row, metric):
    if not np.isfinite(row[metric]):
        return "-"
    if metric == "coverage":
        return f"{row[metric]:.3f}"
    return f"{row[metric]:.4f} [{row[metric + '_low']:.4f}, {row[metric + '_high']:.4f}]"


def report(title: str, protocol: dict, results: dict, against: str | None) -> str:
    """The Markdown of a whole run: results, then paired differences."""
    rows = summary(results)
    # The one to beat: the lowest NLL, or the lowest error where no method has a density.
    key = "nll" if any(np.isfinite(r["nll"]) for r in rows) else "rmse"
    best = min(rows, key=lambda r: r[key] if np.isfinite(r[key]) else np.inf)["method"]
    against = against if against and against in results else str(best)
    text = [f"# {title}", "", f"Run: {json.dumps(protocol)}", "Intervals: 95%, bootstrap over groups.", ""]
    text += [table(rows, ("method", "given"), METRICS), "", f"Difference from {against} (paired over groups)", ""]
    text += [table(differences(results, against), ("method", "given"), METRICS[:3]), ""]
    cost = ", ".join(f"{k} {v['seconds']['fit']:.0f}+{v['seconds']['predict']:.0f}" for k, v in results.items())
    return "\n".join([*text, f"Seconds, fit + predict, all folds: {cost}", ""])


def write(out: Path, protocol: dict, results: dict, text: str) -> None:
    """results.json (with sums per group, so any two runs can be paired), results.csv, results.md; each atomically."""
    out.mkdir(parents=True, exist_ok=True)
    rows, buffer = summary(results), io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    packed = {
        name: {
            "seconds": r["seconds"],
            "sums": {s: {g: _plain(v) for g, v in gs.items()} for s, gs in r["sums"].items()},
        }
        for name, r in results.items()
    }
    found = {
        "protocol": protocol,
        "environment": environment(),
        "methods": packed,
        "summary": [_clean(r) for r in rows],
    }
    for name, content in (
        ("results.json", json.dumps(found)),
        ("results.csv", buffer.getvalue()),
        ("results.md", text),
    ):
        partial = out / f".{name}.{os.getpid()}"
        partial.write_text(content)
        os.replace(partial, out / name)


def _plain(sums):
    return [float(f"{v:.9g}") if np.isfinite(v) else None for v in sums]  # JSON has no NaN


def _clean(row):
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}


def kept(out: Path, protocol: dict) -> dict:
    """Methods measured by an earlier run of the very same protocol in `out`, ready to be paired with."""
    path = out / "results.json"
    if not path.exists() or (found := json.loads(path.read_text()))["protocol"] != protocol:
        return {}
    return {
        name: {
            "seconds": r["seconds"],
            "sums": {int(s): {g: np.array(v, float) for g, v in gs.items()} for s, gs in r["sums"].items()},
        }
        for name, r in found["methods"].items()
    }


def environment() -> dict:
    """Versions that could move a number."""
    names = ("numpy", "scipy", "scikit-learn", "statsmodels", "lightgbm", "jax", "jaxlib", "bmaml")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions() if d.metadata["Name"]}
    versions = {n: metadata.version(n) for n in names if n in installed}
    return {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()} | versions


# --- the command -----------------------------------------------------------------------------------------------------


def arguments(description: str, methods: dict, default: list[str]) -> argparse.Namespace:
    """The options that both real-data benchmarks share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("BMAML_DATA"), help="folder of the data (or set BMAML_DATA)")
    parser.add_argument("--out", type=Path, help="write results.json, results.csv and results.md here")
    parser.add_argument("--methods", default=",".join(default), help=f"comma-separated, of: {', '.join(methods)}")
    parser.add_argument("--folds", default="0,1,2,3,4", help="which of the five folds, such as 0,1")
    parser.add_argument("--quick", action="store_true", help="a small part of the data, to see that it runs")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument("--against", help="the method that paired differences are taken from (default: the best NLL)")
    parser.add_argument("--keep", action="store_true", help="reuse what --out holds of the same protocol")
    chosen = parser.parse_args()
    chosen.methods = [m for m in chosen.methods.split(",") if m]
    unknown = [m for m in chosen.methods if m not in methods]
    if unknown or not chosen.data:
        parser.error(f"no method {unknown}; use {list(methods)}" if unknown else "give --data DIR or set BMAML_DATA")
    return chosen


def run(title: str, methods: dict, source: Path, parts: list, args: argparse.Namespace) -> None:
    """Measure each chosen method on the chosen folds, writing after each, so an interrupted run keeps what it has."""
    chosen = sorted({int(f) for f in args.folds.split(",")})
    protocol = {"task": title, "seed": args.seed, "folds": chosen, "quick": args.quick}
    protocol["data_sha256"] = hashlib.sha256(source.read_bytes()).hexdigest()
    results = kept(args.out, protocol) if args.keep and args.out else {}
    for name in args.methods:
        try:
            results[name] = evaluate(methods[name], [parts[f] for f in chosen])
        except ModuleNotFoundError as missing:
            print(f"{name}: left out, it needs the package {missing.name}", file=sys.stderr)
            continue
        print(table(summary({name: results[name]}), ("method", "given"), METRICS).split("\n", 2)[2], flush=True)
        if args.out:
            write(args.out, protocol, results, report(title, protocol, results, args.against))
    if results:
        print("\n" + report(title, protocol, results, args.against))


def located(data: str, name: str) -> Path:
    """The data file, or a sentence that says what is missing."""
    path = Path(data) / name
    if not path.exists():
        sys.exit(f"no {path}; --data must name the folder that holds {name}")
    return path


def main() -> None:
    """Load, split, measure."""
    args = arguments(__doc__ or "", METHODS, list(METHODS))
    source = located(args.data, "learning_curves/learning_curves.csv.gz")
    curves = load(source)
    if args.quick:
        some = set(sorted({c.dataset for c in curves})[::4])
        curves = [c for c in curves if c.dataset in some]
    run("Learning curves of unseen data sets", METHODS, source, list(folds(curves, args.seed)), args)


if __name__ == "__main__":
    main()
