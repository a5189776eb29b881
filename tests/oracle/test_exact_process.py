"""Gaussian processes as tasks, and their exact predictor, against Gaussians written out in double precision."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from bmaml.data import Data, pad
from bmaml.errors import InputError
from bmaml.learners import ConjugateLearner
from bmaml.learners.exact_process import ExactProcess
from bmaml.learners.optimal import optimal_learner
from bmaml.models import WaveFeatures
from bmaml.recipes.families import build_tasks
from bmaml.tasks import GaussianProcesses

X = np.linspace(-1.8, 1.8, 7)
ALL = GaussianProcesses(5, 4, ("rbf", "matern", "periodic"))


def correlation(name, gap, length):
    """The kernels as the papers print them; the period is 1."""
    if name == "rbf":
        return np.exp(-(gap**2) / (2 * length**2))
    if name == "periodic":
        return np.exp(-2 * np.sin(np.pi * gap) ** 2 / length**2)
    r = np.sqrt(5) * abs(gap) / length
    return (1 + r + r**2 / 3) * np.exp(-r)


def conditioned(name, length, scale, x, y, noise=0.02):
    """Mean, variance with noise at X, and log evidence, of one Gaussian process."""
    cov = lambda a, b: scale**2 * correlation(name, a[:, None] - b[None], length)  # noqa: E731
    own = cov(x, x) + noise**2 * np.eye(len(x))
    pull = np.linalg.solve(own, cov(x, X))
    variance = scale**2 + noise**2 - (cov(x, X) * pull).sum(0)
    log_evidence = -0.5 * (y @ np.linalg.solve(own, y) + np.linalg.slogdet(2 * np.pi * own)[1])
    return pull.T @ y, variance, log_evidence


def points(family, count, seed):
    """One task's points, in both precisions."""
    key = jax.random.key(seed)
    given = jax.jit(lambda key: family.points(family.process(key), jax.random.fold_in(key, 1), count))(key)
    return given, np.asarray(given.x[:, 0], float), np.asarray(given.y[:, 0], float)


def predicted(learner, given, x=X):
    def answer(given):
        posterior, evidence = learner.weigh(None, given)
        return posterior.predict(jnp.asarray(x, jnp.float32)[:, None]), evidence

    return jax.jit(answer)(given)


@pytest.mark.parametrize("name", ALL.kernels)
def test_equals_the_gaussian_written_out_where_length_and_size_are_known(name):
    family = GaussianProcesses(5, 4, (name,), length=(0.4, 0.4), scale=(0.7, 0.7))
    given, x, y = points(family, 12, seed=2)
    mean, variance, log_evidence = conditioned(name, 0.4, 0.7, x, y)
    ours, evidence = predicted(ExactProcess(family), pad(given, 15))
    np.testing.assert_allclose(ours.mean[:, 0], mean, atol=2e-3)
    np.testing.assert_allclose(ours.std[:, 0], np.sqrt(variance), rtol=5e-3)
    np.testing.assert_allclose(evidence, log_evidence, atol=0.02)


def test_equals_a_dense_grid_over_kernels_lengths_and_sizes():
    given, x, y = points(ALL, 6, seed=5)
    middle = lambda low, high, count: low + (high - low) * (np.arange(count) + 0.5) / count  # noqa: E731
    each = [
        conditioned(name, length, scale, x, y)
        for name in ALL.kernels
        for length in middle(0.1, 0.6, 40)
        for scale in middle(0.1, 1.0, 40)
    ]
    means, variances, evidences = (np.array(part) for part in zip(*each, strict=True))
    weights = np.exp(evidences - logsumexp(evidences))
    mean = weights @ means
    ours, evidence = predicted(ExactProcess(ALL), given)
    np.testing.assert_allclose(ours.mean[:, 0], mean, atol=2e-3)
    np.testing.assert_allclose(ours.variance[:, 0], weights @ (variances + means**2) - mean**2, rtol=0.02, atol=1e-5)
    np.testing.assert_allclose(evidence, logsumexp(evidences) - np.log(len(each)), atol=0.02)
    asked = mean + 0.3
    log_weights = evidences - logsumexp(evidences)
    density = np.asarray(logsumexp(norm.logpdf(asked[None], means, np.sqrt(variances)) + log_weights[:, None], axis=0))
    np.testing.assert_allclose(ours.log_prob(jnp.asarray(asked, jnp.float32)[:, None]), density, atol=0.02)


