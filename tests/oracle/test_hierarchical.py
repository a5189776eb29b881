"""The hierarchical model against Gaussians written out, and its fit against scales that are known."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy.stats import multivariate_normal, norm

from bmaml.data import Data
from bmaml.estimators.stacking.scale_draws import RIGID, ScaleFit, _Evidence
from bmaml.estimators.stacking.task_noise import LOG_FACTORS, log_noise_factors
from bmaml.learners.hierarchical import HierarchicalLearner, fit_basis
from bmaml.learners.hierarchical import scales as of_scales

KEY = jax.random.key(0)


def told(rng, tasks, rows, slope=0.5, level=0.8, noise=0.2):
    """Lines of tasks around a common line, standardised already."""
    x = rng.normal(size=(tasks, rows, 1))
    own = rng.normal(size=(tasks, 2)) * [level, slope]
    y = 0.3 + 0.5 * x[..., 0] + own[:, :1] + own[:, 1:] * x[..., 0] + noise * rng.normal(size=x.shape[:2])
    return Data(x, y[..., None], np.ones((tasks, rows)))


def numbers(rows):
    return np.repeat(np.arange(len(rows.mask)), rows.mask.shape[1])


@pytest.fixture(scope="module", params=["lines", "smooth"])
def learner(request):
    rows = told(np.random.default_rng(0), 20, 8)
    basis, knots = fit_basis(rows.x.reshape(-1, 1), numbers(rows))
    learner = HierarchicalLearner(basis, deviation=request.param, draws=2)
    meta = jit(learner.init)(KEY)
    moved = jax.tree.map(lambda leaf: leaf + jnp.linspace(0.0, 0.3, 2).reshape(2, *[1] * (leaf.ndim - 1)), meta.scales)
    mean = 0.1 * jax.random.normal(KEY, meta.mean.shape)
    return learner, dataclasses.replace(meta, knots=knots, scales=moved, mean=mean, log_weights=jnp.array([0.0, -1.0]))


def written_out(learner, meta, draw, x):
    """Mean, covariance and noise of one draw at inputs x, from the definition, in double precision."""
    found = parts(learner, meta, draw, x)
    functions, root, covariance, noise, mean = (np.asarray(part, np.float64) for part in found)
    return functions @ mean, covariance + functions @ root @ root.T @ functions.T, noise


@eqx.filter_jit
def weighed(learner, meta, support, x):
    posterior, evidence = learner.weigh(meta, support, key=KEY)
    return posterior, evidence, posterior.predict(x).components


@eqx.filter_jit
def drawn_from(learner, meta, support, x):
    posterior = learner.adapt(meta, support, key=KEY)
    predictive = posterior.predict(x)
    functions = posterior.sample_functions(x, key=KEY, count=4000)[..., 0]
    return functions, predictive.mean, predictive.variance, posterior.noise_entropy(x)


@eqx.filter_jit
def parts(learner, meta, draw, x):
    scales = jax.tree.map(lambda leaf: leaf[draw, 0], meta.scales)
    covariance, noise = of_scales.covariance(learner.basis, scales, x, x), of_scales.noise_variance(learner.basis, scales, x)
    return learner.basis.mean(meta.knots, x), meta.root[draw, 0], covariance, noise, meta.mean[draw, 0]


def test_posterior_and_evidence_are_those_of_the_joint_gaussian(learner):
    learner, meta = learner
    rng = np.random.default_rng(1)
    x, y = jnp.asarray(rng.normal(size=(7, 1)), jnp.float32), rng.normal(size=4)
    # The last two rows of the support are masked and hold anything.
    given = jnp.concatenate([x[:4], jnp.full((2, 1), 1e30)])
    support = Data(given, jnp.asarray([*y, 5.0, 5.0], jnp.float32)[:, None], jnp.array([1.0, 1, 1, 1, 0, 0]))
    posterior, evidence, predictive = weighed(learner, meta, support, x[4:])
    logs = []
    for draw in range(2):
        mean, covariance, noise = written_out(learner, meta, draw, x)
        seen = covariance[:4, :4] + np.diag(noise[:4])
        gain = np.linalg.solve(seen, covariance[:4, 4:]).T
        np.testing.assert_allclose(predictive.loc[draw, :, 0], mean[4:] + gain @ (y - mean[:4]), rtol=2e-3, atol=2e-4)
        left = np.diag(covariance[4:, 4:] - gain @ covariance[:4, 4:]) + noise[4:]
        np.testing.assert_allclose(predictive.scale[draw, :, 0] ** 2, left, rtol=3e-3)
        logs.append(multivariate_normal.logpdf(y, mean[:4], seen))
    prior = np.asarray(jax.nn.log_softmax(meta.log_weights), np.float64)
    np.testing.assert_allclose(float(evidence), np.logaddexp(*(prior + logs)), rtol=1e-3)
    np.testing.assert_allclose(np.diff(posterior.log_weights), np.diff(prior + logs), rtol=1e-2, atol=1e-3)


def test_rows_without_noise_are_conditioned_on_in_single_precision(learner):
    learner, meta = learner
    scales = {**meta.scales, "noise": jnp.full_like(meta.scales["noise"], -8.0), "lines": meta.scales["lines"] + 2.0}
    meta = dataclasses.replace(meta, scales=scales)
    x = jnp.linspace(-2.0, 2.0, 24)[:, None]

    @jit
    def predicted(meta):
        posterior, evidence = learner.weigh(meta, Data(x, 1.0 + 0.5 * x, jnp.ones(24)), key=KEY)
        predictive = posterior.predict(x[:8] + 0.1)
        return evidence, predictive.mean, predictive.std

    evidence, mean, std = predicted(meta)
    assert np.isfinite(evidence)
    np.testing.assert_allclose(mean, 1.0 + 0.5 * (np.asarray(x[:8]) + 0.1), atol=0.01)
    assert float(std.max()) < 0.03


def test_drawn_functions_have_the_moments_of_the_posterior(learner):
    learner, meta = learner
    support = Data(jnp.array([[0.3], [-1.0]]), jnp.array([[0.5], [0.1]]), jnp.ones(2))
    x = jnp.array([[-0.5], [0.9]])
    drawn, mean, variance, entropy = (np.asarray(part) for part in drawn_from(learner, meta, support, x))
    np.testing.assert_allclose(drawn.mean(0), mean[:, 0], atol=0.08)
    noise = np.exp(2 * entropy - 1) / (2 * np.pi)
    np.testing.assert_allclose(drawn.var(0), variance[:, 0] - noise, rtol=0.15)


@pytest.fixture(scope="module")
def fitted():
    """Fits to 3, 12 and 150 of the same tasks, side by side. In a second model every sixth of them is noisy."""
    rows = told(np.random.default_rng(3), 150, 6)
    extra = np.where(np.arange(150)[:, None] % 6 == 0, 1.0, 0.0) * np.random.default_rng(4).normal(size=(150, 6))
    rows = Data(rows.x, np.concatenate([rows.y, rows.y + extra[..., None]], -1), rows.mask)
    basis, knots = fit_basis(rows.x.reshape(-1, 1), numbers(rows))
    seen = np.arange(150)[None] < np.array([[3], [12], [150]])
    fit = ScaleFit(HierarchicalLearner(basis, 2, deviation="smooth", draws=64), knots, rows, seen)
    return HierarchicalLearner(basis, draws=64), *fit.fit([slice(0, 1), slice(1, 2)], RIGID)


def test_many_tasks_tell_the_scales(fitted):
    meta = jax.tree.map(lambda leaf: leaf[2], fitted[1])
    weights = np.asarray(jax.nn.softmax(meta.log_weights))
    level, slope = np.exp(weights @ np.asarray(meta.scales["lines"][:, 0]))
    assert level == pytest.approx(0.8, rel=0.15)
    assert slope == pytest.approx(0.5, rel=0.15)
    assert np.exp(weights @ np.asarray(meta.scales["noise"][:, 0])) == pytest.approx(0.2, rel=0.1)


def test_a_few_noisy_tasks_do_not_make_all_tasks_noisy(fitted):
    # Two of twelve tasks have five times the noise of the others. The noise of all rows together is 0.45.
    meta = jax.tree.map(lambda leaf: leaf[1], fitted[2])
    weights, noise = np.asarray(jax.nn.softmax(meta.log_weights)), np.asarray(meta.scales["noise"][:, 0])
    assert np.exp(weights @ noise) == pytest.approx(0.2 * (26**0.5) ** (2 / 12), rel=0.2)
    assert np.sqrt(weights @ (noise - weights @ noise) ** 2) > 0.4


def test_three_tasks_leave_the_population_and_its_spread_open(fitted):
    learner, metas, _ = fitted
    none = Data(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))
    predict = jit(lambda meta: learner.adapt(meta, none, key=KEY).predict(jnp.zeros((1, 1))))
    few, many = (predict(jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], metas)) for i in (0, 2))
    # The true deviation of a new measurement at 0 is the root of .8^2 + .2^2.
    assert float(many.std[0, 0]) == pytest.approx(0.825, rel=0.1)
    assert float(few.std[0, 0]) > 1.15 * float(many.std[0, 0])
    low, high = few.interval(0.98)
    # Tails are heavier than those of one normal: scales are mixed.
    assert float(high[0, 0] - low[0, 0]) > 2 * 2.326 * 0.95 * float(few.std[0, 0])


def test_the_evidence_of_a_task_is_that_of_a_gaussian_whose_noise_is_multiplied():
    rng = np.random.default_rng(4)
    rows = told(rng, 2, 4)
    basis, knots = fit_basis(rows.x.reshape(-1, 1), numbers(rows))
    learner = HierarchicalLearner(basis)
    with jax.enable_x64(True):
        knots, rows = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (knots, rows))
        evidence = _Evidence(learner, knots, rows)
        mean = jnp.asarray(rng.normal(size=len(basis.groups)))
        density = jit(lambda factor: evidence.task_log_density(evidence.start, mean, factor, rows.y[..., 0]))
        told_of = [density(factor) for factor in jnp.array([0.0, 0.7])]
        scales = evidence.unravel(evidence.start)
        covariance_of = jit(lambda x: of_scales.covariance(basis, scales, x, x))
        noise_of = jit(lambda x, f: of_scales.noise_variance(basis, scales | {"noise": scales["noise"] + f}, x))
        for task in range(2):
            x = rows.x[task]
            covariance = covariance_of(x)
            for factor, found in zip((0.0, 0.7), [one[task] for one in told_of], strict=True):
                noise = noise_of(x, factor)
                whole = np.asarray(covariance) + np.diag(np.asarray(noise))
                known = multivariate_normal.logpdf(rows.y[task, :, 0], basis.mean(knots, x) @ mean, whole)
                assert float(found) - 2 * np.log(2 * np.pi) == pytest.approx(known, abs=1e-4)


def factors_of(deviation, tasks, draws=64):
    """Draws of the log factor of a new task, learned from tasks of ten errors each, whose log factors deviate so much."""
    rng = np.random.default_rng(5)
    own = deviation * rng.normal(size=(tasks, 1))
    errors = np.exp(own) * rng.normal(size=(tasks, 10))
    evidence = np.stack([norm.logpdf(errors, 0, np.exp(factor)).sum(1) for factor in LOG_FACTORS])
    uniform = (np.arange(draws)[:, None] + 0.5) * np.array([[0.618, 0.755]]) % 1
    return log_noise_factors(evidence, np.ones(tasks), uniform)


def test_how_tasks_differ_in_noise_is_learned_and_few_tasks_leave_it_open():
    many = factors_of(0.6, 300)
    assert many.std() == pytest.approx(0.6, rel=0.2)
    assert many.mean() == pytest.approx(0.0, abs=0.15)
    assert factors_of(0.0, 300).std() < 0.13
    assert 0.15 < factors_of(0.0, 2).std() < 0.6
