"""Our entries: the library's own methods in the library's own training loop."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bmaml import methods
from bmaml.data import Data, Task
from bmaml.inference.priors import Particle
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel
from bmaml.tasks import Sinusoids
from bmaml.training.loop import Loop
from bmaml.training.meta_step import build_chunk, init_state
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

Run = Callable[[int], None]
Leaves = dict[str, np.ndarray]


def _maml() -> Method:
    # The noise is known, as nobody else's MAML learns it.
    return methods.maml(GaussianModel(MLP((1, 40, 40, 1)), known=True), inner_learning_rate=0.01)


def _bmaml(particles: int, steps: int = 1, checkpoint: bool = False) -> Method:
    model = GaussianModel(MLP((1, 40, 40, 40, 1)))
    return methods.bmaml(model, particles=particles, inner_learning_rate=1e-3, inner_steps=steps, checkpoint=checkpoint)


def _plan(tasks: int) -> Plan:
    return Plan(batch=tasks, outer=Adam(1e-3, decay="none"), skip_limit=10**9)


def _build(method: Method, family: Sinusoids, tasks: int) -> Run:
    loop = Loop(method, family, _plan(tasks))
    loop.compile()
    return lambda count: (loop.advance(count), None)[1]


def build_maml(tasks: int = 10) -> Run:
    """Return a function that runs that many MAML meta-steps in one program, the state donated."""
    return _build(_maml(), Sinusoids(shots=10, queries=10), tasks)


def build_bmaml(particles: int = 10, tasks: int = 10) -> Run:
    """Return a function that runs that many BMAML meta-steps in one program, the state donated."""
    return _build(_bmaml(particles), Sinusoids(shots=5, queries=5), tasks)


def temporary_bytes(steps: int, checkpoint: bool) -> int:
    """Return the compiled temporary memory of BMAML's training program with that many inner steps."""
    method, plan = _bmaml(10, steps, checkpoint), _plan(10)
    family = Sinusoids(shots=5, queries=5)
    arguments = init_state(method, plan), family, jnp.uint32(0), jnp.int32(1)
    analysis = build_chunk(method, plan).lower(*arguments).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def _precisions(particles: Particle) -> tuple[jax.Array, jax.Array]:
    return particles.params["log_precision"], particles.hyper["log_weight_precision"]


def _meta(method: Method, leaves: Leaves):
    """The learner's meta-parameters with the given values (leading axis of a leaf: particles)."""
    meta = method.learner.init(jax.random.key(0))
    layers = range(len(meta.particles.params["weights"]))
    weights = [{"weight": jnp.asarray(leaves[f"weight{i}"]), "bias": jnp.asarray(leaves[f"bias{i}"])} for i in layers]
    meta = eqx.tree_at(lambda m: m.particles.params["weights"], meta, weights)
    if "log_gamma" in leaves:
        found = jnp.asarray(leaves["log_gamma"]), jnp.asarray(leaves["log_lambda"])
        meta = eqx.tree_at(lambda m: _precisions(m.particles), meta, found)
    return meta


def _gradient(method: Method, leaves: Leaves, x: np.ndarray, y: np.ndarray, shots: int) -> Leaves:
    def data(x, y) -> Data:
        return Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(x.shape[:2]))

    tasks = Task(data(x[:, :shots], y[:, :shots]), data(x[:, shots:], y[:, shots:]))

    def loss(meta):
        key = jax.random.key(0)
        return jax.vmap(lambda task: method.objective(method.learner, meta, task, key=key)[0])(tasks).mean()

    found = jax.jit(jax.grad(loss))(_meta(method, leaves)).particles
    named = {}
    for i, layer in enumerate(found.params["weights"]):
        named |= {f"weight{i}": np.asarray(layer["weight"]), f"bias{i}": np.asarray(layer["bias"])}
    if "log_gamma" in leaves:
        noise, weight = _precisions(found)
        named |= {"log_gamma": np.asarray(noise), "log_lambda": np.asarray(weight)}
    return named


def maml_gradient(leaves: Leaves, x: np.ndarray, y: np.ndarray) -> Leaves:
    """MAML's meta-gradient of the given weights on a batch, x and y both (tasks, 20, 1)."""
    found = _gradient(_maml(), {name: leaf[None] for name, leaf in leaves.items()}, x, y, 10)
    return {name: leaf[0] for name, leaf in found.items()}


def bmaml_gradient(leaves: Leaves, x: np.ndarray, y: np.ndarray) -> Leaves:
    """BMAML's meta-gradient of the given particles on a batch, x and y both (tasks, 10, 1)."""
    return _gradient(_bmaml(len(leaves["log_gamma"])), leaves, x, y, 5)
