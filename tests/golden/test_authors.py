"""Meta-gradients of the BMAML authors' TensorFlow code, as numbers, on ten of its own tasks.

The arrays in `authors/` are what the public code of Kim et al. (2018), https://arxiv.org/abs/1806.03836, computes in single
precision: a batch of tasks, the start of the particles, and the gradient of the mean over tasks of its meta-loss, summed over
particles. The methods with their papers' settings reproduce them without a further argument.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit

from bmaml.data import Data, Task
from bmaml.inference.priors import Particle
from bmaml.learners.gradient import GradientMeta
from bmaml.methods import as_published


def particles_of(arrays, kind):
    """Arrays of the file of one kind (`start` or `gradient`) as particles."""
    weights = [{"weight": arrays[f"{kind}_w{i}"], "bias": arrays[f"{kind}_b{i}"]} for i in range(1, 5)]
    count = len(arrays["start_w1"])
    noise, hyper = (np.ravel(arrays.get(f"{kind}_log_{name}", np.zeros(count, "f"))) for name in ("gamma", "lambda"))
    params = {"weights": weights, "log_precision": noise}
    return jax.tree.map(jnp.asarray, Particle(params, {"log_weight_precision": hyper}))


def rows(arrays, which):
    x = arrays[f"{which}_x"]
    return Data(jnp.asarray(x), jnp.asarray(arrays[f"{which}_y"]), jnp.ones(x.shape[:2]))


@pytest.mark.optimised
@pytest.mark.parametrize("name", ["bmaml", "emaml", "maml"])
def test_meta_gradients_are_those_of_the_authors_code(name):
    arrays = dict(np.load(Path(__file__).parent / "authors" / f"{name}.npz"))
    start, wanted = particles_of(arrays, "start"), particles_of(arrays, "gradient")
    method = as_published(name)[0]
    learner, objective = method.learner, method.objective
    # The authors' loss of an ensemble is a sum over particles.
    scale = len(arrays["start_w1"]) if name == "emaml" else 1
    tasks = Task(rows(arrays, "support"), rows(arrays, "query"))

    def meta_loss(particles):
        meta = GradientMeta(particles, learner.rule.init_meta(particles))
        each = jax.vmap(lambda task: objective.loss(learner, meta, task, key=jax.random.key(0))[0])(tasks)
        return scale * each.mean()

    found = jit(jax.grad(meta_loss))(start)
    pairs = [(found.params["weights"], wanted.params["weights"])]
    if name == "bmaml":
        pairs += [(found.params["log_precision"], wanted.params["log_precision"]), (found.hyper, wanted.hyper)]
    for ours, theirs in zip(*map(jax.tree.leaves, zip(*pairs, strict=True)), strict=True):
        assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs)
