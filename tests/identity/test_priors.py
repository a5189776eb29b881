"""Priors against scipy's densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from jax.flatten_util import ravel_pytree
from scipy import stats

from bmaml.inference.priors import AroundInit, FlatPrior, GammaPrior, GaussianPrior, Particle
from bmaml.models import MLP, CategoricalModel, GaussianModel

pytestmark = pytest.mark.usefixtures("x64")
MODEL = GaussianModel(MLP((1, 3, 1)))


def random_particles(prior, model=MODEL, count=6):
    """Particles of random parameters, one after another along the leading axis."""
    like = Particle(jit(model.init)(jax.random.key(0)), prior.init())
    vector, unravel = ravel_pytree(like)
    rng = np.random.default_rng(0)
    return jax.vmap(unravel)(jnp.asarray(0.7 * rng.normal(size=(count, len(vector)))))


def densities(prior, particles, model=MODEL):
    anchor = jax.tree.map(lambda leaf: leaf[0], particles)
    return np.asarray(jit(jax.vmap(lambda p: prior.log_density(model, p, anchor)))(particles))


def weights(particles):
    """The network's weights of each particle, as rows."""
    return np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(particles.params["weights"]))


def same_up_to_a_constant(found, wanted):
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], rtol=1e-10, atol=1e-10)
    assert np.ptp(wanted) > 0.1


def test_gamma_prior_is_normal_given_gamma_with_both_jacobians():
    prior = GammaPrior(a_noise=2.5, b_noise=0.3, a_weight=1.5, b_weight=0.8)
    particles = random_particles(prior)
    log_lambda = np.asarray(particles.hyper["log_weight_precision"])
    log_gamma = np.asarray(particles.params["log_precision"])
    normal = stats.norm.logpdf(weights(particles), 0, np.exp(-0.5 * log_lambda)[:, None]).sum(1)
    # The density of log v is that of v times v.
    weight_precision = stats.gamma.logpdf(np.exp(log_lambda), 1.5, scale=1 / 0.8) + log_lambda
    noise_precision = stats.gamma.logpdf(np.exp(log_gamma), 2.5, scale=1 / 0.3) + log_gamma
    same_up_to_a_constant(densities(prior, particles), normal + weight_precision + noise_precision)


def test_gamma_prior_on_classes_has_no_noise_term():
    prior, model = GammaPrior(a_weight=1.5, b_weight=0.8), CategoricalModel(MLP((1, 3, 2)))
    particles = random_particles(prior, model)
    log_lambda = np.asarray(particles.hyper["log_weight_precision"])
    normal = stats.norm.logpdf(weights(particles), 0, np.exp(-0.5 * log_lambda)[:, None]).sum(1)
    wanted = normal + stats.gamma.logpdf(np.exp(log_lambda), 1.5, scale=1 / 0.8) + log_lambda
    same_up_to_a_constant(densities(prior, particles, model), wanted)


def test_gamma_priors_defaults_are_those_of_the_authors_code():
    prior = GammaPrior()
    assert (prior.a_noise, prior.b_noise, prior.a_weight, prior.b_weight) == (2.0, 0.2, 2.0, 2.0)
    assert float(prior.init()["log_weight_precision"]) == 0.0
    assert GaussianModel(MLP((1, 1))).precision == 100.0


def test_gaussian_priors_are_normals_around_zero_and_around_the_start():
    prior = GaussianPrior(3.0)
    particles = random_particles(prior)
    w = weights(particles)
    same_up_to_a_constant(densities(prior, particles), stats.norm.logpdf(w, 0, 3**-0.5).sum(1))
    same_up_to_a_constant(densities(AroundInit(3.0), particles), stats.norm.logpdf(w, w[0], 3**-0.5).sum(1))
    assert not densities(FlatPrior(), particles).any()
