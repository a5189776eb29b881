"""Our entries: the library's own method in the library's own loop, and its pieces on numbers that are given."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import navigation
import numpy as np

from bmaml.data import Data, Task
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.models import MLP, GaussianPolicy
from bmaml.rl import Navigation, PolicyMethod, Sampling, TrustRegion
from bmaml.rl.presets import maml
from bmaml.training.loop import Loop
from bmaml.training.meta_step import MetaBatch
from bmaml.training.plan import Plan

Leaves = list[np.ndarray]
Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def method(fisher_episodes: int | None = None) -> PolicyMethod:
    """MAML with a trust region, the peers' settings."""
    policy = GaussianPolicy(MLP(navigation.SIZES), navigation.SIZES[-1])
    outer = TrustRegion(
        navigation.KL_LIMIT,
        navigation.CG_STEPS,
        navigation.DAMPING,
        navigation.HALVINGS,
        shrink=0.5,
        fisher_episodes=fisher_episodes,
    )
    return maml(policy, inner_learning_rate=navigation.INNER_RATE, sampling=Sampling(navigation.TRAJECTORIES), outer=outer)


def build(fisher_episodes: int | None = None) -> Callable[[], None]:
    """A function that makes one meta-iteration."""
    plan = Plan(steps=10**6, batch=navigation.TASKS, skip_limit=10**9)
    loop = Loop(method(fisher_episodes), Navigation(horizon=navigation.STEPS), plan)
    loop.compile()
    return lambda: (loop.advance(1), None)[1]


def _meta(method: PolicyMethod, leaves: Leaves):
    """The learner's meta-parameters with the given values."""
    meta = method.learner.init(jax.random.key(0))
    pairs = zip(leaves[:-1:2], leaves[1:-1:2], strict=True)
    weights = [{"weight": jnp.asarray(weight)[None], "bias": jnp.asarray(bias)} for weight, bias in pairs]
    params = {"weights": weights, "log_std": jnp.asarray(leaves[-1])}
    return eqx.tree_at(lambda m: m.particles.params, meta, params)


def _leaves(meta) -> Leaves:
    """Meta-parameters, or a tangent of them, as the peers hold them."""
    params, found = meta.particles.params, []
    for layer in params["weights"]:
        found += [np.asarray(layer["weight"][0]), np.asarray(layer["bias"])]
    return [*found, np.asarray(params["log_std"])]


def _data(rows: Rows) -> Data:
    """Rows of (tasks, trajectories x steps, ...) as data of (tasks, 1, 1, trajectories, steps, ...)."""

    def split(leaf: np.ndarray) -> jax.Array:
        shape = (len(leaf), 1, 1, navigation.TRAJECTORIES, navigation.STEPS, *leaf.shape[2:])
        return jnp.asarray(leaf.reshape(shape))

    x, action, advantage, mask = rows
    return Data(split(x), split(action), split(advantage * mask / mask.sum(1, keepdims=True)))


def pieces(leaves: Leaves, support: Rows, query: Rows, tangent: Leaves) -> tuple[Leaves, Leaves, Leaves]:
    """Each task's adapted parameters, the surrogate loss's meta-gradient, and the Fisher product with a tangent."""
    ours, outer = method(), TrustRegion(damping=navigation.DAMPING)
    meta, along = _meta(ours, leaves), _meta(ours, tangent)
    tasks = Task(_data(support), _data(query))
    batch = MetaBatch(tasks, jax.random.split(jax.random.key(0), len(support[0])))

    def loss(meta):
        each = jax.vmap(lambda task, key: ours.objective(ours.learner, meta, task, key=key)[0])
        return each(batch.tasks, batch.keys).mean()

    def adapt(task, key):
        posterior = ours.learner.adapt(meta, task.support, key=key)
        assert isinstance(posterior, ParticlePosterior)
        return posterior.params

    adapted = jax.jit(jax.vmap(adapt))(batch.tasks, batch.keys)
    product = jax.jit(lambda meta, along: outer.fisher_product(ours, meta, batch)(along))(meta, along)
    found = []
    for layer in adapted["weights"]:
        found += [np.asarray(layer["weight"][:, 0]), np.asarray(layer["bias"])]
    return [*found, np.asarray(adapted["log_std"])], _leaves(jax.jit(jax.grad(loss))(meta)), _leaves(product)
