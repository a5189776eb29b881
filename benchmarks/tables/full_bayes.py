"""The mixed model of the default beside full Bayes: the same model and priors, sampled by NUTS (blackjax).

    python benchmarks/tables/full_bayes.py --out docs/results/tables

The default draws the scales from a normal around their mode, and each task's noise from a grid. NUTS samples the scales, the
noise of every task, and how noise differs between tasks, all together. The shared mean and the tasks' deviations are integrated
out exactly in both. Both are asked for tasks that no fit saw, from 1, 2, 3 and 5 rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from data import GIVEN, SPECS, Rows, Spec, folds, load, questions
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular

from bmaml.data import Data
from bmaml.estimators.stacking.candidates import draws_for
from bmaml.estimators.stacking.scale_draws import RIGID, ScaleFit
from bmaml.experiments.numbers import markdown_table
from bmaml.io.files import write_atomically
from bmaml.learners.hierarchical import HierarchicalLearner, HierarchicalMeta, fit_basis
from bmaml.learners.hierarchical import scales as of_scales
from bmaml.tables import ColumnRoles, Schema, fit_schema, read_table, table_tasks

TABLES = ("Oxboys", "Orthodont", "sleepstudy")
# What must hold: means apart, in standard deviations of the predictive, and the ratio of standard deviations.
MEANS, DEVIATIONS = 0.15, 0.15
_CHAINS, _WARMUP, _DRAWS, _KEPT, _NODES = 4, 400, 400, 200, 7
# Priors of the mean and the log deviation of the tasks' log noise factors, as the default has them.
_MEAN_WIDTH, _CENTRE, _WIDTH = 0.3, float(np.log(0.25)), 0.8


class Told(NamedTuple):
    """A table as the model sees it: training rows padded by task, and questions with what is given and asked."""

    rows: Data
    asked: list[tuple[int, Data, np.ndarray]]


def told(spec: Spec) -> Told:
    """Return the first fold of a table."""
    train, tasks = folds(load(spec), 0)
    table = read_table(_columns(train))
    roles = ColumnRoles("task", spec.x, (spec.y,), order=spec.x[0], selection="first")
    schema = fit_schema(table, roles)
    rows = table_tasks(table, schema, selection="first").rows
    asked = []
    for question in questions(load(spec), spec, tasks):
        given, wanted = _encoded(schema, question.given), _encoded(schema, question.asked)
        extra = max(GIVEN) - len(given.x)
        pad = [np.pad(np.asarray(part), ((0, extra), (0, 0))) for part in (given.x, given.y)]
        mask = np.pad(np.ones(len(given.x), np.float32), (0, extra))
        asked.append((question.count, Data(*(jnp.asarray(part) for part in (*pad, mask))), np.asarray(wanted.x)))
    return Told(Data(rows.x, rows.y, rows.mask), asked)


def _columns(rows: Rows) -> dict[str, np.ndarray]:
    return rows.columns | {"task": rows.task.astype(str)}


def _encoded(schema: Schema, rows: Rows) -> Data:
    table = read_table(_columns(rows))
    x, y = (np.asarray(part, np.float32) for part in (schema.encode_x(table), schema.encode_y(table)))
    return Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(len(x)))


def log_density(learner: HierarchicalLearner, knots: Any, rows: Data) -> tuple[Callable, Callable, Any]:
    """Return the log posterior of all parameters, the shared mean given them, and where to start."""
    basis, count = learner.basis, len(rows.mask)
    x, mask = jnp.where(rows.mask[..., None] > 0, rows.x, 0.0), (rows.mask > 0).astype(float)
    y = jnp.where(rows.mask > 0, rows.y[..., 0], 0.0)
    functions = jax.vmap(lambda each: basis.mean(knots, each))(x)
    scales = of_scales.start(basis, learner.deviation)
    start = {"scales": scales, "mean": jnp.zeros(()), "spread": jnp.asarray(_CENTRE), "unit": jnp.zeros(count)}

    def sums(place: dict) -> tuple[Any, Any, Any]:
        """Return the precision of the coefficients, what they tend to, and the rest of the log density, summed over tasks."""
        factors = place["mean"] + jnp.exp(place["spread"]) * place["unit"]

        def task(x: Any, mask: Any, functions: Any, y: Any, factor: Any) -> tuple[Any, Any, Any]:
            own = place["scales"] | {"noise": place["scales"]["noise"] + factor}
            noise = jnp.where(mask > 0, of_scales.noise_variance(basis, own, x), 1.0)
            covariance = of_scales.covariance(basis, own, x, x) * mask[:, None] * mask[None] + jnp.diag(noise)
            root = jnp.linalg.cholesky(covariance)
            half = solve_triangular(root, mask[:, None] * jnp.concatenate([functions, y[:, None]], 1), lower=True)
            design, rest = half[:, :-1], half[:, -1]
            return design.T @ design, design.T @ rest, -0.5 * rest @ rest - jnp.log(jnp.diagonal(root)).sum()

        return jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(task)(x, mask, functions, y, factors))

    def density(place: dict) -> Any:
        precision, towards, rest = sums(place)
        prior = of_scales.mean_variance(basis, place["scales"])
        root = jnp.linalg.cholesky(precision + jnp.diag(1 / prior))
        half = solve_triangular(root, towards, lower=True)
        shared = 0.5 * half @ half - jnp.log(jnp.diagonal(root)).sum() - 0.5 * jnp.log(prior).sum()
        of_noise = (place["mean"] / _MEAN_WIDTH) ** 2 + ((place["spread"] - _CENTRE) / _WIDTH) ** 2 + (place["unit"] ** 2).sum()
        return rest + shared + of_scales.log_prior(place["scales"]) - 0.5 * of_noise

    def coefficients(place: dict) -> tuple[Any, Any]:
        precision, towards, _ = sums(place)
        covariance = jnp.linalg.inv(precision + jnp.diag(1 / of_scales.mean_variance(basis, place["scales"])))
        return covariance @ towards, jnp.linalg.cholesky(covariance)

    return density, coefficients, start


def sampled(learner: HierarchicalLearner, knots: Any, rows: Data) -> tuple[HierarchicalMeta, float]:
    """Return draws by NUTS as meta-parameters, with the noise of a new task in each, and the largest split R-hat."""
    density, coefficients, start = log_density(learner, knots, rows)
    flat, unravel = ravel_pytree(start)

    def chain(key: Any) -> Any:
        spread_key, warm_key, key = jax.random.split(key, 3)
        first = flat + 0.3 * jax.random.normal(spread_key, flat.shape)
        warmup = blackjax.window_adaptation(blackjax.nuts, lambda place: density(unravel(place)))
        (state, settings), _ = warmup.run(warm_key, first, _WARMUP)  # pyright: ignore[reportCallIssue]
        step = blackjax.nuts(lambda place: density(unravel(place)), **settings).step

        def once(state: Any, key: Any) -> tuple[Any, Any]:
            state, _ = step(key, state)
            return state, state.position

        return jax.lax.scan(once, state, jax.random.split(key, _DRAWS))[1]

    chains = jax.jit(lambda keys: jax.lax.map(chain, keys))(jax.random.split(jax.random.key(0), _CHAINS))
    rhat = float(np.max(np.asarray(blackjax.rhat(chains.reshape(2 * _CHAINS, _DRAWS // 2, -1)))))
    every = chains.reshape(-1, chains.shape[-1])
    picked = every[np.linspace(0, len(every) - 1, _KEPT).astype(int)]
    places = jax.vmap(unravel)(picked)
    mean, root = jax.jit(jax.vmap(coefficients))(places)
    # The noise of a new task is integrated on nodes of each draw.
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    places, mean, root = jax.tree.map(lambda leaf: jnp.repeat(leaf, _NODES, 0), (places, mean, root))
    new = places["mean"] + jnp.exp(places["spread"]) * jnp.tile(jnp.asarray(nodes), _KEPT)
    scales = places["scales"] | {"noise": places["scales"]["noise"] + new}
    one = jax.tree.map(lambda leaf: leaf[:, None], scales)
    return HierarchicalMeta(knots, one, mean[:, None], root[:, None], jnp.tile(jnp.log(jnp.asarray(weights)), _KEPT)), rhat


def compare(spec: Spec) -> dict[str, Any]:
    """Return how far the default's mixed model is from full Bayes on a table, by number of given rows."""
    table = told(spec)
    seen = np.asarray(table.rows.mask) > 0
    basis, knots = fit_basis(np.asarray(table.rows.x)[seen], np.repeat(np.arange(len(seen)), seen.sum(1)))
    draws = draws_for(len(seen))
    learner = HierarchicalLearner(basis, draws=draws)
    fit = ScaleFit(HierarchicalLearner(basis, 1, "smooth", draws), knots, table.rows, np.ones((1, len(seen)), bool))
    ours = fit.fit([slice(0, 1)], RIGID)[0]
    ours = jax.tree.map(lambda leaf: leaf[0], ours)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (knots, table.rows))
        bayes, rhat = sampled(learner, *wide)
        bayes = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), bayes)
    many = HierarchicalLearner(basis, draws=_KEPT * _NODES)
    found: dict[int, list] = {}

    @partial(jax.jit, static_argnums=0)
    def moments(learner: HierarchicalLearner, meta: HierarchicalMeta, given: Data, x: Any) -> tuple[Any, Any]:
        predictive = learner.adapt(meta, given).predict(x)
        return predictive.mean[:, 0], predictive.std[:, 0]

    for count, given, x in table.asked:
        both = [moments(each, meta, given, jnp.asarray(x)) for each, meta in ((learner, ours), (many, bayes))]
        (mean, deviation), (true, spread) = ([np.asarray(part) for part in parts] for parts in both)
        found.setdefault(count, []).append((np.abs(mean - true) / spread, deviation / spread))
    result: dict[str, Any] = {"table": spec.name, "rhat": rhat, "given": []}
    for count, parts in found.items():
        apart, ratio = (np.concatenate(part) for part in zip(*parts, strict=True))
        within = (apart <= MEANS).mean(), (np.abs(ratio - 1) <= DEVIATIONS).mean()
        numbers = {"mean": apart.mean(), "most": apart.max(), "means": within[0], "deviations": within[1]}
        numbers |= {"ratio": ratio.mean(), "low": ratio.min(), "high": ratio.max()}
        result["given"].append({"count": count} | {name: float(value) for name, value in numbers.items()})
    return result


