"""The main job in about a minute: meta-train, adapt to a new task, compare with the Bayes-optimal predictor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmaml.data import Data
from bmaml.evaluation.evaluate import Evaluation, evaluate
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.bayes_optimal import BayesOptimal
from bmaml.learners.optimal import AT_ONCE
from bmaml.learners.predictor import Predictor
from bmaml.learners.wrappers import with_steps
from bmaml.recipes.families import build_method, build_plan
from bmaml.tasks.sinusoid import Sinusoids
from bmaml.training.progress import Progress
from bmaml.training.run import Run, train

FAMILY = Sinusoids((3, 5, 10), 20)
STEPS = (0, 1, 5, 10)
GIVEN = (0, 3, 5, 10)
# At so few meta-steps, more of them help more than finer codes.
_SIZES = {"experts": {"steps": 3600, "particles": 64}, "bmaml": {"steps": 1000, "particles": 5}}


class View(eqx.Module):
    """What is drawn of one posterior.

    - `title`: title of the panel.
    - `support`: the given points.
    - `functions`: draws of functions.
    - `mean`, `low`, `high`: the predictive's mean and 90% band.
    """

    title: str = eqx.field(static=True)
    support: Data
    functions: Array
    mean: Array
    low: Array
    high: Array


def fit(name: str, *, seed: int = 0, share: float = 1.0, progress: Progress | None = None) -> Run:
    """Meta-train the demo's method `name`, for `share` of the demo's length.

    `seed` is the seed of the training, and `progress` shows how far it is.
    """
    size = _SIZES[name]
    method = build_method(name, particles=size["particles"])
    plan = build_plan(name, steps=max(int(size["steps"] * share), 20), seed=seed)
    # BMAML's own setting: five points, and five more for the leader. Experts also train on tasks without points, because that
    # prediction is drawn.
    tasks = Sinusoids(5, 5) if name == "bmaml" else Sinusoids((0, *FAMILY.shots), 20)
    return train(method, tasks, plan, progress=progress)


class NewTask(eqx.Module):
    """A task that no method has seen: its function `wave`, and ten noisy `points`, of which the first few are given."""

    wave: Callable[[Array], Array]
    points: Data

    @staticmethod
    def draw(seed: int) -> NewTask:
        """Return a task drawn from the family with this `seed`."""
        wave_key, point_key = jax.random.split(jax.random.key(seed))
        wave = FAMILY.wave(wave_key)
        return NewTask(wave, FAMILY.points(wave, point_key, max(GIVEN)))

    def given(self, count: int) -> Data:
        """Return the first `count` points. The rest is masked, so one program serves every count."""
        return dataclasses.replace(self.points, mask=(jnp.arange(max(GIVEN)) < count).astype(self.points.mask.dtype))


GRID = np.linspace(-5.0, 5.0, 161)


def views(run: Run, task: NewTask, *, by_steps: bool, seed: int = 0) -> list[View]:
    """Return the views of `run` on `task`: by inner steps on five points (`by_steps`), or by the number of points given.

    `seed` is the seed of the functions.
    """
    learner, key = run.method.answerer, jax.random.key(seed)
    out = []
    for count in STEPS if by_steps else GIVEN:
        if by_steps:
            posterior = with_steps(learner, count).adapt(run.meta, task.given(5), key=key)
            out.append(_view(f"BMAML, 5 points, {count} step{'s' * (count != 1)}", posterior, task.given(5), key))
        else:
            posterior = learner.adapt(run.meta, task.given(count), key=key)
            title = f"experts, {count} points" if count else "experts, prior"
            out.append(_view(title, posterior, task.given(count), key))
    return out


def optimal_band(task: NewTask, count: int) -> tuple[Array, Array]:
    """Return the Bayes-optimal 90% band of `task` given its first `count` points."""
    posterior = BayesOptimal(FAMILY).adapt(None, task.given(count), key=jax.random.key(0))
    return _band(posterior, jnp.asarray(GRID, jnp.float32)[:, None])[1:]


def scores(runs: dict[str, Run], *, tasks: int = 200, optimal_tasks: int = 50) -> dict[str, Evaluation]:
    """Return the scores of `runs` at 5, 10 and 20 shots on `tasks` new tasks, and of the Bayes-optimal predictor on
    `optimal_tasks`.
    """
    shots = (5, 10, 20)
    out = {name: evaluate(run, FAMILY, shots=shots, count=tasks) for name, run in runs.items()}
    best = evaluate(Predictor(BayesOptimal(FAMILY)), FAMILY, shots=shots, count=optimal_tasks, batch=AT_ONCE)
    return {**out, "bayes-optimal": best}


@eqx.filter_jit
def _band(posterior: AbstractPosterior, x: Array) -> tuple[Array, Array, Array]:
    predictive = posterior.predict(x)
    return predictive.mean[:, 0], *(end[:, 0] for end in predictive.interval(0.9))  # type: ignore[attr-defined]


def _view(title: str, posterior: AbstractPosterior, support: Data, key: Array) -> View:
    x = jnp.asarray(GRID, jnp.float32)[:, None]
    return View(title, support, posterior.sample_functions(x, key=key, count=12)[..., 0], *_band(posterior, x))
