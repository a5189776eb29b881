"""A package of a stranger in one file: a network, a learner, an objective and a family of tasks, with a line each to register.

It imports the library's public contracts and nothing else, as a package outside would.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

import bmaml
from bmaml.data import Data, Task
from bmaml.distributions import Normal
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners import AbstractLearner
from bmaml.methods import OfWidths
from bmaml.models import AbstractNetwork
from bmaml.objectives import AbstractObjective
from bmaml.tasks import AbstractTasks


@bmaml.register("stranger/waves")
class Waves(AbstractNetwork):
    """Learned sines of the inputs."""

    inputs: int = eqx.field(static=True)
    width: int = eqx.field(static=True, default=8)

    def init(self, key):
        return jax.random.normal(key, (self.inputs + 1, self.width))

    def apply(self, params, x):
        return jnp.sin(x @ params[:-1] + params[-1:])


class Smoothed(AbstractPosterior):
    """A weighted mean of the support's targets, which falls back to a learned mean far from all of them."""

    embed: eqx.Partial
    support: Data
    mean: jax.Array
    std: jax.Array

    def predict(self, x):
        gaps = ((self.embed(x)[:, None] - self.embed(self.support.x)[None]) ** 2).sum(-1)
        weights = jnp.exp(-gaps) * self.support.mask[None]
        y = jnp.where(self.support.mask[:, None] > 0, self.support.y, 0.0)
        mean = (weights @ y + 0.1 * self.mean[None]) / (weights.sum(-1, keepdims=True) + 0.1)
        return Normal(mean, jnp.broadcast_to(self.std, mean.shape))

    def sample_functions(self, x, *, key, count=1):
        return jnp.broadcast_to(self.predict(x).mean, (count, len(x), len(self.mean)))


@bmaml.register("stranger/smoother")
class SmoothingLearner(AbstractLearner):
    """A kernel smoother on a learned embedding."""

    network: AbstractNetwork
    outputs: int = eqx.field(static=True, default=1)

    def init(self, key):
        return {"network": self.network.init(key), "mean": jnp.zeros(self.outputs), "log_std": jnp.zeros(self.outputs)}

    def adapt(self, meta, support, *, key):
        embed = eqx.Partial(self.network.apply, meta["network"])
        return Smoothed(embed, support, meta["mean"], jnp.exp(meta["log_std"]))


@bmaml.register("stranger/huber")
class HuberLoss(AbstractObjective):
    """The NLL of the query, in nats a point, no error counted beyond `limit` deviations as a square."""

    limit: float = eqx.field(static=True, default=3.0)

    def require(self, learner):
        """Any learner fits."""

    def loss(self, learner, meta, task, *, key):
        predicted = learner.adapt(meta, task.support, key=key).predict(task.query.x)
        errors = jnp.abs(task.query.y - predicted.mean) / predicted.std
        square = jnp.where(errors < self.limit, errors**2 / 2, self.limit * (errors - self.limit / 2))
        each = (square + jnp.log(predicted.std)).sum(-1) * task.query.mask
        return each.sum() / task.query.count, {"largest_error": (errors[:, 0] * task.query.mask).max()}


@bmaml.register("stranger/kinks")
@bmaml.tasks.family("kinks")
class Kinks(AbstractTasks):
    """y = |a| |x - b| + noise: every task is a line with one kink."""

    shots: int = eqx.field(static=True, default=4)
    queries: int = eqx.field(static=True, default=6)

    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 1

    def sample(self, key):
        keys = jax.random.split(key, 3)
        slope, place = jax.random.normal(keys[0], (2,))
        x = jax.random.uniform(keys[1], (self.shots + self.queries, 1), minval=-2.0, maxval=2.0)
        y = jnp.abs(slope * (x - place)) + 0.05 * jax.random.normal(keys[2], x.shape)
        rows, parts = Data(x, y, jnp.ones(len(x))), (slice(self.shots), slice(self.shots, None))
        support, query = (jax.tree.map(lambda leaf, part=part: leaf[part], rows) for part in parts)
        return Task(support, query)


@bmaml.methods.preset("smoother", made_of=OfWidths())
def smoother(inputs, outputs, *, width=8):
    """A kernel smoother on learned sines, trained to be robust."""
    return bmaml.Method(SmoothingLearner(Waves(inputs, width), outputs), HuberLoss())
