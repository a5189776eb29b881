"""What a trained run's answers cost, one new task at a time: adapting to it, predicting, and an interval.

    python benchmarks/speed/answers.py --methods experts,bmaml,maml

A method with fresh meta-parameters adapts to 5 points, as `run.adapt` does, and gives the predictive and its 90% interval at 50
points. Each number is the least processor time of some repeats, in milliseconds. In brackets: the clock's time of the first
call, which compiles.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import data
from bmaml.distributions import AbstractContinuous
from bmaml.experiments.numbers import markdown_table
from bmaml.recipes.families import build_method

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
    method = build_method(name)
    meta = method.learner.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    x, grid = rng.uniform(-5, 5, (GIVEN, 1)), jnp.linspace(-5, 5, ASKED)[:, None]
    support = data(x, np.sin(x))

    def adapt():
        return method.adapt(meta, support, key=jax.random.key(0))

    found = [timed(adapt)]
    posterior = adapt()
    found.append(timed(lambda: posterior.predict(grid)))
    predictive = posterior.predict(grid)
    assert isinstance(predictive, AbstractContinuous)
    found.append(timed(lambda: predictive.interval(0.9)))
    return [name, *(f"{1e3 * least:.1f} ({first:.1f} s)" for first, least in found)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="experts,bmaml,maml", help="names, separated by commas")
    options = parser.parse_args()
    head = ("method", "adapting, ms (first)", "predicting, ms (first)", "interval, ms (first)")
    print(markdown_table(head, [measure(name) for name in options.methods.split(",")]))


if __name__ == "__main__":
    main()
