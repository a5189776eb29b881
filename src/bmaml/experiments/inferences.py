"""The inferences that are compared on one task, one row of `inferences` each: functions from a key to a posterior."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from bmaml import methods
from bmaml.experiments.one_task import HIDDEN, OneTask, PriorTasks, prior_weights
from bmaml.inference.directions import RBF, AbstractDirection, Independent, Langevin
from bmaml.inference.posteriors import AbstractPosterior, ParticlePosterior
from bmaml.inference.svgd import svgd
from bmaml.io.registry import register
from bmaml.learners import AbstractLearner, ConjugateLearner, GradientLearner, Laplace, Optax, Sgd
from bmaml.learners.conjugate import ConjugateMeta
from bmaml.learners.exact_heads.inverse_gamma import InverseGammaPrior
from bmaml.learners.rules import AbstractRule
from bmaml.models.features import AbstractFeatures
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress
from bmaml.training.run import train

Inference = Callable[[PRNGKeyArray], AbstractPosterior]
# About twice the median squared distance of two draws from the posterior. With the usual choice, median / log n, the
# particles of a network collapse: the variance of the function falls to a twentieth.
BANDWIDTH = 100.0
_RATE = 1e-4  # Langevin's step; the stiffest direction of the posterior has a curvature of some thousands
_STIFF = 1e4  # inverse-gamma shape at which a head's noise is almost known


class Size(eqx.Module):
    """How much work the inferences do.

    - `steps`: steps of gradient methods; `langevin_steps` those of Langevin.
    - `particles`: numbers of particles of SVGD.
    - `heads`: number of hidden layers with exact heads.
    - `meta_steps`: meta-steps of PLATIPUS.
    """

    steps: int = eqx.field(static=True, default=10_000)
    langevin_steps: int = eqx.field(static=True, default=100_000)
    particles: tuple[int, ...] = eqx.field(static=True, default=(10, 30, 100, 300))
    heads: int = eqx.field(static=True, default=5_000)
    meta_steps: int = eqx.field(static=True, default=5_000)


def inferences(
    task: OneTask, size: Size, *, seed: int = 0, progress: Progress | None = None
) -> dict[str, Callable[[], Inference]]:
    """Return a function for each inference, by its name. An inference that needs meta-training is trained when it is made.

    - `task`: the task.
    - `size`: how much work each does.
    - `seed`: seed of trainings.
    - `progress`: shows how far trainings are.
    """
    adam = Optax(_adam(size.steps))
    return {
        **{f"SVGD, {n} particles": partial(_svgd, task, n, size.steps, BANDWIDTH) for n in size.particles},
        "SVGD, 100, median bandwidth": partial(_svgd, task, 100, size.steps, None),
        "ensemble of 100 MAPs": partial(_moved, task, 100, size.steps, Independent(), adam),
        "Langevin, 100 particles": partial(_moved, task, 100, size.langevin_steps, Langevin(_RATE), Sgd(_RATE)),
        "Laplace, 1 MAP": partial(_laplace, task, 1, size.steps),
        "Laplace, 30 MAPs": partial(_laplace, task, 30, size.steps),
        f"conjugate heads, {size.heads:,}": partial(_heads, task, size.heads),
        "PLATIPUS, 100 particles": partial(_platipus, task, size.meta_steps, seed, progress),
    }


def _adam(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(0.03, max(steps, 1)))


def _svgd(task: OneTask, particles: int, steps: int, bandwidth: float | None) -> Inference:
    """SVGD from fresh networks, Adam with a rate that falls to 0."""

    def infer(key: PRNGKeyArray) -> ParticlePosterior:
        start = jax.vmap(task.model.init)(jax.random.split(key, particles))
        kernel = RBF(bandwidth)
        found = svgd(task.log_density, start, steps=steps, optimiser=_adam(steps), kernel=kernel).particles
        return ParticlePosterior(task.model, found, jnp.zeros(particles))

    return infer


def _learner(task: OneTask, particles: int, steps: int, direction: AbstractDirection, rule: AbstractRule) -> GradientLearner:
    return GradientLearner(task.model, task.prior, rule, steps, particles, direction)


def _adapted(task: OneTask, learner: AbstractLearner) -> Inference:
    """A learner that adapts from fresh parameters."""

    def infer(key: PRNGKeyArray) -> AbstractPosterior:
        init_key, adapt_key = jax.random.split(key)
        return learner.adapt(learner.init(init_key), task.support, key=adapt_key)

    return infer


def _moved(task: OneTask, particles: int, steps: int, direction: AbstractDirection, rule: AbstractRule) -> Inference:
    """Particles moved by a direction from fresh networks."""
    return _adapted(task, _learner(task, particles, steps, direction, rule))


def _laplace(task: OneTask, modes: int, steps: int) -> Inference:
    """A Gaussian about each of some MAPs, full Gauss-Newton curvature, the network linearised."""
    base = _learner(task, modes, steps, Independent(), Optax(_adam(steps)))
    return _adapted(task, Laplace(base, precision=task.precision))


@register("features/hidden-layer")
class HiddenLayer(AbstractFeatures):
    """The hidden layer of a one-layer tanh network with `units` units and a constant as features.

    An expert's code is the layer's weights and biases.
    """

    units: int = eqx.field(static=True)

    @property
    def count(self):
        return self.units + 1

    @property
    def code_size(self):
        return 2 * self.units

    def init(self, key):
        return None

    def apply(self, params, x, code):
        hidden = jnp.tanh(x @ code[None, : self.units] + code[None, self.units :])
        return jnp.concatenate([hidden, jnp.ones_like(x)], 1), jnp.zeros(len(x), x.dtype)


def _heads(task: OneTask, count: int) -> Inference:
    """Hidden layers drawn from the prior, each with its exact output layer, weighted by evidence.

    As their number grows this becomes the exact posterior: importance sampling of the hidden layer, with the output layer
    integrated out.
    """
    features = HiddenLayer(HIDDEN)
    learner = ConjugateLearner(features, particles=count)
    # sigma^2 ~ Inverse-Gamma(a, a noise^2) is the known noise for large a. Weights have variance sigma^2 S = 1 / precision.
    prior = InverseGammaPrior(
        mean=jnp.zeros((1, features.count, 1)),
        log_scale=jnp.full((1, features.count), -jnp.log(task.precision * task.noise**2)),
        log_noise=jnp.zeros(1),
        raw_a=jnp.full((1, 1), _STIFF - 1),
        log_b=jnp.full((1, 1, 1), jnp.log(_STIFF * task.noise**2)),
        log_share=jnp.zeros((1, 1)),
    )

    def code(key: PRNGKeyArray) -> Any:
        first = prior_weights(task, key)[0]
        return jnp.concatenate([first["weight"][0], first["bias"]])

    def infer(key: PRNGKeyArray) -> AbstractPosterior:
        codes = jax.vmap(code)(jax.random.split(key, count))
        return learner.adapt(ConjugateMeta(None, codes, prior, jnp.zeros(count)), task.support)

    return infer


def _platipus(task: OneTask, steps: int, seed: int, progress: Progress | None) -> Inference:
    """PLATIPUS, meta-trained on tasks drawn from the prior, so that its target is the same posterior."""
    method = methods.platipus(task.model, particles=100, inner_learning_rate=0.01, inner_steps=5, clip=10.0)
    run = train(method, PriorTasks(task), Plan(steps, 16, Adam(1e-3), seed), progress=progress)

    def infer(key: PRNGKeyArray) -> AbstractPosterior:
        return run.method.adapt(run.meta, task.support, key=key)

    return infer
