"""The chaser loss against Reptile and against MAML's meta-gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit, task
from jax.flatten_util import ravel_pytree

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.inference.adjoints import FirstOrder
from bmaml.inference.directions import Independent, Stein
from bmaml.inference.priors import AroundInit, GammaPrior
from bmaml.learners import GradientLearner, Sgd
from bmaml.learners.noise import ResidualNoise
from bmaml.methods import bmaml
from bmaml.models import MLP, GaussianModel
from bmaml.objectives import ChaserLoss

MODEL = GaussianModel(MLP((1, 4, 1), "tanh"), precision=4.0)
RATE = 0.02
KEY = jax.random.key(5)
pytestmark = pytest.mark.usefixtures("x64")


def chaser_gradient(learner, meta, **options):
    loss = ChaserLoss(**options)
    return jit(jax.value_and_grad(lambda m: loss(learner, m, task(), key=KEY)[0]))(meta)


def test_without_a_chase_the_gradient_is_reptiles():
    """2 (theta0 - thetaN) for every weight, and the loss their squared distance."""
    learner = GradientLearner(MODEL, rule=Sgd(RATE), steps=3, particles=2, adjoint=FirstOrder())
    meta = jit(learner.init)(KEY)
    loss, gradient = chaser_gradient(learner, meta, steps=0)
    end = jit(lambda m: learner.adapt(m, task().support, key=KEY).params["weights"])(meta)
    gap = jax.tree.map(jnp.subtract, meta.particles.params["weights"], end)
    found = gradient.particles.params["weights"]
    jax.tree.map(lambda g, d: np.testing.assert_allclose(g, 2 * d, rtol=1e-12, atol=1e-14), found, gap)
    np.testing.assert_allclose(loss, np.sum(ravel_pytree(gap)[0] ** 2), rtol=1e-12)
    assert loss > 1e-4


@pytest.mark.parametrize(
    ("prior", "direction"),
    [
        pytest.param(GammaPrior(), Stein(), id="gamma-stein"),
        pytest.param(AroundInit(2.0), Independent(), id="around-init-gradient"),
        pytest.param(GammaPrior(), Independent(), id="gamma-gradient", marks=pytest.mark.costly),
        pytest.param(AroundInit(2.0), Stein(), id="around-init-stein", marks=pytest.mark.costly),
    ],
)
def test_one_particle_and_one_leader_step_are_maml_on_the_log_joint(prior, direction):
    """2 alpha times the meta-gradient of -log p(theta_n, support and query), hyper-parameters in the distance.

    The leader is behind a stop-gradient, so a prior around the initialisation counts it as fixed there (in the inner
    steps it does not).
    """
    learner = GradientLearner(MODEL, prior=prior, rule=Sgd(RATE), steps=2, direction=direction)
    meta = jit(learner.init)(KEY)
    one = task()

    def log_joint(meta):
        state = learner.advance(meta, learner.start(meta, one.support), one.support, learner.steps, key=KEY)
        end, anchor = (jax.tree.map(lambda leaf: leaf[0], p) for p in (state.particles, meta.particles))
        return -learner.log_posterior(end, jax.lax.stop_gradient(anchor), one.support | one.query)

    wanted, _ = ravel_pytree(jit(jax.grad(log_joint))(meta))
    found, _ = ravel_pytree(chaser_gradient(learner, meta, steps=1, hyper=True)[1])
    np.testing.assert_allclose(found, 2 * RATE * wanted, rtol=1e-9, atol=1e-11)


def test_leaving_hyper_parameters_out_of_the_distance_changes_only_it():
    """With the noise precision left out, the loss falls by exactly the precision's own squared gap."""
    learner = GradientLearner(MODEL, prior=GammaPrior(), rule=Sgd(RATE), particles=2, direction=Stein())
    meta, one = jit(learner.init)(KEY), task()

    @jit
    def ends(meta):
        chaser = learner.advance(meta, learner.start(meta, one.support), one.support, 1, key=KEY)
        return chaser.particles, learner.advance(meta, chaser, one.support | one.query, 1, key=KEY).particles

    def squared(tree):
        return np.sum(ravel_pytree(tree)[0] ** 2)

    whole = chaser_gradient(learner, meta, hyper=True)[0]
    weights = chaser_gradient(learner, meta, hyper=False)[0]
    gap = jax.tree.map(jnp.subtract, *ends(meta))
    np.testing.assert_allclose(whole, squared(gap), rtol=1e-10)
    np.testing.assert_allclose(weights, squared(gap.params["weights"]), rtol=1e-10)
    assert whole > weights > 0