def test_points_have_the_covariance_of_their_process():
    """Whitened by the kernel written out, the points of many tasks are independent standard normals."""
    keys = jax.random.split(jax.random.key(0), 400)
    draws = jax.jit(jax.vmap(lambda key: (process := ALL.process(key), ALL.points(process, jax.random.fold_in(key, 1), 8))))
    process, rows = jax.tree.map(lambda leaf: np.asarray(leaf, float), draws(keys))
    white = []
    for kernel, length, scale, x, y in zip(*process.__dict__.values(), rows.x[..., 0], rows.y[..., 0], strict=True):
        gap = x[:, None] - x[None]
        own = scale**2 * correlation(ALL.kernels[int(kernel)], gap, length) + 0.02**2 * np.eye(8)
        white.append(np.linalg.solve(np.linalg.cholesky(own), y))
    np.testing.assert_allclose(np.cov(np.array(white).T), np.eye(8), atol=0.2)
    assert abs(np.square(white).mean() - 1) < 0.05


def test_twice_the_nodes_change_nothing():
    """The quadrature's own error at the papers' largest numbers of points."""
    family = GaussianProcesses(40, 10)
    task = jax.jit(family.sample)(jax.random.key(0))

    def nll(learner):
        return jax.jit(lambda task: learner.adapt(None, task.support).predict(task.query.x).log_prob(task.query.y))(task)

    np.testing.assert_allclose(nll(ExactProcess(family)), nll(ExactProcess(family, 96, 48)), atol=5e-3)


def test_functions_are_drawn_from_the_posterior():
    given, _, _ = points(ALL, 6, seed=5)
    learner, x, count = ExactProcess(ALL, 12, 8), jnp.asarray(X, jnp.float32)[:, None], 4000

    @jax.jit
    def both(given):
        posterior = learner.adapt(None, given)
        return posterior.sample_functions(x, key=jax.random.key(0), count=count)[..., 0], posterior.predict(x)

    drawn, ours = both(given)
    std = np.asarray(ours.std[:, 0])
    np.testing.assert_allclose(drawn.mean(0), ours.mean[:, 0], atol=float(4 * std.max() / count**0.5))
    np.testing.assert_allclose(drawn.var(0) + ALL.noise**2, std**2, rtol=0.3)


def test_the_exact_predictor_of_a_family_is_known_by_its_name():
    learner = optimal_learner(build_tasks("gp-mixture", shots=(5,), queries=3))
    assert learner == ExactProcess(GaussianProcesses(5, 3, ALL.kernels))


def test_without_points_the_prediction_is_the_prior():
    empty = Data(jnp.zeros((3, 1)), jnp.zeros((3, 1)), jnp.zeros(3))
    ours, evidence = predicted(ExactProcess(ALL), empty)
    assert abs(float(evidence)) < 1e-5
    np.testing.assert_allclose(ours.mean, 0.0, atol=1e-6)
    # E[s^2] of a uniform s on (0.1, 1).
    np.testing.assert_allclose(ours.variance, (1 - 0.1**3) / (3 * 0.9) + 0.02**2, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"length": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"kernels": ()}, {"domain": (1.0, 1.0)}, {"noise": 0.0}]
)
def test_impossible_processes_are_refused(wrong):
    with pytest.raises(InputError):
        GaussianProcesses(**wrong)


def test_waves_below_exact_heads_are_a_stationary_process():
    """Their inner products depend on the distance of two inputs alone, and the spectrum and the noise on the code."""
    features = WaveFeatures(waves=8)
    params = jax.jit(features.init)(jax.random.key(0))

    @jax.jit
    def gram(shift, code):
        found, log_noise = features.apply(params, jnp.asarray(X, jnp.float32)[:, None] + shift, jnp.asarray(code))
        return found @ found.T, log_noise

    here, there, other = gram(0.0, [0.0, 1.0, 0.5]), gram(0.7, [0.0, 1.0, 0.5]), gram(0.0, [1.0, 1.0, 0.5])
    np.testing.assert_allclose(here[0], there[0], atol=1e-4)
    assert float(abs(here[0] - other[0]).max()) > 1e-2
    assert float(here[1][0]) != float(other[1][0])


def test_waves_whose_network_has_grown_still_have_a_finite_evidence():
    """Training meets such codes, where no task needs them, and sizes that overflow would end it."""
    learner = ConjugateLearner(WaveFeatures(waves=8), 1, particles=2, codes="drawn")
    task, meta = jax.jit(GaussianProcesses(shots=5).sample)(jax.random.key(0)), jax.jit(learner.init)(jax.random.key(1))
    grown = dataclasses.replace(meta, network=jax.tree.map(lambda leaf: np.float32(1e3) * np.asarray(leaf), meta.network))
    answer = jax.jit(lambda meta, key: learner.adapt(meta, task.support, key=key).predict(task.query.x).log_prob(task.query.y))
    assert np.isfinite(answer(grown, jax.random.key(2))).all()
