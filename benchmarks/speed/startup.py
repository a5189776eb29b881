"""How long a command takes until it does something: medians of five runs, each in a process of its own.

    python benchmarks/speed/startup.py --out docs/results/speed

"First" has an empty cache of programs, as on a new machine, and "again" has what an earlier run of the same kind has kept. A
training makes one meta-step and saves it, so its time is a little more than that to the first meta-step. Processor time
counts all threads, and says more than the clock where other work shares the cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bmaml.experiments.numbers import markdown_table, write_results

ROOT = Path(__file__).parents[2]
METHODS = ("maml", "experts", "bmaml")
# Seconds that are wanted at most, by the name of a row.
WANTED = {"bmaml --help": 0.5, "bmaml predict, again": 3.0}
WANTED |= {f"bmaml train, {method}, {when}": most for method in METHODS for when, most in (("first", 8.0), ("again", 4.0))}


def timed(words: list[str], cache: Path) -> tuple[float, float]:
    """Return the seconds and the processor seconds of a Python process with these words."""
    began = time.perf_counter()
    environment = os.environ | {"BMAML_CACHE": str(cache), "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {said}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def row(name: str, words: Callable[[int], list[str]], runs: int, cache: Path, *, fresh: bool) -> dict:
    """Return medians and ranges of a command's times. `fresh` empties the cache before each run."""
    times = []
    for number in range(runs):
        if fresh:
            shutil.rmtree(cache, ignore_errors=True)
        times.append(timed(words(number), cache))
    wall, processor = zip(*times, strict=True)
    found = {"what": name, "seconds": statistics.median(wall), "least": min(wall), "most": max(wall)}
    found |= {"processor_seconds": statistics.median(processor), "wanted": WANTED.get(name)}
    print(found, flush=True)
    return found


def fitted(folder: Path, cache: Path) -> list[str]:
    """Return the words that predict a table with a default model, which is fitted on few meta-steps."""
    data, model = folder / "sleep", folder / "model"
    timed([str(ROOT / "examples" / "sleep.py"), str(data)], cache)
    columns = ["--task", "subject", "--x", "day", "--y", "reaction", "--steps", "10"]
    timed(["-m", "bmaml", "fit", str(data / "known.csv"), *columns, "--out", str(model)], cache)
    return ["-m", "bmaml", "predict", str(model), str(data / "new.csv")]


def measured(runs: int) -> list[dict]:
    """Return all rows."""
    bare = {"import bmaml": "import bmaml", "import of what a fit needs": "import bmaml; bmaml.FewShotRegressor"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cache = folder / "cache"
        rows = [row("bmaml --help", lambda _: ["-m", "bmaml", "--help"], runs, cache, fresh=False)]
        rows += [row(name, lambda _, code=code: ["-c", code], runs, cache, fresh=False) for name, code in bare.items()]
        predict = fitted(folder, cache)
        rows += [
            row(f"bmaml predict, {'first' if new else 'again'}", lambda _: predict, runs, cache, fresh=new)
            for new in (True, False)
        ]
        for method in METHODS:
            for new in (True, False):
                when = "first" if new else "again"

                def words(number: int, method: str = method, when: str = when) -> list[str]:
                    out = str(folder / f"{method}-{when}-{number}")
                    return ["-m", "bmaml", "train", "sinusoid", "--method", method, "--steps", "1", "--out", out]

                rows.append(row(f"bmaml train, {method}, {when}", words, runs, cache, fresh=new))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for startup.json and startup.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = measured(options.runs)
    cells = [
        [
            r["what"],
            f"{r['seconds']:.2f}",
            f"{r['least']:.2f} to {r['most']:.2f}",
            f"{r['processor_seconds']:.2f}",
            r["wanted"] or "",
        ]
        for r in rows
    ]
    head = ("command", "seconds", "least to most", "processor seconds", "wanted")
    how = f"Medians of {options.runs} runs on {os.cpu_count()} cores; load {load:.1f} at the start."
    text = f"{markdown_table(head, cells)}\n\n{how}\n"
    print(text)
    if options.out:
        write_results(options.out, "startup", text, {"load": load, "rows": rows})


if __name__ == "__main__":
    main()
