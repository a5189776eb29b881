"""Gradient descent as MAP: early-stopped least squares against the MAP under the prior that it implies (Santos, 1996)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data, data
from bmaml.experiments.numbers import Numbers
from bmaml.inference.priors import early_stopping_precision
from bmaml.learners.gradient import GradientLearner
from bmaml.learners.rules import Sgd
from bmaml.models.base import GaussianModel, log_likelihood, replace_weights
from bmaml.models.network import MLP

RATE, PRECISION = 0.01, 4.0
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
START = np.array([-1.5, 1.5])


def run(*, points: int = 8, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Fit y = w x + b to `points` points by gradient descent from START; return the paths and the shrinkage, in float64.

    Paths: steps, bias and weight by the library's `GradientLearner`, the same by MAP, and their largest gap. Shrinkage:
    eigenvalue of the Hessian, steps, the share of the way to least squares after descent, and after ridge regression (a prior
    with one precision, 1 / (rate steps), in all directions). `seed` is the seed of the points.
    """
    with jax.enable_x64(True):
        task = _task(points, seed)
        hessian, pull = _quadratic(task)
        paths = [(steps, *_pair(task, hessian, pull, steps)) for steps in STEPS]
        values = np.linalg.eigvalsh(hessian)
    shares = [(v, s, 1 - (1 - RATE * v) ** s, v / (v + 1 / (RATE * s))) for v in values.tolist() for s in STEPS]
    names = ("steps", "descent_bias", "descent_weight", "map_bias", "map_weight", "gap")
    return Numbers(names, paths), Numbers(("eigenvalue", "steps", "descent", "ridge"), shares)


def surface(*, points: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the Hessian of minus the log-likelihood in (bias, weight) and the least-squares solution, for `points` and
    `seed`.
    """
    with jax.enable_x64(True):
        hessian, pull = _quadratic(_task(points, seed))
    return hessian, np.linalg.solve(hessian, pull)


def _model() -> GaussianModel:
    return GaussianModel(MLP((1, 1)), precision=PRECISION)


def _task(points: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.2, 1.4, (points, 1))
    return data(x, 0.5 + 1.0 * x + rng.normal(size=(points, 1)) / np.sqrt(PRECISION))


def _params(vector):
    return {"weights": [{"bias": vector[:1], "weight": vector[1:, None]}], "log_precision": jnp.log(PRECISION)}


def _quadratic(task: Data) -> tuple[np.ndarray, np.ndarray]:
    """Return H and c of minus the log-likelihood = 1/2 v^T H v - c^T v + constant."""

    def loss(vector):
        return -log_likelihood(_model(), _params(vector), task)

    zero = jnp.zeros(2)
    return np.asarray(jax.hessian(loss)(zero)), -np.asarray(jax.grad(loss)(zero))


def _pair(task: Data, hessian: np.ndarray, pull: np.ndarray, steps: int) -> tuple[float, ...]:
    learner = GradientLearner(_model(), rule=Sgd(RATE), steps=steps, adapt_noise=False)
    meta = learner.init(jax.random.key(0))
    start = jax.tree.map(lambda leaf: leaf[None], _params(jnp.asarray(START))["weights"])
    particles = type(meta.particles)(replace_weights(learner.model, meta.particles.params, start), None)
    adapted = jax.jit(learner.adapt)(type(meta)(particles, None), task, key=jax.random.key(0)).params["weights"][0]
    descent = np.array([float(adapted["bias"][0, 0]), float(adapted["weight"][0, 0, 0])])
    prior = np.asarray(early_stopping_precision(jnp.asarray(hessian), RATE, steps))
    top = np.linalg.solve(hessian + prior, pull + prior @ START)
    return (*map(float, descent), *map(float, top), float(np.abs(descent - top).max()))
