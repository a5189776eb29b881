"""Every inference on one small task beside NUTS: how far is each from the posterior that it approximates?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from bmaml.data import Data
from bmaml.experiments.inferences import Inference, Size, inferences
from bmaml.experiments.numbers import Numbers
from bmaml.experiments.one_task import OneTask
from bmaml.inference.posteriors import AbstractPosterior, ParticlePosterior, unwrapped
from bmaml.inference.stein_discrepancy import stein_discrepancy
from bmaml.learners.mcmc import Chains, convergence, followed, task_posterior
from bmaml.training.progress import Progress

COLUMNS = ("inference", "mean_error", "worst_error", "variance_ratio", "function_ratio", "nll", "ksd", "seconds")
CURVES = ("inference", "x", "mean", "low", "high")
_KSD_MOST = 400
TRUTH = "NUTS, all draws"


class Truth(eqx.Module):
    """The posterior of NUTS.

    - `posterior`: its draws.
    - `mean`, `variance`: predictive moments on the grid.
    - `seconds`: time that NUTS took.
    - `report`: diagnostics of the chains.
    """

    posterior: ParticlePosterior
    mean: np.ndarray
    variance: np.ndarray
    seconds: float = eqx.field(static=True)
    report: dict[str, float] = eqx.field(static=True)


def run(
    task: OneTask | None = None,
    *,
    size: Size | None = None,
    warmup: int = 1000,
    draws: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
    said: Callable[[str], None] = lambda line: None,
) -> tuple[Numbers, Numbers, dict[str, Any]]:
    """Return the scores of every inference, its predictive on the grid (mean and central 90%), and a report on NUTS.

    Columns: `mean_error` is the mean over the grid of |mean - NUTS's mean| in NUTS's predictive deviations, and `worst_error`
    the largest. `variance_ratio` is the mean over the grid of the predictive variance over NUTS's, and `function_ratio` the
    same without the known noise. `nll` is in nats a held-out point. `ksd` is the kernelised Stein discrepancy of at most 400
    particles of the network's weights (None without particles). `seconds` is the time to infer, without compilation and
    meta-training. The row "NUTS, 100 draws" is the score of 100 exact draws.

    - `task`: the task.
    - `size`: how much work each inference does.
    - `warmup`, `draws`: steps of each chain of NUTS.
    - `seed`: seed of everything.
    - `progress`: shows how far trainings are.
    - `said`: is called with a line of text for each inference.

    Raises: InputError if blackjax is not installed.
    """
    task, size = task or OneTask.draw(), size or Size()
    truth = sample_truth(task, warmup, draws, seed)
    said(f"NUTS: R-hat {truth.report['r_hat_functions']:.4f}, {truth.seconds:.1f} s")
    every = max(len(truth.posterior.log_weights) // 100, 1)
    rows, curves = [], []

    def add(name: str, posterior: AbstractPosterior, seconds: float) -> None:
        rows.append((name, *scores(task, truth, posterior), seconds))
        curves.extend((name, *row) for row in _curve(task, posterior))
        said(f"{name}: mean error {rows[-1][1]:.3f}, variance ratio {rows[-1][3]:.3f}, {seconds:.1f} s")

    add(TRUTH, truth.posterior, truth.seconds)
    add("NUTS, 100 draws", _thinned(truth.posterior, every), truth.seconds)
    for i, (name, make) in enumerate(inferences(task, size, seed=seed, progress=progress).items()):
        add(name, *_timed(make(), jax.random.fold_in(jax.random.key(seed), i)))
    return Numbers(COLUMNS, rows), Numbers(CURVES, curves), truth.report


def sample_truth(task: OneTask, warmup: int, draws: int, seed: int) -> Truth:
    """Return the posterior of `task` by four chains of NUTS, with diagnostics of the predictions and of the log density.

    `warmup`, `draws` and `seed` are those of the chains.
    """
    began = time.perf_counter()
    posterior, chains = task_posterior(
        task.model, task.prior, task.support, warmup=warmup, draws=draws, key=jax.random.fold_in(jax.random.key(seed), 999)
    )
    jax.block_until_ready(posterior)
    seconds = time.perf_counter() - began
    mean, variance = (np.asarray(part, np.float64) for part in _moments(posterior, task.grid))
    return Truth(posterior, mean, variance, seconds, _report(task, chains))


@eqx.filter_jit
def _moments(posterior: AbstractPosterior, x: Float[Array, "n inputs"]) -> tuple[Array, Array]:
    predictive = posterior.predict(x)
    return predictive.mean[:, 0], predictive.variance[:, 0]


@eqx.filter_jit
def _nll(posterior: AbstractPosterior, query: Data) -> Array:
    return -posterior.predict(query.x).log_prob(query.y).mean()


@eqx.filter_jit
def _band(posterior: AbstractPosterior, x: Float[Array, "n inputs"]) -> tuple[Array, ...]:
    predictive = posterior.predict(x)
    return predictive.mean[:, 0], *(end[:, 0] for end in predictive.interval(0.9))  # type: ignore[attr-defined]


def _report(task: OneTask, chains: Chains) -> dict[str, float]:
    values = followed(task.model, chains, task.grid)[..., 0]
    functions, squares = convergence(values), convergence(values**2)
    density = convergence(chains.log_density)
    return {
        "chains": chains.log_density.shape[0],
        "draws": chains.log_density.shape[1],
        "r_hat_functions": float(functions.r_hat.max()),
        "r_hat_squares": float(squares.r_hat.max()),
        "r_hat_log_density": float(density.r_hat),
        "ess_functions": float(functions.ess.min()),
        "ess_log_density": float(density.ess),
        "divergences": chains.divergences,
        "gradients": int(chains.gradients),
    }


def _thinned(posterior: ParticlePosterior, every: int) -> ParticlePosterior:
    params = jax.tree.map(lambda leaf: leaf[every // 2 :: every], posterior.params)
    return ParticlePosterior(posterior.model, params, posterior.log_weights[every // 2 :: every])


def _timed(infer: Inference, key: jax.Array) -> tuple[AbstractPosterior, float]:
    """Return a posterior and the seconds that it took, without compilation."""
    compiled = eqx.filter_jit(infer).lower(key).compile()  # pyright: ignore[reportFunctionMemberAccess]
    began = time.perf_counter()
    posterior = jax.block_until_ready(compiled(key))
    return posterior, time.perf_counter() - began


def scores(task: OneTask, truth: Truth, posterior: AbstractPosterior) -> tuple[float | None, ...]:
    """Return the scores of `posterior` on `task` against `truth`, in the order of `COLUMNS` without name and seconds."""
    mean, variance = (np.asarray(part, np.float64) for part in _moments(posterior, task.grid))
    errors, noise = np.abs(mean - truth.mean) / np.sqrt(truth.variance), task.noise**2
    ratio, function = variance / truth.variance, (variance - noise) / (truth.variance - noise)
    nll = float(_nll(posterior, task.query))
    return float(errors.mean()), float(errors.max()), float(ratio.mean()), float(function.mean()), nll, _ksd(task, posterior)


def _ksd(task: OneTask, posterior: AbstractPosterior) -> float | None:
    inner = unwrapped(posterior)  # A run's answers are wrapped in their compiled programs.
    if not isinstance(inner, ParticlePosterior):
        return None
    some = _thinned(inner, max(len(inner.log_weights) // _KSD_MOST, 1))
    return float(stein_discrepancy(task.log_density, some.params, log_weights=some.log_weights))


def _curve(task: OneTask, posterior: AbstractPosterior) -> list[tuple[float, ...]]:
    columns = (task.grid[:, 0], *_band(posterior, task.grid))
    return list(zip(*(np.asarray(column, np.float64).tolist() for column in columns), strict=True))


def to_markdown(numbers: Numbers, report: dict[str, float], heading: str) -> str:
    """Return the scores in `numbers` as a Markdown table under a `heading`, with the `report` on the chains."""
    head = ["inference", "mean error (sd)", "worst (sd)", "variance ratio", "the function's", "NLL", "KSD", "seconds"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head))]
    lines += ["| " + " | ".join([row[0], *map(_cell, row[1:])]) + " |" for row in numbers.rows]
    chains = ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in report.items())
    return f"# {heading}\n\nNUTS: {chains}.\n\n" + "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
