"""Stein's direction: one particle, the kernel's true gradient, pytrees, and BMAML's parts with one particle."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit, task
from jax.flatten_util import ravel_pytree

from bmaml import methods
from bmaml.inference.directions import RBF, Independent, Stein
from bmaml.inference.directions.stein import square_distances
from bmaml.inference.priors import GammaPrior
from bmaml.learners import GradientLearner, Sgd
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel
from bmaml.objectives import QueryLoss

MODEL = GaussianModel(MLP((1, 4, 1), "tanh"), precision=4.0)
KEY = jax.random.key(7)
pytestmark = pytest.mark.usefixtures("x64")


def particles(count=5, size=3, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(count, size))), jnp.asarray(rng.normal(size=(count, size)))


def by_definition(kernel, points, scores, repulsion):
    """Equation 8 of Liu and Wang (2016), pair by pair, with the kernel's gradient from `jax.grad`."""
    h = kernel.width(square_distances(points))

    def k(a, b):
        return jnp.exp(-jnp.sum((a - b) ** 2) / h)

    def one(a):
        terms = jax.vmap(lambda b, s: k(a, b) * s + repulsion * jax.grad(k, 1)(a, b))(points, scores)
        return terms.mean(0)

    return jax.vmap(one)(points)


@pytest.mark.parametrize("repulsion", [1.0, 0.5])
@pytest.mark.parametrize("kernel", [RBF(), RBF(median="distance"), RBF(0.7)], ids=["squared", "distance", "fixed"])
def test_direction_is_the_definition_with_the_kernels_own_gradient(kernel, repulsion):
    points, scores = particles()
    found = jit(Stein(kernel, repulsion))(points, scores)
    np.testing.assert_allclose(found, jit(lambda p, s: by_definition(kernel, p, s, repulsion))(points, scores), rtol=1e-10)


def test_half_the_repulsion_is_what_the_authors_code_adds():
    """Kim et al.'s code adds sum over b of k (a - b) / h, where the kernel's gradient has 2 / h."""
    points, scores = particles()
    no_scores = jnp.zeros_like(scores)
    squares = np.sum((np.asarray(points)[:, None] - np.asarray(points)[None]) ** 2, -1)
    h = np.median(squares) / math.log(len(points) + 1)
    gap = np.asarray(points)[:, None] - np.asarray(points)[None]
    authors = np.einsum("ab,abd->ad", np.exp(-squares / h), gap) / h / len(points)
    np.testing.assert_allclose(Stein(repulsion=0.5)(points, no_scores), authors, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(Stein()(points, no_scores), 2 * authors, rtol=1e-10, atol=1e-14)


def test_median_heuristic_counts_the_diagonal_and_lets_no_gradient_through():
    """Two particles at distance d: the median of (0, 0, d^2, d^2) is d^2 / 2."""
    squares = jnp.asarray([[0.0, 9.0], [9.0, 0.0]])
    np.testing.assert_allclose(RBF().width(squares), 4.5 / math.log(3))
    np.testing.assert_allclose(RBF(median="distance").width(squares), 1.5**2 / math.log(3))
    assert not jax.grad(lambda s: RBF().width(s))(squares).any()
    np.testing.assert_allclose(RBF().width(jnp.zeros((1, 1))), 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [31, 32, 33, 80])
def test_the_median_is_numpys_however_many_particles_there_are(count, dtype):
    """Odd and even, sorted or found bit by bit, and beyond half of the particles in one place."""
    for size, apart in ((1.0, count), (1e-12, count), (1e12, count // 4)):
        squares = size * np.random.default_rng(count).exponential(size=(count, count)).astype(dtype)
        squares = np.where(np.arange(count) < apart, squares + squares.T, 0) * (1 - np.eye(count, dtype=dtype))
        middle = np.median(squares)
        wanted = middle / math.log(count + 1) if middle > 0 else 1.0
        np.testing.assert_allclose(jit(RBF().width)(jnp.asarray(squares, dtype)), wanted, rtol=1e-6)


def test_particles_far_from_the_origin_push_apart_as_those_near_it():
    with jax.enable_x64(False):
        points = jnp.asarray(particles()[0], "float32")
        near, far = (Stein()(points + shift, jnp.zeros_like(points)) for shift in (0.0, 1024.0))
    np.testing.assert_allclose(far, near, atol=1e-4 * np.abs(near).max())


def test_stein_on_a_pytree_is_stein_on_the_flat_vector():
    points, scores = particles(size=7)
    like = {"a": jnp.zeros((5, 2, 2)), "b": [jnp.zeros(5), jnp.zeros((5, 2))]}
    unravel = jax.vmap(ravel_pytree(jax.tree.map(lambda leaf: leaf[0], like))[1])
    found = Stein()(unravel(points), unravel(scores))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, like)
    np.testing.assert_allclose(
        jax.vmap(lambda one: ravel_pytree(one)[0])(found), Stein()(points, scores), rtol=1e-12, atol=1e-14
    )


def test_one_particle_climbs_its_log_posterior():
    """SVGD with one particle is gradient ascent: the adapted parameters are those of plain steps, Gamma priors included."""
    start, rate, steps = jit(GradientLearner(MODEL, GammaPrior()).init)(KEY), 0.01, 2
    learner = GradientLearner(MODEL, GammaPrior(), Sgd(rate), steps, direction=Stein())
    one, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], start.particles))
    climb = jit(jax.grad(lambda v: learner.log_posterior(unravel(v), unravel(v), task().support)))
    for _ in range(steps):
        one = one + rate * climb(one)
    end = jit(lambda m: learner.advance(m, learner.start(m, task().support), task().support, steps, key=KEY))(start)
    np.testing.assert_allclose(ravel_pytree(end.particles)[0], one, rtol=1e-11)