def write(out: Path, results: list[dict[str, Any]]) -> None:
    """Write full_bayes.md and full_bayes.json of the `results` of tables into the folder `out`."""
    lines = []
    for result in results:
        for row in result["given"]:
            ends = f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            means = [f"{row['mean']:.2f}", f"{row['means']:.0%}"]
            lines.append([result["table"], row["count"], *means, ends, f"{row['deviations']:.0%}", f"{result['rhat']:.3f}"])
    text = [
        "# The mixed model beside full Bayes",
        "",
        f"The first fold's tasks, predicted by the default's mixed model and by {_CHAINS} chains of NUTS ({_DRAWS} draws each)",
        "of the same model and priors. *Apart* is how far the means are apart, in standard deviations of full Bayes, on",
        "average. *Ratio* is that of the standard deviations, with the least and the most. *Within* is the share of rows whose",
        f"means are within {MEANS} deviations, and whose deviations are within {DEVIATIONS:.0%}.",
        "`python benchmarks/tables/full_bayes.py --out docs/results/tables` makes this page.",
        "",
        markdown_table(("table", "given", "apart", "within", "ratio", "within", "R-hat"), lines),
        "",
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "full_bayes.md", "\n".join(text))
    write_atomically(out / "full_bayes.json", json.dumps(results, indent=1))


def main() -> None:
    """Read the options, compare, write full_bayes.md and full_bayes.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/tables"), help="the report goes here")
    parser.add_argument("--tables", default=",".join(TABLES), help="comma-separated")
    chosen = parser.parse_args()
    results = []
    for name in chosen.tables.split(","):
        results.append(compare(SPECS[name]))
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    write(chosen.out, results)


if __name__ == "__main__":
    main()
