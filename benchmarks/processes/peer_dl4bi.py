"""A neural process of another library on this library's Gaussian processes: dl4bi, trained on the same tasks for a given time.

    python -m venv peer && peer/bin/pip install . dl4bi
    peer/bin/python benchmarks/processes/peer_dl4bi.py gp-rbf --seconds 300 --out docs/results/processes/dl4bi

dl4bi (https://github.com/MLGlobalHealth/dl4bi) brings much with it, so it needs an environment of its own. Its extras ask for
an older JAX and are left out. Its model and its training step are used as they are, with the optimiser of its benchmark of
Gaussian processes (AdamW, a cosine to 0, gradients clipped at 0.5). Tasks are drawn by the family, and scores are those of
`bmaml leaderboard` on the same new tasks.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import optax
from dl4bi.core.train import TrainState
from dl4bi.meta_learning import BSATNP, TNPD
from dl4bi.meta_learning.data.tabular import TabularBatch
from flax.core import FrozenDict

from bmaml.data import Data, Task
from bmaml.distributions import Normal
from bmaml.evaluation.evaluate import evaluate, regret
from bmaml.experiments.numbers import markdown_table, write_results
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.base import AbstractLearner
from bmaml.learners.optimal import AT_ONCE, optimal_learner
from bmaml.learners.predictor import Predictor
from bmaml.recipes.families import build_tasks, judged_shots

MODELS = {"tnp-d": TNPD, "bsa-tnp": BSATNP}
BATCH, QUERIES, SEED, TIMED = 16, 50, 1, 30
METRICS = ("nll", "mse", "coverage")


class PeerPosterior(AbstractPosterior):
    """What the other library's network says of a task."""

    module: Any = eqx.field(static=True)
    params: Any
    support: Data

    def predict(self, x):
        given = {"s_ctx": self.support.x[None], "f_ctx": self.support.y[None], "mask_ctx": self.support.mask[None] > 0}
        found = self.module.apply({"params": self.params}, **given, s_test=x[None], rngs={"extra": jax.random.key(0)})
        return Normal(found.mu[0], found.std[0])

    def sample_functions(self, x, *, key, count=1):
        raise NotImplementedError("its predictions are of single points")


class Peer(AbstractLearner):
    """The other library's network as a learner; its parameters are the meta-parameters."""

    module: Any = eqx.field(static=True)

    def init(self, key):
        raise NotImplementedError("it is trained by its own library")

    def adapt(self, meta, support, *, key=None):
        return PeerPosterior(self.module, meta, support)


def batch_of(tasks: Task) -> TabularBatch:
    """Return tasks (on a leading axis) as the other library's batch."""
    given = FrozenDict({"s_ctx": tasks.support.x, "f_ctx": tasks.support.y})
    asked = FrozenDict({"s_test": tasks.query.x, "f_test": tasks.query.y})
    return TabularBatch(given, tasks.support.mask > 0, asked, None)


def trained(name: str, source: Any, seconds: float, rate: float, seed: int) -> tuple[Any, Any, int, float]:
    """Return the module, its parameters, the number of steps that fit into the `seconds`, and the seconds that they took."""
    module = MODELS[name]()
    draw = jax.jit(lambda key: batch_of(jax.vmap(source.sample)(jax.random.split(key, BATCH))))
    first = draw(jax.random.key(seed))
    params = module.init({"params": jax.random.key(seed), "extra": jax.random.key(seed)}, **first)["params"]

    def state_of(steps: int) -> TrainState:
        decay = optax.cosine_decay_schedule(rate, steps, 2e-5)
        outer = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(decay, weight_decay=1e-4))
        return TrainState.create(apply_fn=module.apply, params=params, kwargs=FrozenDict({}), tx=outer)

    def run(state: TrainState, steps: int) -> TrainState:
        for step in range(steps):
            key = jax.random.fold_in(jax.random.key(seed), step)
            state, _ = module.train_step(key, state, draw(jax.random.fold_in(key, 1)))
        return jax.block_until_ready(state)

    timed = state_of(TIMED)  # One object, since each new optimiser is compiled again.
    run(timed, 2)
    began = time.process_time()  # Another process on the core then takes no steps from it.
    run(timed, TIMED)
    steps = max(1, int(seconds * TIMED / (time.process_time() - began)))
    print(f"{steps} steps", flush=True)
    began, state = time.process_time(), run(state_of(steps), steps)
    return module, state.params, steps, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family", help="name of a family with a known exact predictor, such as gp-rbf")
    parser.add_argument("--model", default="tnp-d", choices=MODELS)
    parser.add_argument("--seconds", type=float, default=300.0, help="of the processor, in training")
    parser.add_argument(
        "--rate", type=float, default=5e-4, help="first learning rate (1e-4 in its benchmark, for 100,000 steps)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=500, help="new tasks to score on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    options = parser.parse_args()
    source, shots = build_tasks(options.family), judged_shots(options.family)
    module, params, steps, spent = trained(options.model, source, options.seconds, options.rate, options.seed)
    best = optimal_learner(source)
    assert best is not None, "the family has an exact predictor"
    settings = {"shots": shots, "count": options.count, "queries": QUERIES, "seed": SEED}
    ours = evaluate(Predictor(Peer(module), params), source, **settings, batch=10)
    gaps = regret(ours, evaluate(Predictor(best), source, **settings, batch=AT_ONCE))
    rows = []
    for count in shots:
        each = {metric: ours.get(metric, count) for metric in METRICS}
        gap = gaps[count, None]
        rows.append({"shots": count, **{m: [r.mean, r.low, r.high] for m, r in each.items()}, "regret": list(gap)})
    cells = [(row["shots"], *(_cell(row[name]) for name in (*METRICS, "regret"))) for row in rows]
    training = f"{steps} steps of {BATCH} tasks in {spent:.0f} processor s"
    about = f"dl4bi {options.model}, {options.family}: {training}, {options.count} new tasks."
    text = "\n".join([about, "", markdown_table(("shots", *METRICS, "regret"), cells), ""])
    write_results(options.out, f"{options.family}-{options.model}", text, {"about": about, "rows": rows})
    print(text)


def _cell(values: list[float]) -> str:
    mean, low, high = values
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
