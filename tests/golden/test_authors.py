"""Meta-gradients of the BMAML authors' TensorFlow code, as numbers, on ten of its own tasks.

The arrays in `authors/` are what the public code of Kim et al. (2018), https://arxiv.org/abs/1806.03836, computes in single
precision: a batch of tasks, the start of the particles, and the gradient of the mean over tasks of its meta-loss, summed over
particles.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit

from bmaml.data import Data, Task
from bmaml.inference.directions import RBF, Stein
from bmaml.inference.priors import GammaPrior, Particle
from bmaml.learners import GradientLearner, Sgd
from bmaml.learners.gradient import GradientMeta
from bmaml.models import MLP, GaussianModel
from bmaml.objectives import ChaserLoss, QueryLoss

MODEL = GaussianModel(MLP((1, 40, 40, 40, 1), "relu"))
STEIN = Stein(RBF(divisor="log(n)"), repulsion=0.5)


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


def learner_and_loss(name, count):
    """The learner and its loss, in the authors' scale: a sum over particles."""
    if name == "bmaml":
        return GradientLearner(MODEL, GammaPrior(), Sgd(1e-3), 1, count, STEIN), ChaserLoss(1), 1
    return GradientLearner(MODEL, rule=Sgd(1e-3), particles=count, fit="squared_error"), QueryLoss("squared_error"), count


@pytest.mark.optimised
@pytest.mark.parametrize("name", ["bmaml", "emaml", "maml"])
def test_meta_gradients_are_those_of_the_authors_code(name):
    arrays = dict(np.load(Path(__file__).parent / "authors" / f"{name}.npz"))
    start, wanted = particles_of(arrays, "start"), particles_of(arrays, "gradient")
    learner, objective, scale = learner_and_loss(name, len(arrays["start_w1"]))
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
