"""What a trained run's answers cost, one new task at a time: adapting to it, predicting, and an interval.

    python benchmarks/speed/answers.py --methods experts,bmaml,maml

A run of a few meta-steps is asked by `run.adapt` on 5 points, and then for the predictive and its 90% interval at 50 points.
Each number is the least processor time of some repeats, in milliseconds. In brackets: the clock's time of the first call, which
compiles.
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

import bmaml
from bmaml.experiments.numbers import markdown_table
from bmaml.recipes.families import build_method, build_plan, build_tasks

REPEATS = 7
GIVEN, ASKED = 5, 50


def timed(call) -> tuple[float, float]:
    """Seconds by the clock of the first call, and the least seconds of processor time of the later ones."""
    began = time.perf_counter()
    jax.block_until_ready(jax.tree.leaves(call()))
    first, spent = time.perf_counter() - began, []
    for _ in range(REPEATS):
        began = time.process_time()
        jax.block_until_ready(jax.tree.leaves(call()))
        spent.append(time.process_time() - began)
    return first, min(spent)


def measure(name: str) -> list[str]:
    """The cells of one method."""
    run = bmaml.train(build_method(name), build_tasks("sinusoid"), build_plan(name, steps=2))
    rng = np.random.default_rng(0)
    x, grid = rng.uniform(-5, 5, (GIVEN, 1)), np.linspace(-5, 5, ASKED, dtype=np.float32)[:, None]
    y = np.sin(x)
    posterior = run.adapt(x, y)
    predictive = posterior.predict(grid)
    calls = (lambda: run.adapt(x, y), lambda: posterior.predict(grid), lambda: predictive.interval(0.9))
    return [name, *(f"{1e3 * least:.1f} ({first:.1f} s)" for first, least in map(timed, calls))]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="experts,bmaml,maml", help="names, separated by commas")
    options = parser.parse_args()
    head = ("method", "adapting, ms (first)", "predicting, ms (first)", "interval, ms (first)")
    print(markdown_table(head, [measure(name) for name in options.methods.split(",")]))


if __name__ == "__main__":
    main()
