"""Every method on the sinusoids of Kim et al. (2018), scored on the same 1,000 new tasks beside the Bayes-optimal predictor.

    python benchmarks/sinusoids/run.py --out results/sinusoids

Runs are kept under OUT/runs and resumed or reused by a second call; results.json, results.csv and results.md are written anew.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import time
from pathlib import Path

import bmaml
from bmaml.cli.progress import BarProgress
from bmaml.evaluation import Evaluation, evaluate, regret, to_records
from bmaml.io.files import write_atomically
from bmaml.learners import ConjugateLearner
from bmaml.recipes import build_method, build_plan, build_tasks
from bmaml.tasks.bayes_optimal import BayesOptimal

SHOTS = (3, 5, 10, 20)
# Trained with 64 codes drawn for each task; more of them integrate the code more finely.
EXPERTS = 256
SHOWN = ("mse", "nll", "crps", "coverage", "calibration")
# Name: method, fixed tasks (None is endless), meta-steps (None is the recipe's), settings found by tuning.
ENTRIES: dict[str, tuple[str, int | None, int | None, dict]] = {
    "experts": ("experts", None, None, {}),
    "experts, 5,000 fixed tasks": ("experts", 5000, None, {}),
    "bmaml": ("bmaml", None, None, {}),
    "emaml": ("emaml", None, None, {}),
    "maml": ("maml", None, None, {}),
    "bmaml, 5,000 fixed tasks": ("bmaml", 5000, None, {}),
    "maml, 5,000 fixed tasks": ("maml", 5000, None, {}),
}


def trained(name: str, folder: Path) -> tuple[bmaml.Run, float]:
    """Return an entry's run, trained, resumed or loaded, and the seconds that training has taken in all."""
    method, count, steps, settings = ENTRIES[name]
    path = folder / name.replace(" ", "-").replace(",", "")
    if path.exists():
        run = bmaml.resume(path, progress=BarProgress(name))
    else:
        tasks = build_tasks("sinusoid", shots=(3, 5, 10), queries=20, count=count, samples=40)
        about = {"kind": "family", "tasks": "sinusoid", "method": method}
        plan = build_plan(method, steps=steps)
        run = bmaml.train(
            build_method(method, **settings), tasks, plan, directory=path, about=about, progress=BarProgress(name)
        )
    return run, sum(record["seconds"] for record in run.history)


def main() -> None:
    """Train, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--entries", default=";".join(ENTRIES), help="entries to run, separated by ';'")
    parser.add_argument("--tasks", type=int, default=1000, help="test tasks")
    options = parser.parse_args()
    family = build_tasks("sinusoid", shots=SHOTS, queries=50)
    names = options.entries.split(";")
    results, seconds = {}, {}
    for name in names:
        run, seconds[name] = trained(name, options.out / "runs")
        learner = run.method.learner
        if isinstance(learner, ConjugateLearner):
            learner = dataclasses.replace(learner, particles=EXPERTS)
        results[name] = evaluate(learner, run.meta, family, shots=SHOTS, count=options.tasks, seed=1, batch=10)
    began = time.perf_counter()
    best = evaluate(BayesOptimal(family), None, family, shots=SHOTS, count=options.tasks, seed=1, batch=2)
    seconds["bayes-optimal"] = time.perf_counter() - began
    results["bayes-optimal"] = best
    write(options.out, results, seconds, best)


def write(out: Path, results: dict[str, Evaluation], seconds: dict[str, float], best: Evaluation) -> None:
    """Write the records, their regrets and a Markdown table."""
    records = to_records(results)
    for name, evaluation in results.items():
        for metric in ("nll", "mse"):
            for (shots, steps), (mean, low, high) in regret(evaluation, best, metric).items():
                row = {"method": name, "shots": shots, "steps": steps, "metric": f"regret_{metric}"}
                records.append(
                    row | {"mean": mean, "low": low, "high": high, "tasks": len(evaluation.scores[shots, steps]["mse"])}
                )
    write_atomically(out / "results.json", json.dumps({"records": records, "seconds": seconds}, indent=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomically(out / "results.csv", text.getvalue())
    write_atomically(out / "results.md", markdown(records, seconds))
    print((out / "results.md").read_text())


def markdown(records: list[dict], seconds: dict[str, float]) -> str:
    """Return a table with a row for each method and number of shots."""
    columns = (*SHOWN, "regret_nll", "regret_mse")
    lines = ["| method | seconds | shots | " + " | ".join(columns) + " |", "|---" * (len(columns) + 3) + "|"]
    for name, spent in seconds.items():
        for shots in SHOTS:
            cells = []
            for metric in columns:
                row = next(r for r in records if (r["method"], r["shots"], r["metric"]) == (name, shots, metric))
                cells.append(f"{row['mean']:.4g} [{row['low']:.4g}, {row['high']:.4g}]")
            lines.append(f"| {name} | {spent:.0f} | {shots} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
