"""Find the inner settings of the gradient methods on validation tasks of the sinusoids of Kim et al. (2018).

    python benchmarks/sinusoids/tune.py --out docs/results/tuning

Every method gets the same trials: three inner rates in steps of about sqrt(10), 1 and 5 inner steps (`--inner`), the
recipe's inner clip, the same meta-steps, one seed. Stein particles climb log-likelihoods in nats with a noise precision
that starts at 100, so their rates are a tenth of the others'. Trials are ranked by NLL at 5 shots on 200 validation tasks.
No result is scored on these tasks.
"""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path

import bmaml
from bmaml.evaluation.evaluate import evaluate
from bmaml.experiments.numbers import Numbers, markdown_table
from bmaml.io.files import write_atomically
from bmaml.recipes.families import build_method, build_plan, build_tasks
from bmaml.training.loop import NonFiniteError

METHODS = ("maml", "bmaml", "bfa", "platipus", "meta-sgd", "ml-laplace", "reptile", "pretrain", "fomaml", "abml", "ml-point")
RATES = (3e-3, 1e-2, 3e-2)
STEIN = ("bmaml", "bfa")
VALIDATION_SEED = 12345
COLUMNS = ("method", "rate", "inner_steps", "nll", "mse", "skipped")


def trial(name: str, rate: float, inner: int, steps: int) -> dict:
    """Train once and score on validation tasks; a run that diverged scores infinity."""
    family = build_tasks("sinusoid", shots=(3, 5, 10), queries=20)
    method = build_method(name, inner_learning_rate=rate, inner_steps=inner)
    row = {"method": name, "rate": rate, "inner_steps": inner}
    try:
        run = bmaml.train(method, family, build_plan(name, steps=steps, seed=0))
    except NonFiniteError:
        return row | {"nll": math.inf, "mse": math.inf, "skipped": steps}
    scores = evaluate(run, family, shots=(5,), count=200, seed=VALIDATION_SEED)
    return row | {"nll": scores.get("nll", 5).mean, "mse": scores.get("mse", 5).mean, "skipped": run.skipped}


def write(out: Path, rows: list[dict]) -> None:
    """Write every trial as CSV, and each method's best as Markdown."""
    Numbers(COLUMNS, [tuple(row[name] for name in COLUMNS) for row in rows]).write(out / "trials.csv")
    best_rows = []
    for name in dict.fromkeys(row["method"] for row in rows):
        best = min((row for row in rows if row["method"] == name), key=lambda row: row["nll"])
        best_rows.append([name, f"{best['rate']:g}", best["inner_steps"], f"{best['nll']:.3f}", f"{best['mse']:.3f}"])
    head = ("method", "inner rate", "inner steps", "NLL at 5 shots", "MSE at 5 shots")
    write_atomically(out / "best.md", markdown_table(head, best_rows) + "\n")


def main() -> None:
    """Try everything, write after each trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for trials.csv and best.md")
    parser.add_argument("--steps", type=int, default=1500, help="meta-steps of a trial")
    parser.add_argument("--methods", default=",".join(METHODS), help="methods, separated by commas")
    parser.add_argument("--inner", default="1,5", help="inner steps to try, separated by commas")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    steps = [int(count) for count in options.inner.split(",")]
    for name, inner, rate in itertools.product(options.methods.split(","), steps, RATES):
        rows.append(trial(name, rate / 10 if name in STEIN else rate, inner, options.steps))
        print(rows[-1], flush=True)
        write(options.out, rows)


if __name__ == "__main__":
    main()
