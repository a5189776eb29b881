"""How long a large table takes to be read, checked and encoded, and how much memory, beside the engine's own reading.

    python benchmarks/tables_io/run.py --rows 10000000 --tasks 1000000 --out docs/results/tables_io

It writes a table of a task, two inputs and an outcome as CSV and as Parquet, and reads each in processes of their own, one step
further each time: Arrow alone (every column in the type that Arrow finds), `read_table`, then a schema and the encoded
numbers, then the tasks. The medians are of the processes' own times, without the start of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bmaml.experiments.numbers import markdown_table, write_results

STEPS = {
    "engine": """
import pyarrow.csv, pyarrow.parquet
table = pyarrow.parquet.read_table(path) if path.endswith(".parquet") else pyarrow.csv.read_csv(path)
""",
    "read": "table = read_table(path)\n",
    "encoded": """
table = read_table(path)
schema = fit_schema(table, ColumnRoles("task", ("x", "z"), ("y",)))
x, y = schema.encode(table)
""",
    "tasks": """
table = read_table(path)
tasks = table_tasks(table, fit_schema(table, ColumnRoles("task", ("x", "z"), ("y",))))
""",
}
TIMED = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import pyarrow, pyarrow.csv, pyarrow.parquet
from bmaml.tables import ColumnRoles, fit_schema, read_table, table_tasks
path = sys.argv[1]
before, began, processor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
{step}
seconds, processor = time.perf_counter() - began, time.process_time() - processor
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({{"seconds": seconds, "processor_seconds": processor, "bytes": 1024 * most}}))
"""
MADE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.csv, pyarrow.parquet
rows, tasks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
task = np.sort(rng.integers(tasks, size=rows))
x, z = rng.normal(size=rows).round(4), rng.integers(100, size=rows)
y = (x + rng.normal(size=tasks)[task] + 0.1 * rng.normal(size=rows)).round(4)
made = pa.table({"task": pa.array(task).cast(pa.string()), "x": x, "z": z, "y": y})
pyarrow.csv.write_csv(made, f"{folder}/table.csv")
pyarrow.parquet.write_table(made, f"{folder}/table.parquet")
"""


def python(code: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def measured(rows: int, tasks: int, runs: int) -> list[dict]:
    """Return medians of each step with each format."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        python(MADE, str(rows), str(tasks), folder)
        for kind in ("csv", "parquet"):
            for step, code in STEPS.items():
                path = str(Path(folder) / f"table.{kind}")
                each = [json.loads(python(TIMED.format(step=code), path)) for _ in range(runs)]
                one = {name: statistics.median(run[name] for run in each) for name in each[0]}
                found.append({"format": kind, "step": step, "rows": rows, "tasks": tasks} | one)
                print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for results.json and results.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found = measured(options.rows, options.tasks, options.runs)
    engine = {one["format"]: one["seconds"] for one in found if one["step"] == "engine"}
    encoded = 4 * 3 * options.rows  # Two inputs and an outcome in single precision.
    rows = [
        [
            *(one["format"], one["step"], f"{one['seconds']:.2f}", f"{one['seconds'] / engine[one['format']]:.1f}"),
            *(f"{one['processor_seconds']:.2f}", f"{one['bytes'] / 1e6:.0f}", f"{one['bytes'] / encoded:.1f}"),
        ]
        for one in found
    ]
    head = ("format", "step", "seconds", "of the engine's", "processor seconds", "MB at most", "of the encoded numbers")
    how = f"{options.rows:,} rows of {options.tasks:,} tasks, medians of {options.runs} runs; load {load:.1f} at the start."
    text = f"{markdown_table(head, rows)}\n\n{how}\n"
    print(text)
    if options.out:
        write_results(options.out, "results", text, {"load": load, "rows": found})


if __name__ == "__main__":
    main()
