"""Experts that are linear in a known basis are a mixture of Gaussians over its coefficients, conditioned exactly."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_experts import Harmonics, LinearExperts
from scipy.special import logsumexp
from scipy.stats import norm
from tide_mixture import GaussianMixture, fit_mixture, fit_tides, mixture_experts, train_experts
from tide_tasks import TideTasks

from bmaml.data import Data, data
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

pytestmark = pytest.mark.optimised

SPEEDS = (0.5, 0.26, 0.9)
NOISE = 0.2


def gaussians(constant, experts=3):
    rng = np.random.default_rng(0)
    size = 2 * len(SPEEDS) + constant
    roots = rng.normal(size=(experts, size, size)) * np.array([0.3, 1.0, 2.0])[:experts, None, None]
    weights = np.array([0.5, 0.3, 0.2])[:experts]
    return GaussianMixture(weights, rng.normal(size=(experts, size)), roots @ roots.swapaxes(1, 2) + 0.05 * np.eye(size))


def basis(t, constant):
    angle = t[:, None] * np.array(SPEEDS)
    return np.concatenate([np.cos(angle), np.sin(angle), np.ones((len(t), constant))], 1)


def exact(mixture, t, y, at, constant):
    """Log weights (m,), means and deviations (m, q) of noisy readings, in the textbook form."""
    log_weights, means, deviations = [], [], []
    for weight, mean, covariance in zip(*mixture, strict=True):
        design, queries = basis(t, constant), basis(at, constant)
        spread = design @ covariance @ design.T + NOISE**2 * np.eye(len(t))
        residual = y - design @ mean
        log_det = np.linalg.slogdet(2 * np.pi * spread)[1]
        log_weights.append(np.log(weight) - 0.5 * (residual @ np.linalg.solve(spread, residual) + log_det))
        gain = covariance @ design.T @ np.linalg.inv(spread)
        means.append(queries @ (mean + gain @ residual))
        left = covariance - gain @ design @ covariance
        deviations.append(np.sqrt(np.einsum("qi,ij,qj->q", queries, left, queries) + NOISE**2))
    log_weights = np.array(log_weights)
    return log_weights - logsumexp(log_weights), np.array(means), np.array(deviations)


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("rows", [1, 4, 12])
def test_predictive_is_the_exact_conditional_of_the_mixture(constant, rows):
    mixture, rng = gaussians(constant), np.random.default_rng(rows)
    t, at = rng.uniform(0, 50, rows), rng.uniform(0, 50, 7)
    # Readings of the model itself: the far tails of its Student-t, stiff as it is, are not a Gaussian's.
    y = basis(t, constant) @ rng.multivariate_normal(mixture.means[1], mixture.covariances[1])
    y = y + NOISE * rng.normal(size=rows)
    learner, meta = mixture_experts(LinearExperts(Harmonics(SPEEDS, bool(constant))), mixture, NOISE)
    given, asked = data(t, y), jnp.asarray(at, float)[:, None]
    predictive = jax.jit(lambda given, asked: learner.adapt(meta, given).predict(asked))(given, asked)

    log_weights, means, deviations = exact(mixture, t, y, at, constant)
    weights = np.exp(log_weights)
    np.testing.assert_allclose(jax.nn.softmax(predictive.log_weights), weights, atol=5e-3)
    np.testing.assert_allclose(predictive.components.mean[..., 0], means, atol=1e-2)
    np.testing.assert_allclose(predictive.mean[:, 0], weights @ means, atol=1e-2)
    # Student-t with 2000 degrees of freedom, and a jitter of 3e-5 of the prior variance: the rest of the difference.
    spread = np.sqrt(weights @ (deviations**2 + (means - weights @ means) ** 2))
    targets = weights @ means + spread * rng.normal(size=7)
    log_density = np.asarray(logsumexp(log_weights[:, None] + norm.logpdf(targets, means, deviations), axis=0))
    np.testing.assert_allclose(predictive.log_prob(jnp.asarray(targets, float)[:, None]), log_density, atol=2e-2, rtol=1e-2)


def test_padding_changes_nothing():
    rng = np.random.default_rng(1)
    learner, meta = mixture_experts(LinearExperts(Harmonics(SPEEDS, False)), gaussians(0), NOISE)
    t, y, at = rng.uniform(0, 50, 5), rng.normal(size=5), jnp.linspace(0, 9, 4)[:, None]
    short = data(t, y)
    longer = Data(*(jnp.concatenate([leaf, jnp.zeros_like(leaf)]) for leaf in (short.x, short.y, short.mask)))
    one, two = (jax.jit(lambda d: learner.adapt(meta, d).predict(at).mean)(d) for d in (short, longer))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_low_rank_and_shared_scale_are_the_stated_map():
    features = LinearExperts(Harmonics(SPEEDS, True), rank=2)
    assert (features.count, features.code_size) == (2, 14)
    rng = np.random.default_rng(2)
    maps, scale = rng.normal(size=(3, 7, 2)), rng.normal(size=7)
    codes = features.codes(jnp.asarray(scale, float), jnp.asarray(maps, float))
    t = rng.uniform(0, 5, 6)
    found, log_noise = features.apply(jnp.asarray(scale, float), jnp.asarray(t, float)[:, None], codes[1])
    np.testing.assert_allclose(found, basis(t, 1) @ maps[1], atol=1e-4)
    assert not log_noise.any()


@pytest.mark.parametrize("rank", [0, 8])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(ValueError, match="give 1 to 7"):
        LinearExperts(Harmonics(SPEEDS, True), rank)


def test_low_rank_features_cannot_hold_a_covariance():
    with pytest.raises(ValueError, match="use full rank"):
        mixture_experts(LinearExperts(Harmonics(SPEEDS, False), 2), gaussians(0), NOISE)


def test_em_finds_two_separate_clusters_and_their_tails():
    rng = np.random.default_rng(3)
    spread = np.where(rng.random(4000) < 0.2, 3.0, 1.0)[:, None]
    points = rng.normal(size=(4000, 2)) * spread * 0.1 + np.where(rng.random(4000) < 0.25, 5.0, -5.0)[:, None]
    found = fit_mixture(points, 2, (1.0, 9.0), prior_gauges=1.0, iterations=60)
    weights, means = found.weights.reshape(2, 2), found.means[::2]
    order = means[:, 0].argsort()
    np.testing.assert_allclose(means[order], [[-5, -5], [5, 5]], atol=0.05)
    np.testing.assert_allclose(weights.sum(1)[order], [0.75, 0.25], atol=0.03)
    np.testing.assert_allclose(weights.sum(0), [0.8, 0.2], atol=0.06)
    np.testing.assert_allclose(np.diagonal(found.covariances[::2], axis1=1, axis2=2), 0.01, rtol=0.25)


@pytest.mark.slow
@pytest.mark.costly
def test_training_mends_experts_that_are_too_narrow():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(200, 6)) * rng.uniform(0.1, 2.0, (200, 1))
    tasks = TideTasks(jnp.asarray(points, float), jnp.asarray(SPEEDS, float), jnp.zeros(200), (3, 6), 16, 50.0, 0.05)
    learner, meta = fit_tides(tasks, clusters=1, scales=(1.0,), steps=0)
    narrow = eqx.tree_at(lambda m: m.codes, meta, 0.3 * meta.codes)
    trained = train_experts(learner, narrow, tasks, Plan(60, 8, Adam(2e-2)))

    @jax.jit
    def score(meta):
        draws = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(9), 200))
        return jax.vmap(lambda d: learner.adapt(meta, d.support).predict(d.query.x).log_prob(d.query.y))(draws).mean()

    assert score(trained) > score(narrow) + 0.3
