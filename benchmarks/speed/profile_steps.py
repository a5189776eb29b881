"""What a meta-step's time goes to, and from which size on it is mostly matrix products.

    python benchmarks/speed/profile_steps.py --out docs/results/speed

Each operation of the compiled program is timed by JAX's profiler, in a run of its own: what it says is used as shares, and the
time of a meta-step is measured without it. Products are matrix products, also where other operations are fused with them;
copies move numbers; the rest is elementwise work and sums; dispatch is what lies between operations. The floor counts the
products of the mathematics alone at the rate of large products on as many cores as the program used.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flops
import jax
from program import Program

from bmaml import methods
from bmaml.experiments.numbers import markdown_table, write_results
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel

# Operations that hold others.
_CONTAINERS = ("while", "call", "conditional")
_TURN = 0.4  # seconds
# Units of a layer, tasks of a meta-step, and points in each support and query. The first are those of the speed table.
SIZES = {
    "maml": [(40, 10, 10), (40, 100, 10), (40, 10, 100), (160, 10, 10), (160, 10, 100), (160, 10, 1000), (640, 10, 100)],
    "bmaml": [(40, 10, 5), (40, 40, 5), (40, 10, 50), (160, 10, 5), (160, 10, 50)],
}


def method_of(name: str, width: int) -> Method:
    """Return the method of the speed table with layers of `width` units."""
    if name == "maml":
        return methods.maml(GaussianModel(MLP((1, width, width, 1)), known=True), inner_learning_rate=0.01)
    return methods.bmaml(GaussianModel(MLP((1, width, width, width, 1))), particles=10, inner_learning_rate=1e-3)


def floor_flops(name: str, width: int, tasks: int, points: int) -> int:
    """Return the FLOPs of the products of a meta-step."""
    if name == "maml":
        return flops.maml_flops(tasks, points, points, sizes=(1, width, width, 1))
    return flops.bmaml_flops(10, tasks, points, points, sizes=(1, width, width, width, 1))


def shares(run: Callable[[], float], folder: str) -> dict[str, float]:
    """Return the shares of products, copies, other operations and what lies between them in a call of `run`.

    The profiler watches the call, and so takes a little time of each.
    """
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        took = run()
    (path,) = Path(folder).rglob("perfetto_trace.json.gz")
    spent: dict[str, float] = collections.defaultdict(float)
    for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        op = (event.get("args") or {}).get("hlo_op", "") if event.get("ph") == "X" else ""
        if op and not op.startswith(_CONTAINERS):
            kind = "products" if "dot" in op else "copies" if op.startswith(("copy", "bitcast_copy")) else "other operations"
            spent[kind] += event["dur"] * 1e-6
    found = {kind: spent[kind] / took for kind in ("products", "copies", "other operations")}
    return found | {"dispatch": max(0.0, 1 - sum(found.values()))}


def profiled(name: str, width: int, tasks: int, points: int, rate: float) -> dict[str, Any]:
    """Return what is found of one method at one size; `rate` is that of large products, in FLOP/s a core."""
    program = Program(method_of(name, width), tasks, points)
    program.seconds(2)
    count = max(2, min(2048, int(_TURN / program.seconds(2)[0])))
    wall, processor = (statistics.median(part) for part in zip(*(program.seconds(count) for _ in range(5)), strict=True))
    few = max(2, min(64, count))
    with tempfile.TemporaryDirectory() as folder:
        spent = shares(lambda: few * program.seconds(few)[0], folder)
    needed = floor_flops(name, width, tasks, points)
    found = {"method": name, "width": width, "tasks": tasks, "points": points, "seconds": wall, "processor_seconds": processor}
    return found | {"shares": spent, "flops": needed, "floor": needed / rate / processor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for profile.json and profile.md")
    options = parser.parse_args()
    load, began = os.getloadavg()[0], time.process_time()
    wall = time.perf_counter()
    rate = flops.matrix_rate()
    cores = max(1.0, (time.process_time() - began) / (time.perf_counter() - wall))
    rate /= cores
    found = [profiled(name, *size, rate) for name, sizes in SIZES.items() for size in sizes]
    head = ("method", "width", "tasks", "points", "us a meta-step", "products", "copies", "other", "dispatch", "floor")
    rows = []
    for one in found:
        cells = [one["method"], one["width"], one["tasks"], one["points"], f"{1e6 * one['seconds']:,.0f}"]
        rows.append([*cells, *(f"{part:.0%}" for part in one["shares"].values()), f"{one['floor']:.0%}"])
    how = f"Products at their best: {rate / 1e9:.0f} GFLOP/s a core. Load {load:.1f} at the start."
    text = f"{markdown_table(head, rows)}\n\n{how}\n"
    print(text)
    if options.out:
        write_results(options.out, "profile", text, {"load": load, "rate": rate, "rows": found})


if __name__ == "__main__":
    main()
