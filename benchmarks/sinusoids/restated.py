"""Score BMAML's runs of a leaderboard with the noise learned again: its particles are held, and its five numbers start afresh.

    python benchmarks/sinusoids/restated.py --board board --seeds 0,1 --out docs/results/sinusoids/restated

A change of the noise changes no particle, so the runs of a board need not be trained again to see what it does. The numbers are
learned by the likelihood of the query, on tasks as in training, and the scores are those of the board on the same new tasks.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import bmaml
from bmaml.evaluation.evaluate import Evaluation, evaluate
from bmaml.evaluation.intervals import two_way
from bmaml.evaluation.metrics import range_of
from bmaml.experiments.numbers import markdown_table, write_results
from bmaml.learners.gradient import GradientLearner
from bmaml.learners.predictor import Predictor
from bmaml.recipes.families import build_tasks, judged_shots

FAMILY, METRICS, QUERIES, TEST_SEED = "sinusoid", ("nll", "mse", "coverage"), 50, 1


def learned_again(run: bmaml.Run, *, steps: int, batch: int, rate: float, seed: int) -> Any:
    """Return the run's meta-parameters with the noise learned from its start, particles held."""
    tasks, learner, meta = build_tasks(FAMILY), run.method.learner, run.meta
    outer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def loss(noise: Any, key: jax.Array) -> jax.Array:
        def of_task(key: jax.Array) -> jax.Array:
            task = tasks.sample(key)
            posterior = learner.adapt(dataclasses.replace(meta, noise=noise), task.support, key=key)
            return -posterior.predict(task.query.x).log_prob(task.query.y).mean()

        return jax.vmap(of_task)(jax.random.split(key, batch)).mean()

    @jax.jit
    def learned(noise: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> Any:
            noise, state = carry
            updates, state = outer.update(jax.grad(loss)(noise, key), state)
            return (optax.apply_updates(noise, updates), state), None

        return jax.lax.scan(step, (noise, outer.init(noise)), jax.random.split(jax.random.key(seed), steps))[0][0]

    assert isinstance(learner, GradientLearner)
    assert learner.noise is not None, "the run states a noise of its own"
    return dataclasses.replace(meta, noise=learned(learner.noise.init()))


def scores(run: bmaml.Run, meta: Any) -> Evaluation:
    """Return the scores of the run with other meta-parameters, on the board's new tasks."""
    shots = judged_shots(FAMILY)
    tasks = build_tasks(FAMILY, shots=shots, queries=QUERIES)
    found = Predictor(run.method.answerer, meta)
    return evaluate(found, tasks, shots=shots, count=1000, queries=QUERIES, seed=TEST_SEED, batch=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", type=Path, required=True, help="folder of the leaderboard")
    parser.add_argument("--seeds", default="0,1,2", help="which of its runs")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16, help="tasks of a step")
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    found = []
    for seed in seeds:
        run = bmaml.load(options.board / "runs" / f"bmaml-{seed}")
        meta = learned_again(run, steps=options.steps, batch=options.batch, rate=options.rate, seed=seed)
        found.append(scores(run, meta))
        print(seed, found[-1].table(), flush=True)
    rows = []
    for shots in judged_shots(FAMILY):
        row: dict[str, Any] = {"shots": shots}
        for metric in METRICS:
            each = [np.asarray(one.scores[shots, None][metric]) for one in found]
            row[metric] = [float(value) for value in two_way(each, within=range_of(metric))]
        rows.append(row)
    cells = [(row["shots"], *("{:.3f} [{:.3f}, {:.3f}]".format(*row[metric]) for metric in METRICS)) for row in rows]
    about = f"Seeds {options.seeds}, 1,000 new tasks, noise learned again; brackets: 95% intervals over tasks and seeds."
    text = "\n".join([about, "", markdown_table(("shots", *METRICS), cells), ""])
    write_results(options.out.parent, options.out.name, text, rows)
    print(text)


if __name__ == "__main__":
    main()