def test_bayesian_fast_adaptation_with_one_particle_is_ml_point():
    """One Stein particle scored by its mixture = MAP adaptation in nats scored by the query's own likelihood."""
    bfa = methods.bfa(MODEL, particles=1, inner_learning_rate=0.01)
    point = Method(GradientLearner(MODEL, GammaPrior(), Sgd(0.01), direction=Independent()), QueryLoss("each"))
    meta = jit(bfa.learner.init)(KEY)

    def value_and_grad(method):
        return jit(jax.value_and_grad(lambda m: method.objective(method.learner, m, task(), key=KEY)[0]))(meta)

    (loss, gradient), (wanted_loss, wanted) = value_and_grad(bfa), value_and_grad(point)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-12)
    np.testing.assert_allclose(ravel_pytree(gradient)[0], ravel_pytree(wanted)[0], rtol=1e-10, atol=1e-12)


def test_the_mixture_of_joint_densities_weighs_particles_by_the_whole_query():
    """`joint` is -log mean_m exp(sum_i log p_m(y_i)) / n and `points` -mean_i log mean_m p_m(y_i), by hand."""
    learner = GradientLearner(MODEL, particles=3, steps=0)
    meta, query = jit(learner.init)(KEY), task().query
    posterior = learner.adapt(meta, task().support, key=KEY)
    density = np.exp(jax.vmap(lambda p: MODEL.predictive(p, query.x).log_prob(query.y))(posterior.params))
    joint = -np.log(np.prod(density, 1).mean()) / density.shape[1]
    np.testing.assert_allclose(QueryLoss("joint").of_posterior(posterior, query), joint, rtol=1e-10)
    np.testing.assert_allclose(QueryLoss("points").of_posterior(posterior, query), -np.log(density.mean(0)).mean(), rtol=1e-10)
    np.testing.assert_allclose(QueryLoss("each").of_posterior(posterior, query), -np.log(density).mean(), rtol=1e-10)
