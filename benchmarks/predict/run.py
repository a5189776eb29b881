"""How fast `bmaml predict` answers for many new tasks, in how much memory, and whether the numbers are those of single tasks.

    python benchmarks/predict/run.py --tasks 100000 --out docs/results/predict

It fits the default model to simulated tasks, writes a table of new tasks of ten rows, of which half are measured, and one of a
single task that is asked for a million rows. The rate is compared with that of the compiled program alone, which adapts and
answers for one full batch again and again. What a table of few tasks takes with programs that are kept is the start. The rate
is also given beyond it.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv

import bmaml
from bmaml.estimators import many
from bmaml.experiments.numbers import markdown_table, write_results

ROWS, SAMPLE, REPEATS = 10, 50, 20
# Tasks of a table whose answers take no time beside the start, with which all programs run.
FEW = 256


def written(path: Path, tasks: int, measured: int, asked: int, seed: int) -> None:
    """Write a table of tasks whose lines differ in level and slope; `asked` rows of each have no outcome."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(tasks), measured + asked)
    x = rng.uniform(-2, 2, len(task))
    y = rng.normal(size=tasks)[task] + (1 + 0.5 * rng.normal(size=tasks))[task] * x + 0.2 * rng.normal(size=len(task))
    open_ = np.tile(np.arange(measured + asked) >= measured, tasks)
    columns = {"task": pa.array(task).cast(pa.string()), "x": x.round(4), "y": pa.array(y.round(4), mask=open_)}
    pyarrow.csv.write_csv(pa.table(columns), path)


def predicted(model: Path, table: Path, out: Path) -> dict[str, float]:
    """Return the seconds, processor seconds and bytes that `bmaml predict` takes."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bmaml", "predict", str(model), str(table), "--out", str(out)])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("bmaml predict failed")
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "processor_seconds": used.ru_utime + used.ru_stime, "bytes": 1024 * used.ru_maxrss}


def raw_rate(model: bmaml.FewShotRegressor, table: Path) -> float:
    """Return tasks a processor second of the compiled program on a full batch."""
    calls = []

    def kept(*arguments: Any) -> Any:
        calls.append(arguments)
        return program(*arguments)

    program, many._answers = many._answers, kept
    next(iter(model.adapt_many(str(table))))
    many._answers = program
    arguments = calls[0]
    jax.block_until_ready(program(*arguments))
    began = time.process_time()
    for _ in range(REPEATS):
        jax.block_until_ready(program(*arguments))
    return REPEATS * len(arguments[3]) / (time.process_time() - began)


def largest_gap(model: bmaml.FewShotRegressor, table: Path, out: Path) -> float:
    """Return the largest difference to single tasks in a sample, as a share of the outcome's deviation."""
    answers: dict[str, list[list[float]]] = {}
    with out.open() as file:
        for row in csv.DictReader(file):
            if len(answers) < SAMPLE or row["task"] in answers:
                answers.setdefault(row["task"], []).append([float(row[f"y_{what}"]) for what in ("mean", "std", "low", "high")])
    given: dict[str, tuple[list[float], list[float], list[float]]] = {task: ([], [], []) for task in answers}
    with table.open() as file:
        for row in csv.DictReader(file):
            if row["task"] in given:
                x, y, asked = given[row["task"]]
                if row["y"]:
                    x.append(float(row["x"]))
                    y.append(float(row["y"]))
                else:
                    asked.append(float(row["x"]))
    gap = 0.0
    for task, (x, y, asked) in given.items():
        adapted = model.adapt(np.array(x)[:, None], y)
        rows = np.array(asked)[:, None]
        mean, std = adapted.predict(rows, return_std=True)
        each = np.stack([mean, std, *adapted.interval(rows)], 1)
        gap = max(gap, float(np.abs(each - np.array(answers[task])).max() / model.schema_.scales[0]))
    return gap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=1_000_000, help="rows asked of one task")
    parser.add_argument("--steps", type=int, default=400, help="meta-steps of the model's experts")
    parser.add_argument("--out", type=Path, help="folder for results.json and results.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(folder / "known.csv", 100, ROWS, 0, 0)
        model = bmaml.FewShotRegressor(steps=options.steps).fit(str(folder / "known.csv"), "y", task="task", x="x")
        model.save(folder / "model")
        rows = []
        written(folder / "few.csv", FEW, 5, 5, 1)
        _, start = (predicted(folder / "model", folder / "few.csv", folder / f"few-{i}.csv") for i in range(2))
        for name, tasks, measured, asked in (("many tasks", options.tasks, 5, 5), ("one task", 1, 5, options.asked)):
            table, out = folder / f"{tasks}.csv", folder / f"{tasks}-out.csv"
            written(table, tasks, measured, asked, 1)
            found = {"what": name, "tasks": tasks, "asked": asked} | predicted(folder / "model", table, out)
            if tasks > 1:
                beyond = found["processor_seconds"] - start["processor_seconds"]
                found |= {"tasks_a_processor_second": tasks / found["processor_seconds"], "beyond_start": tasks / beyond}
                found |= {"start": start, "raw": raw_rate(model, table)}
                found["largest_gap"] = largest_gap(model, table, out)
            rows.append(found)
            print(found, flush=True)
    cells = [
        [
            *(r["what"], f"{r['tasks']:,}", f"{r['asked']:,}", f"{r['seconds']:.0f}", f"{r['processor_seconds']:.0f}"),
            *(f"{r['bytes'] / 1e6:.0f}", f"{r.get('tasks_a_processor_second', 0):.0f}"),
            *(f"{r.get('beyond_start', 0):.0f}", f"{r.get('raw', 0):.0f}", f"{r.get('largest_gap', 0):.1e}"),
        ]
        for r in rows
    ]
    head = ("table", "tasks", "rows asked of each", "seconds", "processor seconds", "MB at most")
    head += ("tasks a processor second", "beyond the start", "of the program alone")
    head += ("largest gap to single tasks, in deviations",)
    began = f"The start takes {start['seconds']:.1f} s, {start['processor_seconds']:.1f} of the processor."
    text = f"{markdown_table(head, cells)}\n\n{began} Load {load:.1f}, {os.cpu_count()} cores.\n"
    print(text)
    if options.out:
        write_results(options.out, "results", text, {"load": load, "rows": rows})


if __name__ == "__main__":
    main()
