"""One prepared check of a machine with a GPU: `make gpu-check` writes docs/results/gpu in less than ten minutes.

Each part runs in a process of its own and has its own limit of time, so that a part that fails or hangs leaves the others.
Without a GPU it stops at once, unless `--anyway` is given, which tries the script itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from bmaml.experiments.numbers import markdown_table, write_results

ROOT = Path(__file__).parents[2]
# What runs: where, the words of the command, and the seconds that it may take.
PARTS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "precision of products": ("benchmarks/gpu", ("precision.py",), 60),
    "identities": (".", ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/identity"), 240),
    "meta-steps": ("benchmarks/speed", ("profile_steps.py",), 120),
    "experts at 1,024 codes": ("benchmarks/speed", ("cost.py", "--methods", "experts", "--particles", "1024"), 90),
    "Conv-4 beside PyTorch": ("benchmarks/images", ("run.py", "--rounds", "3"), 90),
}
_KEPT = 6000  # characters of what a part says


def part(place: str, words: tuple[str, ...], limit: int) -> dict[str, Any]:
    """Run one part, and return how it ended, how long it took, and the end of what it said."""
    began = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, *words], cwd=ROOT / place, capture_output=True, text=True, timeout=limit)
        ended, said = "done" if done.returncode == 0 else f"failed with code {done.returncode}", done.stdout + done.stderr
    except subprocess.TimeoutExpired as stop:
        ended, said = f"stopped after {limit} s", str(stop.stdout or "")
    return {"ended": ended, "seconds": time.perf_counter() - began, "said": said[-_KEPT:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "gpu")
    parser.add_argument("--anyway", action="store_true", help="run without a GPU, to try the script")
    options = parser.parse_args()
    device = jax.devices()[0]
    if device.platform != "gpu" and not options.anyway:
        raise SystemExit(f"gpu-check: JAX finds no GPU but {device}: install bmaml[cuda13] on a machine with one.")
    machine = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    found = {name: part(*of) for name, of in PARTS.items()}
    rows = [[name, one["ended"], f"{one['seconds']:.0f}"] for name, one in found.items()]
    blocks = [f"## {name}\n\n```\n{one['said'].strip()}\n```\n" for name, one in found.items()]
    head = f"{machine['device']}, JAX {machine['jax']}.\n\n{markdown_table(('part', 'how it ended', 'seconds'), rows)}\n"
    write_results(options.out, "gpu", "\n".join([head, *blocks]), {"machine": machine, "parts": found})
    print(head)
    if any(one["ended"] != "done" for one in found.values()):
        raise SystemExit(f"gpu-check: not every part ended well; see {options.out / 'gpu.md'}.")


if __name__ == "__main__":
    main()
