"""Speed of a meta-step against PyTorch's ways to write it: one command, every entry interleaved with the others.

Run from this folder: python run.py --out results. It needs the extra `speed` (torch, higher, torchopt). The result is
ratios of entries timed in one run on the same idle cores. A time alone means nothing on another machine. How times and
memory grow with tasks, particles, steps and points is cost.py's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

CORES = 2
if hasattr(os, "sched_setaffinity"):  # Before JAX and torch size their thread pools.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

import agreement  # noqa: E402
import flops  # noqa: E402
import jax  # noqa: E402
import ours  # noqa: E402
import peer_bmaml_torch_compile  # noqa: E402
import peer_bmaml_torch_func  # noqa: E402
import peer_higher  # noqa: E402
import peer_torch_compile  # noqa: E402
import peer_torch_func  # noqa: E402
import peer_torchopt  # noqa: E402
import torch  # noqa: E402

from bmaml.experiments.numbers import markdown_table  # noqa: E402

Run = Callable[[int], None]
TARGETS = {
    "maml/torch.func": 20,
    "maml/torch.compile": 5,
    "maml/higher": 90,
    "maml/torchopt": 60,
    "bmaml/torch.func": 10,
    "bmaml/torch.compile": 3,
}
INNER_STEPS = (1, 2, 4, 8, 16)


def repeated(step: Callable[[], None]) -> Run:
    """A function that makes that many steps, from one that makes a single one."""

    def run(count: int) -> None:
        for _ in range(count):
            step()

    return run


def entries() -> dict[str, Run]:
    """Every entry of the comparison, built and ready."""
    return {
        "maml/ours": ours.build_maml(),
        "maml/torch.func": repeated(peer_torch_func.build()),
        "maml/torch.compile": repeated(peer_torch_compile.build()),
        "maml/higher": repeated(peer_higher.build()),
        "maml/torchopt": repeated(peer_torchopt.build()),
        "bmaml/ours": ours.build_bmaml(),
        "bmaml/torch.func": repeated(peer_bmaml_torch_func.build()),
        "bmaml/torch.compile": repeated(peer_bmaml_torch_compile.build()),
    }


def seconds(run: Run, count: int) -> float:
    """Wall time of one meta-step in a run of `count`."""
    began = time.perf_counter()
    run(count)
    return (time.perf_counter() - began) / count


def interleaved(runs: dict[str, Run], rounds: int, slot: float) -> dict[str, dict[str, float]]:
    """Median, least and most microseconds a meta-step: A B C A B C ..., each turn about `slot` seconds."""
    counts = {}
    for name, run in runs.items():
        run(2)  # Compiles, and lets allocators settle.
        counts[name] = min(4096, max(1, int(slot / seconds(run, 2))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(1e6 * seconds(run, counts[name]))
    return {
        name: {"median": statistics.median(took), "min": min(took), "max": max(took), "steps": counts[name]}
        for name, took in times.items()
    }


def floors(rate: float) -> dict[str, float]:
    """Microseconds that the matrix products of a meta-step take at the machine's matrix rate."""
    return {"maml": 1e6 * flops.maml_flops() / rate, "bmaml": 1e6 * flops.bmaml_flops() / rate}


def ratios(times: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """How many times longer each peer takes than ours: of medians, and of best times."""
    found = {}
    for name, target in TARGETS.items():
        mine = times[f"{name.split('/')[0]}/ours"]
        found[name] = {"median": times[name]["median"] / mine["median"], "min": times[name]["min"] / mine["min"]}
        found[name]["target"] = target
    return found


def memory() -> dict[str, int]:
    """Temporary bytes of our BMAML program against inner steps, kept and computed again."""
    kinds = {"kept": False, "checkpointed": True}
    bytes_of = ours.temporary_bytes
    return {f"{kind} {n}": bytes_of(n, checkpoint) for kind, checkpoint in kinds.items() for n in INNER_STEPS}


def markdown(found: dict) -> str:
    """The results as Markdown tables."""
    times, rows = found["times"], []
    for name, took in times.items():
        ratio = found["ratios"].get(name)
        faster, target = (f"{ratio['median']:.1f}x", f"{ratio['target']}x") if ratio else ("1", "")
        share = found["floors"][name.split("/")[0]] / took["median"]
        span = f"{took['min']:.0f} to {took['max']:.0f}"
        rows.append([name, f"{took['median']:.0f}", span, faster, target, f"{share:.1%}"])
    rate, load = found["matrix_gflops"], found["load"]
    head = ("entry", "us a meta-step", "min to max", "ours is faster by", "target", "FLOP floor")
    lines = [markdown_table(head, rows), "", f"Matrix rate {rate:.0f} GFLOP/s on {CORES} cores; load {load:.1f} at the start."]
    if "memory" in found:
        cells = [(inner, f"{1e-6 * size:.1f}") for inner, size in found["memory"].items()]
        lines += ["", markdown_table(("inner steps of our BMAML", "temporary memory, MB"), cells)]
    gaps = ", ".join(f"{name} {gap:.0e}" for name, gap in found.get("agreement", {}).items())
    return "\n".join([*lines, "", f"Meta-gradients against torch.func, relative: {gaps or 'not checked'}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slot", type=float, default=0.5, help="seconds of a turn")
    parser.add_argument("--out", type=Path, help="folder for speed.json and speed.md")
    parser.add_argument("--only-peers", action="store_true", help="leave out the memory of checkpointing")
    options = parser.parse_args()
    torch.set_num_threads(CORES)
    rate, load = flops.matrix_rate(), os.getloadavg()[0]
    found = {"agreement": agreement.agreement(compiled=False), "load": load, "matrix_gflops": rate / 1e9}
    found |= {"versions": {"jax": jax.__version__, "torch": torch.__version__, "python": platform.python_version()}}
    times = interleaved(entries(), options.rounds, options.slot)
    found |= {"times": times, "ratios": ratios(times), "floors": floors(rate)}
    if not options.only_peers:
        found["memory"] = memory()
    print(markdown(found))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "speed.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
