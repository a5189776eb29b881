"""Conv-4 episodes a second against the same network and method in PyTorch: one command, every entry in turn.

Run from this folder: python run.py --out results. It needs the extra `speed` (torch). Each entry lives in its own process
and waits for its turns. The turns alternate, so all entries see the same machine. The ratios are the result. On a machine
that others use, the processor time of a turn says more than the clock's. Both are reported.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from settings import TASKS

from bmaml.experiments.numbers import markdown_table

ENTRIES = {"ours": "bmaml", "peer_eager": "PyTorch, eager loop over tasks", "peer_func": "PyTorch, torch.func"}
TARGETS = {"maml": 1.0, "bmaml": 1.5}  # times the tasks a second of the eager loop
HERE = Path(__file__).parent


class Worker:
    """A process that makes meta-steps when it is told to."""

    def __init__(self, entry: str, method: str):
        command = [sys.executable, "worker.py", entry, method]
        self.process = subprocess.Popen(command, cwd=HERE, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._line() != "ready":
            raise RuntimeError(f"{entry} did not come up.")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def seconds(self, count: int) -> tuple[float, float]:
        """Seconds of a meta-step in a turn of `count`: on the clock, and of the processor."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        wall, cpu = (float(part) for part in self._line().split())
        return wall / count, cpu / count

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def interleaved(method: str, rounds: int, slot: float) -> dict[str, dict[str, float]]:
    """Tasks a second of every entry, A B C A B C ..., each turn about `slot` seconds of processor time."""
    workers = {entry: Worker(entry, method) for entry in ENTRIES}
    counts = {entry: max(1, int(slot / worker.seconds(1)[1])) for entry, worker in workers.items()}
    turns: dict[str, list[tuple[float, float]]] = {entry: [] for entry in workers}
    for _ in range(rounds):
        for entry, worker in workers.items():
            turns[entry].append(worker.seconds(counts[entry]))
    for worker in workers.values():
        worker.close()
    return {entry: _summary(took) for entry, took in turns.items()}


def _summary(took: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = zip(*took, strict=True)
    return {
        "tasks_per_second": TASKS / statistics.median(wall),
        "best_tasks_per_second": TASKS / min(wall),
        "tasks_per_cpu_second": TASKS / statistics.median(cpu),
    }


def agreement() -> dict[str, float]:
    """Relative distance of every entry's meta-gradient to that of the eager loop, on the same numbers."""
    import ours
    import peer_eager
    import peer_func
    from settings import images

    x, found = images(tasks=2), {}
    for method in TARGETS:
        wanted = peer_eager.gradient(method, x)
        scale = max(abs(leaf).max() for leaf in wanted.values())
        for entry, module in (("ours", ours), ("peer_func", peer_func)):
            slopes = module.gradient(method, x)
            found[f"{method}/{entry}"] = float(max(abs(slopes[n] - wanted[n]).max() for n in wanted) / scale)
    return found


def markdown(found: dict) -> str:
    """The results as a Markdown table."""
    head = ("method", "entry", "tasks/s", "best", "tasks per processor second", "ours against it: clock, processor", "target")
    rows = []
    for method, entries in found["times"].items():
        mine = entries["ours"]
        for entry, took in entries.items():
            ratio = " ".join(f"{mine[k] / took[k]:.2f}x" for k in ("tasks_per_second", "tasks_per_cpu_second"))
            target = f"{TARGETS[method]}x" if entry == "peer_eager" else ""
            speeds = [f"{took[k]:.1f}" for k in took]
            rows.append([method, ENTRIES[entry], *speeds, ratio if entry != "ours" else "", target])
    gaps = ", ".join(f"{name} {gap:.0e}" for name, gap in found["agreement"].items())
    lines = [
        markdown_table(head, rows),
        "",
        f"On {found['cores']} cores, load {found['load']:.1f} at the start. Meta-gradients against the eager loop: {gaps}.",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slot", type=float, default=2.0, help="seconds of processor time a turn")
    parser.add_argument("--methods", default=",".join(TARGETS), help="maml, bmaml or both")
    parser.add_argument("--out", type=Path, help="folder for speed.json and speed.md")
    options = parser.parse_args()
    found = {"cores": int(os.environ.get("BENCHMARK_CORES", "2")), "load": os.getloadavg()[0]}
    found["agreement"] = agreement()
    found["times"] = {m: interleaved(m, options.rounds, options.slot) for m in options.methods.split(",")}
    print(markdown(found))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "speed.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
