"""How far cheaper curvatures are from the full Gauss-Newton matrix, by depth, likelihood and number of points."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.experiments.numbers import Numbers, markdown_table
from bmaml.inference.curvature import AbstractCurvature, Diagonal, ExactHessian, GaussNewton, Kronecker
from bmaml.inference.curvature.outputs import jacobian, output_function
from bmaml.inference.priors import AroundInit
from bmaml.learners.gradient import GradientLearner
from bmaml.learners.rules import Sgd
from bmaml.models.base import AbstractModel, CategoricalModel, GaussianModel
from bmaml.models.network import MLP

FORMS: dict[str, AbstractCurvature] = {
    "full": GaussNewton(),
    "kronecker": Kronecker(),
    "diagonal": Diagonal(),
    "exact Hessian": ExactHessian(),
}
NETWORKS = {1: (1, 1), 2: (1, 10, 1), 3: (1, 10, 10, 1)}
POINTS = (1, 2, 5, 10, 20, 50)
PRIOR = 1.0


def run(*, tasks: int = 20, steps: int = 5000, seed: int = 0) -> Numbers:
    """Return log det errors on random sinusoid tasks, each adapted by `steps` steps of the MAP's gradient, in float64.

    Columns: likelihood, layers, weights, points, form, log_det (mean over tasks, nats), error (mean of form minus full,
    nats), low and high (its 5% and 95% quantiles over tasks), std_ratio (the outputs' standard deviation against the full
    form's, root mean square over tasks and inputs), indefinite (share of tasks where the matrix is not positive definite,
    which the other columns leave out).
    """
    rows = []
    with jax.enable_x64(True):
        for kind in ("normal", "classes"):
            for layers, sizes in NETWORKS.items():
                model = _model(kind, sizes)
                rows += _rows(kind, layers, model, tasks, steps, seed)
    names = ("likelihood", "layers", "weights", "points", "form", "log_det", "error", "low", "high", "std_ratio", "indefinite")
    return Numbers(names, rows)


def _model(kind: str, sizes: tuple[int, ...]) -> AbstractModel:
    if kind == "normal":
        return GaussianModel(MLP(sizes, "tanh"), precision=10.0)
    return CategoricalModel(MLP((*sizes[:-1], 3), "tanh"))


def _task(kind: str, points: Array, key: PRNGKeyArray) -> Data:
    """Return a task of the first `points` rows of the most there are: one program serves all of POINTS."""
    x_key, wave_key, noise_key = jax.random.split(key, 3)
    most = max(POINTS)
    x = jax.random.uniform(x_key, (most, 1), minval=-2.0, maxval=2.0)
    size, phase = jax.random.uniform(wave_key, (2,), minval=0.5, maxval=2.0)
    y = size * jnp.sin(2 * x + phase) + jax.random.normal(noise_key, (most, 1)) / jnp.sqrt(10.0)
    y = y if kind == "normal" else jnp.digitize(y[:, 0], jnp.asarray([-0.5, 0.5]))
    return Data(x, y, (jnp.arange(most) < points).astype(x.dtype))


def _rows(kind: str, layers: int, model: AbstractModel, tasks: int, steps: int, seed: int) -> list[tuple]:
    learner = GradientLearner(model, AroundInit(PRIOR), Sgd(0.2 / (10 + 10 * max(POINTS))), steps, adapt_noise=False)

    @jax.jit
    def every(keys: Key[Array, " tasks"], points: Array):
        def task_numbers(key: PRNGKeyArray):
            init_key, task_key = jax.random.split(key)
            meta, task = learner.init(init_key), _task(kind, points, task_key)
            params = jax.tree.map(lambda leaf: leaf[0], learner.adapt(meta, task, key=key).params)
            return {name: _numbers(form, model, params, task) for name, form in FORMS.items()}

        return jax.vmap(task_numbers)(keys)

    weights = ravel_pytree(model.weights(model.init(jax.random.key(0))))[0].size
    rows = []
    for points in POINTS:
        found = every(jax.random.split(jax.random.key(seed), tasks), jnp.asarray(points))
        found = {name: [np.asarray(v) for v in pair] for name, pair in found.items()}
        rows += [(kind, layers, weights, points, name, *_summary(*found[name], *found["full"])) for name in FORMS]
    return rows


def _numbers(form: AbstractCurvature, model: AbstractModel, params: PyTree[Any], task: Data) -> tuple[Array, Array]:
    """Return the log det of a form, and the variance of the outputs on a grid of inputs."""
    precision, weights = form(model, params, task, PRIOR), model.weights(params)
    rows = jacobian(output_function(model, params), weights, jnp.linspace(-2.0, 2.0, 9)[:, None])
    return precision.logdet(), precision.variance(weights, rows).reshape(-1)


def _summary(log_det, variance, full, full_variance) -> tuple[float, ...]:
    good = np.isfinite(log_det)
    if not good.any():
        return (*[float("nan")] * 5, 1.0)
    error = (log_det - full)[good]
    ratio = np.sqrt(variance[good].mean() / full_variance[good].mean())
    low, high = np.quantile(error, (0.05, 0.95))
    return float(log_det[good].mean()), float(error.mean()), float(low), float(high), float(ratio), float(1 - good.mean())


def markdown(numbers: Numbers) -> str:
    """Return the errors in `numbers` as a Markdown table: a line for each network, a column for each form and number of
    points.
    """
    shown = (1, 5, 20, 50)
    forms = [name for name in FORMS if name != "full"]
    head = [f"{form}, {n}" for form in forms for n in shown]
    lines = [
        "# Log det of cheaper curvatures against full Gauss-Newton",
        "",
        "`bmaml figure curvature --out docs/results/curvature`. Mean over tasks of log det H of a form minus that of the full",
        "Gauss-Newton matrix, in nats, by form and number of points; prior precision 1, tanh networks of width 10 adapted by",
        "gradient steps. In brackets: the share of tasks where H is not positive definite (its error is then of the others).",
        "",
    ]
    rows = []
    for kind in numbers.distinct("likelihood"):
        for layers in numbers.distinct("layers"):
            cells = [_cell(numbers.where(likelihood=kind, layers=layers, form=f, points=n)[0]) for f in forms for n in shown]
            weights = numbers.where(likelihood=kind, layers=layers)[0]["weights"]
            rows.append([kind, layers, weights, *cells])
    return "\n".join([*lines, markdown_table(["likelihood", "layers", "weights", *head], rows)]) + "\n"


def _cell(row: dict) -> str:
    if row["indefinite"] == 1.0:
        return "[100%]"
    error = 0.0 if abs(row["error"]) < 5e-9 else row["error"]
    return f"{error:.3g}" + (f" [{row['indefinite']:.0%}]" if row["indefinite"] else "")
