"""One small task with a Bayesian network as its model, whose posterior every inference approximates."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from bmaml.data import Data, data
from bmaml.inference.priors import GaussianPrior, Particle
from bmaml.io.registry import register
from bmaml.learners.diagonal import DiagonalGaussian, filled
from bmaml.learners.mcmc import log_posterior
from bmaml.models import MLP, GaussianModel
from bmaml.tasks.base import AbstractTasks, split_rows
from bmaml.tasks.shots import shot_counts

HIDDEN = 16
_X = (-2.0, -1.0, 0.3, 1.2, 2.4)
_REACH = 4.0


@register("data/one-task")
class OneTask(eqx.Module):
    """Five noisy points of sin(1.3 x), a 1-16-1 tanh network with weights and biases ~ N(0, 1 / precision), known noise.

    - `support`: the five points.
    - `query`: held-out points.
    - `precision`: precision of the weights.
    - `noise`: standard deviation of the noise.
    """

    support: Data
    query: Data
    precision: float = eqx.field(static=True, default=0.5)
    noise: float = eqx.field(static=True, default=0.2)

    @staticmethod
    def draw(seed: int = 0, queries: int = 200) -> OneTask:
        """Return the task with the noise of `seed`, and `queries` held-out noisy points from a range twice as wide."""
        noise, rng = 0.2, np.random.default_rng(seed)
        support = np.asarray(_X)
        asked = rng.uniform(-_REACH, _REACH, queries)
        sets = [data(x, np.sin(1.3 * x) + noise * rng.normal(size=len(x))) for x in (support, asked)]
        return OneTask(sets[0], sets[1], noise=noise)

    @property
    def model(self) -> GaussianModel:
        """The likelihood."""
        return GaussianModel(MLP((1, HIDDEN, 1), "tanh"), precision=self.noise**-2, known=True)

    @property
    def prior(self) -> GaussianPrior:
        """The prior."""
        return GaussianPrior(self.precision)

    @property
    def grid(self) -> Float[Array, "points 1"]:
        """The inputs at which predictions are compared."""
        return jnp.linspace(-_REACH, _REACH, 41)[:, None]

    def log_density(self, params: PyTree[Any]) -> Float[Array, ""]:
        """Return the log posterior density of the model's parameters `params`, in nats, up to a constant."""
        return log_posterior(self.model, self.prior, self.support)(Particle(params, None))


@register("tasks/one-prior")
class PriorTasks(AbstractTasks):
    """Tasks drawn from the prior of `task`, for methods that must be meta-trained before they can infer.

    Weights come from the prior, and inputs are uniform over the grid's range. There are `shots` support and `queries` query
    points.
    """

    task: OneTask
    shots: int = eqx.field(static=True, default=len(_X))
    queries: int = eqx.field(static=True, default=15)

    @property
    def inputs(self):
        return 1

    @property
    def outputs(self):
        return 1

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return dataclasses.replace(self, shots=max(shot_counts(shots)), queries=queries)

    def truth(self, key, x):
        return self.task.model.network.apply(prior_weights(self.task, jax.random.split(key, 3)[0]), x)

    def sample(self, key):
        weight_key, x_key, noise_key = jax.random.split(key, 3)
        model, count = self.task.model, self.shots + self.queries
        weights = prior_weights(self.task, weight_key)
        x = jax.random.uniform(x_key, (count, 1), minval=-_REACH, maxval=_REACH)
        y = model.network.apply(weights, x) + self.task.noise * jax.random.normal(noise_key, x.shape)
        rows = Data(x, y, jnp.ones(count))
        return split_rows(rows, self.shots, self.shots, self.queries)


def prior_weights(task: OneTask, key: Array) -> PyTree[Any]:
    """Return weights of the network of `task`, drawn from the prior."""
    like = eqx.filter_eval_shape(task.model.network.init, key)
    return DiagonalGaussian(filled(like, 0.0), filled(like, -math.log(task.precision))).sample(key)