def test_a_stated_noise_learns_by_the_query_and_nothing_else_changes():
    """Loss and particles' gradient are those without it; its own gradient is that of the mixture's NLL, by differences."""
    bare = GradientLearner(MODEL, prior=GammaPrior(), rule=Sgd(RATE), particles=2, steps=2, direction=Stein())
    learner = dataclasses.replace(bare, noise=ResidualNoise())
    meta, one = jit(learner.init)(KEY), task()
    loss, gradient = chaser_gradient(learner, meta)
    plain, wanted = chaser_gradient(bare, dataclasses.replace(meta, noise=None))
    np.testing.assert_allclose(loss, plain, rtol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, gradient.particles, wanted.particles)

    @jit
    def nll(noise):
        posterior = learner.adapt(dataclasses.replace(meta, noise=noise), one.support, key=jax.random.split(KEY)[0])
        return -posterior.predict(one.query.x).log_prob(one.query.y).mean()

    flat, back = ravel_pytree(meta.noise)
    ends = [[float(nll(back(flat + sign * step))) for sign in (-1, 1)] for step in 1e-5 * np.eye(len(flat))]
    slopes = np.diff(ends)[:, 0] / 2e-5
    np.testing.assert_allclose(ravel_pytree(gradient.noise)[0], slopes, rtol=1e-6, atol=1e-8)
    assert (abs(slopes) > 1e-4).all()


def test_a_stated_noise_is_read_from_the_residuals_before_and_after_the_steps():
    """By hand, and for a support without a point."""
    learner = GradientLearner(MODEL, rule=Sgd(RATE), particles=2, noise=ResidualNoise(floor=0.3))
    one, meta = task().support, jit(learner.init)(KEY)
    # A tenth of what the formula has.
    noise = dataclasses.replace(meta.noise, level=jnp.asarray(0.02), share=jnp.asarray(0.07), per_point=jnp.asarray(-0.04))
    meta = dataclasses.replace(meta, noise=noise)
    found = jit(lambda data: learner.adapt(meta, data, key=KEY))(one).params

    def log_variance(params):
        means = jax.vmap(lambda p: MODEL.predictive(p, one.x).mean)(params)
        return np.log((0.3 + ((means - one.y[None]) ** 2).sum((1, 2))) / 6)

    logs = 0.7 * log_variance(found["inner"]) + 0.3 * log_variance(meta.particles.params)
    np.testing.assert_allclose(found["log_scale"], 0.5 * (0.2 + logs - 0.4 * np.exp(-1)), rtol=1e-10)
    np.testing.assert_allclose(found["df"], 5.0)
    none = dataclasses.replace(one, mask=jnp.zeros_like(one.mask))
    alone = jit(lambda data: learner.adapt(meta, data, key=KEY))(none).params
    np.testing.assert_allclose(alone["log_scale"], 0.5 * (0.2 + np.log(0.3) - 0.4), rtol=1e-10)


def test_answers_count_more_points_than_training_had_as_so_many():
    """So the support twice over moves the particles as the support once, and training counts every point."""
    method = bmaml(MODEL, particles=2, inner_learning_rate=RATE, inner_steps=3, most_points=len(task().support.y))
    meta, once = jit(method.learner.init)(KEY), task().support
    twice = Data(*(np.concatenate([leaf, leaf]) for leaf in (once.x, once.y, once.mask)))

    def moved(learner):
        """The particles after the support twice over, and after the support once."""
        adapt = jit(lambda given: [learner.adapt(meta, support, key=KEY).params["inner"] for support in given])
        return [ravel_pytree(particles)[0] for particles in adapt((twice, once))]

    (of_many, of_one), (training_of_many, training_of_one) = moved(method.answerer), moved(method.learner)
    np.testing.assert_allclose(of_many, of_one, rtol=1e-12)
    np.testing.assert_allclose(training_of_one, of_one, rtol=1e-12)
    assert not np.allclose(training_of_many, training_of_one, rtol=1e-3)


def test_a_limit_that_counts_nothing_is_refused():
    for wrong in ({"most_points": 0}, {"most_points": 5, "fit": "mean"}):
        with pytest.raises(InputError, match="give at least 1, and fit='sum'"):
            GradientLearner(MODEL, **wrong)
