"""One entry in its own process: reads a number of meta-steps from each line of standard input, and prints the seconds.

`python worker.py ENTRY METHOD`, with an entry of `run.ENTRIES`. Each answer has two times: that of the clock, and that of
the processor.
"""

from __future__ import annotations

import importlib
import os
import sys
import time

CORES = int(os.environ.get("BENCHMARK_CORES", "2"))
if hasattr(os, "sched_setaffinity"):  # Before JAX and torch size their thread pools.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES:])


def main(entry: str, method: str) -> None:
    if entry != "ours":
        import torch

        torch.set_num_threads(CORES)
    run = importlib.import_module(entry).build(method)
    run(1)  # Lets allocators settle.
    print("ready", flush=True)
    for line in sys.stdin:
        began, worked = time.perf_counter(), time.process_time()
        run(int(line))
        print(time.perf_counter() - began, time.process_time() - worked, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
