"""Short trainings of random combinations on data of many scales: every prediction is finite, or refused by a sentence.

    make combinations COUNT=1000

A combination is a learner, an objective, a prior, a direction, a curvature and data. Each method is compiled once and trained
for 20 meta-steps on every kind of data, since kinds of data have the same shapes. It then adapts to a task and predicts.
The last lines count: trained without a skipped meta-step, skipped (named by the run), answered, refused, and broken, which
must be 0. The exit code says whether it is.
"""

from __future__ import annotations

import argparse
import collections
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from draw import CLASSES, OUTPUTS, WIDTH, Drawn, described, draw_method

from bmaml.data import Data
from bmaml.errors import BmamlError
from bmaml.learners.predictor import Predictor
from bmaml.tasks import FixedTasks
from bmaml.training.plan import Plan

STEPS, TASKS, ROWS, SHOTS, QUERIES = 20, 8, 12, 4, 4
PLAN = Plan(STEPS, batch=2)
# What is done to inputs and targets of unit scale: (factor of x, shift of x, factor of y, shift of y).
SCALES = {
    "unit": (1.0, 0.0, 1.0, 0.0),
    "large inputs": (1e3, 0.0, 1.0, 0.0),
    "huge inputs": (1e8, 0.0, 1.0, 0.0),
    "far inputs": (1.0, 1e4, 1.0, 0.0),
    "small inputs": (1e-6, 0.0, 1.0, 0.0),
    "large targets": (1.0, 0.0, 1e3, 0.0),
    "huge targets": (1.0, 0.0, 1e8, 0.0),
    "far targets": (1.0, 0.0, 1.0, 1e4),
    "small targets": (1.0, 0.0, 1e-6, 0.0),
    "constant inputs": (0.0, 1.0, 1.0, 0.0),
    "constant targets": (1.0, 0.0, 0.0, 1.0),
    "nothing": (0.0, 0.0, 0.0, 0.0),
}


def tasks_of(scale: str, classes: bool, seed: int) -> FixedTasks:
    """Return a few tasks of a scale in memory; tasks of all scales have the same shapes."""
    rng = np.random.default_rng(seed)
    times_x, plus_x, times_y, plus_y = SCALES[scale]
    x = rng.normal(size=(TASKS, ROWS, WIDTH))
    y = np.sin(x @ rng.normal(size=(TASKS, WIDTH, OUTPUTS))) + 0.05 * rng.normal(size=(TASKS, ROWS, OUTPUTS))
    labels = rng.integers(0, 1 if scale == "nothing" else CLASSES, (TASKS, ROWS))
    targets = jnp.asarray(labels) if classes else jnp.asarray(y * times_y + plus_y, jnp.float32)
    rows = Data(jnp.asarray(x * times_x + plus_x, jnp.float32), targets, jnp.ones((TASKS, ROWS), jnp.float32))
    return FixedTasks(rows, (SHOTS,), QUERIES)


def judged(predictor: Predictor, points: Data) -> str:
    """Adapt to a task and predict its rows. Return "answered", "refused" with the sentence, or "broken" with the reason."""
    try:
        posterior = predictor.adapt(jax.tree.map(lambda leaf: leaf[:SHOTS], points), key=jax.random.key(0))
        predictive = posterior.predict(points.x)
        numbers = [predictive.mean, predictive.sample(jax.random.key(1))]
    except BmamlError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"broken: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    finite = all(np.isfinite(np.asarray(array)).all() for array in numbers)
    return "answered" if finite else "broken: a number that is not finite"


def tried(drawn: Drawn, scales: list[str], seed: int, told: collections.Counter[str], shown: list[str]) -> None:
    """Train a method on each kind of data and count what happens. `shown` gathers what must be looked at."""
    method, chunk = drawn.method, None
    for scale in scales:
        tasks = tasks_of(scale, drawn.classes, seed)
        state = jax.tree.map(jnp.copy, method.begin(PLAN))
        try:
            # Compiled once for all kinds of data.
            chunk = chunk or method.compile(PLAN, tasks, state)
        except BmamlError as error:
            told["refused when compiled"] += len(scales)
            shown.append(f"refused when compiled: {error}\n    {described(method)}")
            return
        state, _ = chunk(state, tasks, jnp.asarray(PLAN.seed, jnp.uint32), jnp.asarray(STEPS, jnp.int32))
        skipped = int(state.skipped)
        trained = "skipped some" if skipped else "skipped none"
        answer = judged(Predictor(method.answerer, state.meta), jax.tree.map(lambda leaf: leaf[0], tasks.rows))
        kind = answer.split(":")[0]
        told[f"{trained}, {kind}"] += 1
        told[kind] += 1
        if kind == "broken" or (kind == "refused" and not skipped and scale == "unit"):
            shown.append(f"{scale}, {trained}, {answer}\n    {described(method)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="trainings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()
    # Short trainings are compiled for longer than they run.
    jax.config.update("jax_disable_most_optimizations", True)
    warnings.simplefilter("ignore")
    rng, began = np.random.default_rng(arguments.seed), time.perf_counter()
    told, shown, methods, unfit = collections.Counter(), [], 0, 0
    while (left := arguments.count - methods * len(SCALES)) > 0 and time.perf_counter() - began < arguments.seconds:
        drawn = draw_method(rng)
        methods, unfit = methods + 1, unfit + drawn.refused
        tried(drawn, list(SCALES)[:left], arguments.seed + methods, told, shown)
        jax.clear_caches()
        if methods % 10 == 0:
            print(f"{methods} methods, {dict(told)}, {time.perf_counter() - began:.0f} s", flush=True)
    print("\n".join(shown))
    ran = sum(told[kind] for kind in ("answered", "refused", "broken", "refused when compiled"))
    print(f"{ran} trainings of {STEPS} meta-steps of {methods} methods; {unfit} further pairs refused when built")
    for kind, count in sorted(told.items()):
        print(f"{count:6} {kind}")
    raise SystemExit(told["broken"] > 0)


if __name__ == "__main__":
    main()
