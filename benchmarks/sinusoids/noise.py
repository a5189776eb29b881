"""Compare forms of the noise that BMAML states, on the residuals of one trained run.

    python benchmarks/sinusoids/noise.py --run board/runs/bmaml-0 --out docs/results/sinusoids/noise.md

The run is one of a leaderboard, or one trained now. Its particles are those of any form, because no form changes a step. Each
form is fitted by the likelihood of the query on half of the new tasks of 3, 5 or 10 points, as in training, and scored on the
other half, which also has tasks of 20 points. S and S0 are the squared residuals of the support after and before the steps,
added over its n points.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats
from scipy.optimize import minimize

import bmaml
from bmaml.data import Data
from bmaml.experiments.numbers import markdown_table
from bmaml.io.files import write_atomically
from bmaml.learners.wrappers import with_steps
from bmaml.recipes.families import build_method, build_plan, build_tasks
from bmaml.tasks import Sinusoids

SHOTS, _TRAINED, _TASKS, _QUERIES, _MOST = (3, 5, 10, 20), 10, 1200, 20, 300.0
# Squared scales and degrees of freedom of each particle of each task, from parameters and (n, S, S0).
Form = Callable[..., tuple[np.ndarray, np.ndarray]]


def _one_factor(p, n, after, before):
    return np.exp(p[0]) + 0 * after, _MOST + 0 * after


def _conjugate(p, n, after, before):
    a, b, weight = np.exp(p)
    return (b + weight * after / 2) / (a + weight * n / 2), 2 * (a + weight * n / 2) + 0 * after


def _after_alone(p, n, after, before):
    mean = (np.exp(p[2]) + after) / (1 + n)
    return np.exp(p[0] + p[1] * np.log(mean) + p[4] * np.log1p(n)), 1 + np.exp(p[3]) + 0 * after


def _both(p, n, after, before):
    last, first = (np.log((np.exp(p[2]) + total) / (1 + n)) for total in (after, before))
    return np.exp(p[0] + p[1] * last + (1 - p[1]) * first + p[4] * np.log1p(n)), 1 + np.exp(p[3]) + 0 * after


def _fading(p, n, after, before):
    last, first = (np.log((np.exp(p[2]) + total) / (1 + n)) for total in (after, before))
    return np.exp(p[0] + p[1] * last + (1 - p[1]) * first + p[4] * np.exp(-n / 5)), 1 + np.exp(p[3]) + 0 * after


FORMS: dict[str, tuple[Form, list[float]]] = {
    "one factor for all tasks": (_one_factor, [0.1]),
    "conjugate: inverse-gamma prior, S": (_conjugate, [0.1, 0.1, 0.1]),
    "powers of S and n": (_after_alone, [0.1, 0.9, -1.0, 1.0, 0.1]),
    "powers of S, S0 and n": (_both, [0.1, 0.5, -1.0, 1.0, 0.1]),
    "powers of S and S0, and exp(-n / 5) (`ResidualNoise`)": (_fading, [0.1, 0.5, -1.0, 1.0, 0.1]),
}


def residuals(run: bmaml.Run) -> dict[str, np.ndarray]:
    """Return n, S and S0 of new tasks under a trained run, and the residuals of their queries."""
    family = Sinusoids((max(SHOTS),), _QUERIES)
    learner: Any = run.method.learner

    @jax.jit
    def every(meta):
        def of_task(key):
            wave_key, support_key, query_key, count_key = jax.random.split(key, 4)
            wave, n = family.wave(wave_key), jax.random.choice(count_key, jnp.asarray(SHOTS))
            rows, query = family.points(wave, support_key, max(SHOTS)), family.points(wave, query_key, _QUERIES)
            support = Data(rows.x, rows.y, (jnp.arange(max(SHOTS)) < n).astype(rows.x.dtype))
            ends = [with_steps(learner, count).adapt(meta, support, key=key) for count in (0, learner.steps)]

            def off(posterior, data):
                return posterior.each(lambda one: (one.mean - data.y)[:, 0], data.x)

            before, after = ((off(end, support) ** 2 * support.mask[None]).sum(1) for end in ends)
            return {"n": n, "before": before, "after": after, "query": off(ends[1], query)}

        return jax.lax.map(of_task, jax.random.split(jax.random.key(5), _TASKS), batch_size=50)

    return {name: np.asarray(value, np.float64) for name, value in every(run.meta).items()}


def nll(form: Form, p: np.ndarray, of: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the NLL and the coverage of the 90% interval of each task under the mixture of particles."""
    square, df = form(p, of["n"][:, None], of["after"], of["before"])
    scale, df = np.sqrt(square)[..., None], np.clip(df, 1.0, _MOST)[..., None]
    log = stats.t.logpdf(of["query"], df, 0.0, scale)
    below = stats.t.cdf(-of["query"] / scale, df).mean(1)
    return -(special.logsumexp(log, axis=1) - np.log(len(log[0]))).mean(-1), (abs(2 * below - 1) < 0.9).mean(-1)


def main() -> None:
    """Train, fit each form and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file for the table")
    parser.add_argument("--run", type=Path, help="folder of a run of bmaml (default: trains one)")
    parser.add_argument("--steps", type=int, default=10_000, help="meta-steps of a run that is trained now")
    options = parser.parse_args()
    if options.run:
        run = bmaml.load(options.run)
    else:
        run = bmaml.train(build_method("bmaml"), build_tasks("sinusoid"), build_plan("bmaml", steps=options.steps))
    found, rows = residuals(run), []
    train, test = ({name: value[half::2] for name, value in found.items()} for half in (0, 1))
    train = {name: value[train["n"] <= _TRAINED] for name, value in train.items()}
    for name, (form, start) in FORMS.items():
        best = minimize(
            lambda p, form=form: nll(form, p, train)[0].mean(), start, method="L-BFGS-B", bounds=[(-6, 6)] * len(start)
        )
        cost, covered = nll(form, best.x, test)
        each = [(cost[test["n"] == n].mean(), covered[test["n"] == n].mean()) for n in SHOTS]
        rows.append((name, f"{cost.mean():.2f}", *(f"{nats:.2f}, {share:.3f}" for nats, share in each)))
        print(*rows[-1], flush=True)
    head = ("form", "NLL", *(f"NLL, coverage at {n} points" for n in SHOTS))
    write_atomically(options.out, markdown_table(head, rows) + "\n")


if __name__ == "__main__":
    main()
