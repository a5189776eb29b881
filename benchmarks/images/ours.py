"""Our entries: the library's own networks, methods and meta-step."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from settings import (
    FILTERS,
    HEAD_LR,
    INNER_LR,
    OUTER_LR,
    PARTICLES,
    SHAPE,
    SUPPORT,
    TASKS,
    WAY,
    Leaves,
    images,
    labels,
    parameters,
)

from bmaml import methods
from bmaml.data import Data, Task
from bmaml.inference.priors import GammaPrior
from bmaml.models import MLP, CategoricalModel, Conv4
from bmaml.training.meta_step import MetaBatch, batch_gradient, init_state, meta_step
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

Run = Callable[[int], None]


def method(name: str) -> methods.Method:
    """The method of an entry."""
    if name == "maml":
        return methods.maml(CategoricalModel(Conv4(SHAPE, FILTERS, WAY)), inner_learning_rate=INNER_LR)
    head = CategoricalModel(MLP((FILTERS, WAY)))
    return methods.shared_bmaml(
        Conv4(SHAPE, FILTERS), head, particles=PARTICLES, inner_learning_rate=HEAD_LR, inner_steps=1, prior=GammaPrior()
    )


def _layers(leaves: Leaves) -> list[dict[str, jax.Array]]:
    names = ("kernel", "scale", "bias")
    return [{name: jnp.asarray(leaves[f"{name}{i}"]) for name in names} for i in range(4)]


def meta(name: str, leaves: Leaves):
    """The learner's meta-parameters with the given values."""
    head = {"weight": jnp.asarray(leaves["weight"]), "bias": jnp.asarray(leaves["bias"])}
    start = method(name).learner.init(jax.random.key(0))
    if name == "maml":
        weights = {"layers": _layers(leaves), "head": head}
        lone = jax.tree.map(lambda leaf: leaf[None], weights)
        return eqx.tree_at(lambda m: m.particles.params["weights"], start, lone)
    start = eqx.tree_at(lambda m: m.extractor["layers"], start, _layers(leaves))
    start = eqx.tree_at(lambda m: m.inner.particles.params["weights"], start, [head])
    precision = jnp.asarray(leaves["log_lambda"])
    return eqx.tree_at(lambda m: m.inner.particles.hyper["log_weight_precision"], start, precision)


def _named(name: str, slope) -> Leaves:
    if name == "maml":
        lone = jax.tree.map(lambda leaf: leaf[0], slope.particles.params["weights"])
        layers, head, extra = lone["layers"], lone["head"], {}
    else:
        layers, head = slope.extractor["layers"], slope.inner.particles.params["weights"][0]
        extra = {"log_lambda": slope.inner.particles.hyper["log_weight_precision"]}
    found = {f"{leaf}{i}": layer[leaf] for i, layer in enumerate(layers) for leaf in layer} | dict(head) | extra
    return {leaf: np.asarray(value) for leaf, value in found.items()}


def _batch(x: np.ndarray) -> MetaBatch:
    tasks = len(x)

    def data(x: np.ndarray) -> Data:
        y = jnp.broadcast_to(jnp.asarray(labels(x.shape[1])), x.shape[:2])
        return Data(jnp.asarray(x), y, jnp.ones(x.shape[:2]))

    return MetaBatch(Task(data(x[:, :SUPPORT]), data(x[:, SUPPORT:])), jax.random.split(jax.random.key(0), tasks))


def gradient(name: str, x: np.ndarray) -> Leaves:
    """The meta-gradient of the common parameters on a meta-batch."""
    leaves = parameters(particles=None if name == "maml" else PARTICLES)
    found = jax.jit(lambda m, b: batch_gradient(method(name), m, b)[2])(meta(name, leaves), _batch(x))
    return _named(name, found)


def build(name: str, groups: int | None = None) -> Run:
    """Return a function that makes that many meta-steps on a meta-batch of `TASKS`, the state donated."""
    # Task after task: what one task holds fits the cache better than what all of them hold.
    groups = groups or TASKS
    chosen, plan = method(name), Plan(batch=TASKS, outer=Adam(OUTER_LR, decay="none"), accumulation_steps=groups)
    batch = _batch(images())

    def steps(state, count):
        return jax.lax.fori_loop(0, count, lambda _, s: meta_step(chosen, plan, s, batch)[0], state)

    program = jax.jit(steps, donate_argnums=0).lower(init_state(chosen, plan), jnp.int32(1)).compile()
    state = [jax.tree.map(jnp.copy, init_state(chosen, plan))]

    def run(count: int) -> None:
        state[0] = jax.block_until_ready(program(state[0], jnp.int32(count)))

    return run
