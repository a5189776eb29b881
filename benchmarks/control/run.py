"""Speed of a MAML-TRPO meta-iteration of 2-D navigation against PyTorch: every entry in its own process, in turns.

Run from this folder: python run.py --out ../../docs/results/control. It needs torch (the extra `speed`). It prints wall
time and the processor time of all threads. On a machine that others use, only the processor time can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bmaml.experiments.numbers import markdown_table

# A worker counts its processor time, in which threads that wait by spinning would look like work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
TARGET = 3.0
ENTRIES = ("ours", "ours, 5 episodes in the Fisher products", "torch, batched", "torch, task by task")
OURS, FEWER, BATCHED, LOOPED = ENTRIES
FISHER_EPISODES = 5


def build(entry: str, cores: int) -> Callable[[], None]:
    """The entry's function that makes one meta-iteration; imports nothing of the others."""
    if entry in (OURS, FEWER):
        import ours

        return ours.build(FISHER_EPISODES if entry == FEWER else None)
    import torch

    torch.set_num_threads(cores)
    import peer_torch_batched
    import peer_torch_loop

    return peer_torch_batched.build() if entry == BATCHED else peer_torch_loop.build()


def work(entry: str, cores: int) -> None:
    """A worker: a turn for each line that comes in, its seconds out."""
    step = build(entry, cores)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began, spent = time.perf_counter(), time.process_time()
        step()
        print(json.dumps({"wall": time.perf_counter() - began, "processor": time.process_time() - spent}), flush=True)


def turns(entries: list[str], rounds: int, cores: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every turn, A B C A B C ..., each in the process of its entry."""
    command = [sys.executable, __file__, "--cores", str(cores), "--worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = {entry: subprocess.Popen([*command, entry], **pipes) for entry in entries}
    for worker in workers.values():
        worker.stdout.readline()
    times = {entry: {"wall": [], "processor": []} for entry in entries}
    for _ in range(rounds):
        for entry, worker in workers.items():
            worker.stdin.write("go\n")
            worker.stdin.flush()
            for kind, seconds in json.loads(worker.stdout.readline()).items():
                times[entry][kind].append(seconds)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    return times


def summary(times: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Median and least seconds, and how many times longer than ours each takes, by wall and by processor time."""
    found = {}
    for entry, took in times.items():
        row = {f"{kind} {name}": f(took[kind]) for kind in took for name, f in (("median", statistics.median), ("least", min))}
        for kind in took:
            row[f"{kind} ratio"] = row[f"{kind} median"] / statistics.median(times[OURS][kind])
        found[entry] = row
    return found


def markdown(found: dict) -> str:
    """The results as a Markdown table."""
    head = ("entry", "processor s, median (least)", "wall s, median (least)", "ours is faster by", "by wall time", "FLOP floor")
    rows = []
    for entry, row in found["entries"].items():
        spent = f"{row['processor median']:.2f} ({row['processor least']:.2f})"
        wall = f"{row['wall median']:.2f} ({row['wall least']:.2f})"
        floor = found["floor"][FEWER if entry == FEWER else OURS]
        share = floor / row["processor median"]
        rows.append([entry, spent, wall, f"{row['processor ratio']:.2f}x", f"{row['wall ratio']:.2f}x", f"{share:.0%}"])
    load = found["load"]
    lines = [markdown_table(head, rows), ""]
    lines.append(f"Target {TARGET}x. Matrix rate {found['matrix_gflops']:.0f} GFLOP/s a core, by processor time.")
    lines += [f"Run on {found['cores']} core(s), load {load[0]:.1f} at the start, {load[1]:.1f} at the end."]
    gaps = ", ".join(f"{name} {gap:.0e}" for name, gap in found["agreement"].items())
    return "\n".join([*lines, "", f"On the same numbers, relative to batched PyTorch: {gaps}.", ""])


def matrix_rate(size: int = 1024, repeats: int = 20) -> float:
    """Best measured float32 FLOP/s of a square product through JAX, by the processor time of all threads."""
    import jax

    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()

    def once() -> float:
        spent = time.process_time()
        product(a).block_until_ready()
        return time.process_time() - spent

    return 2 * size**3 / min(once() for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for speed.json and speed.md")
    parser.add_argument("--worker", choices=ENTRIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    if options.worker:
        work(options.worker, options.cores)
        return
    import agreement
    import floor

    found = {"cores": options.cores, "agreement": agreement.agreement()}
    before = os.getloadavg()[0]
    found["entries"] = summary(turns(list(ENTRIES), options.rounds, options.cores))
    rate = matrix_rate()
    share = FISHER_EPISODES / floor.navigation.TRAJECTORIES
    floors = {OURS: floor.meta_flops() / rate, FEWER: floor.meta_flops(share) / rate}
    found |= {"matrix_gflops": rate / 1e9, "floor": floors, "load": [before, os.getloadavg()[0]]}
    print(markdown(found))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "speed.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
