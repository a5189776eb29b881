"""The Bayes-optimal predictor against brute force, against itself at twice the resolution, and its known scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from bmaml.data import Data, data, pad
from bmaml.evaluation.evaluate import evaluate
from bmaml.learners.bayes_optimal import BayesOptimal
from bmaml.learners.predictor import Predictor
from bmaml.tasks import Sinusoids, ambiguous, maml_sinusoids

pytestmark = pytest.mark.optimised

X = jnp.linspace(-4.5, 4.5, 7)[:, None]
FAMILY = Sinusoids(shots=5, queries=50)


def support(family, shots, seed=0):
    wave_key, point_key = jax.random.split(jax.random.key(seed))
    return family.points(family.wave(wave_key), point_key, shots)


@functools.cache
def program(learner):
    return jax.jit(lambda given, x: learner.adapt(None, given).predict(x))


def predicted(learner, given, x=X):
    return program(learner)(given, x)


def importance(family, given, points, log_density):
    """Mean and deviation of f + noise at X under the posterior, from points (A, w, phi, slope, intercept) of known density."""
    a, w, phi, slope, intercept = (p[:, None] for p in points)
    noise = family.relative_noise * a + family.noise

    def wave(x):
        return a * np.sin(w * x - phi) + slope * x + intercept

    x, y = np.asarray(given.x, float)[:, 0], np.asarray(given.y, float)[:, 0]
    log_weight = (-0.5 * ((y - wave(x)) / noise) ** 2 - np.log(noise)).sum(-1) - log_density
    weight = np.exp(log_weight - logsumexp(log_weight))
    values = wave(np.asarray(X)[:, 0])
    mean = weight @ values
    return mean, np.sqrt(weight @ (values**2 + noise**2) - mean**2), 1 / (weight**2).sum()


def grid(*ranges):
    """All combinations of the midpoints of `(low, high, count)` ranges."""
    axes = [low + (high - low) * (np.arange(count) + 0.5) / count for low, high, count in ranges]
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


@pytest.mark.slow
@pytest.mark.parametrize("shots", [pytest.param(1, marks=pytest.mark.costly), 2, pytest.param(4, marks=pytest.mark.costly)])
def test_equals_a_dense_grid_over_amplitude_frequency_and_phase(shots):
    # A tenth of the amplitude as noise, so that a plain grid can hold the posterior.
    family = Sinusoids(shots, 1, relative_noise=0.1)
    given = support(family, shots, seed=3)
    a, w, phi = grid((0.1, 5.0, 140), (0.5, 2.0, 120), (0.0, 2 * np.pi, 120))
    mean, std, _ = importance(family, given, [a, w, phi, 0 * a, 0 * a], 0.0)
    ours = predicted(BayesOptimal(family), given)
    np.testing.assert_allclose(ours.mean[:, 0], mean, atol=0.02 * std.max())
    np.testing.assert_allclose(ours.std[:, 0], std, rtol=0.03)


def test_equals_a_dense_grid_around_the_truth_at_one_percent_noise():
    wave_key, point_key = jax.random.split(jax.random.key(1))
    wave = FAMILY.wave(wave_key)
    given = FAMILY.points(wave, point_key, 10)
    a, w, phi = (float(v) for v in (wave.amplitude, wave.frequency, wave.phase))
    near = grid((0.96 * a, 1.04 * a, 80), (w - 0.02, w + 0.02, 80), (phi - 0.06, phi + 0.06, 80))
    mean, std, _ = importance(FAMILY, given, [*near, 0 * near[0], 0 * near[0]], 0.0)
    ours = predicted(BayesOptimal(FAMILY), given)
    np.testing.assert_allclose(ours.mean[:, 0], mean, atol=0.02 * std.max())
    np.testing.assert_allclose(ours.std[:, 0], std, rtol=0.02)


def test_equals_importance_sampling_where_the_task_may_be_a_line():
    family = ambiguous()
    given = support(family, 3, seed=4)
    rng, count = np.random.default_rng(0), 1_500_000
    low, high = [0.1, 0.0, -3.0, -3.0], [5.0, np.pi, 3.0, 3.0]
    a, phi, slope, intercept = rng.uniform(low, high, (count, 4)).T
    line = rng.uniform(size=count) < 0.5
    points = [a * ~line, np.ones(count), phi, slope * line, intercept * line]
    mean, std, effective = importance(family, given, points, 0.0)
    assert effective > 1000
    ours = predicted(BayesOptimal(family), given)
    np.testing.assert_allclose(ours.mean[:, 0], mean, atol=5 * std.max() / effective**0.5)
    np.testing.assert_allclose(ours.std[:, 0], std, rtol=0.1)


@pytest.mark.slow
@pytest.mark.costly
def test_converged_under_twice_the_resolution():
    """The scores move by far less than they differ between learners: 0.01 nats, and 2% of the squared error."""
    fine = BayesOptimal(FAMILY, frequencies=4096, phases=48, components=8192)
    both = (evaluate(Predictor(learner), FAMILY, shots=(3, 5), count=24, batch=8) for learner in (BayesOptimal(FAMILY), fine))
    coarse, fine = ({name: np.stack([e.scores[n, None][name] for n in (3, 5)]) for name in ("nll", "mse")} for e in both)
    assert abs(coarse["nll"] - fine["nll"]).max() < 0.1
    assert abs((coarse["nll"] - fine["nll"]).mean(-1)).max() < 0.01
    np.testing.assert_allclose(coarse["mse"].mean(-1), fine["mse"].mean(-1), rtol=0.02)


def test_neither_padding_nor_order_matters():
    given = support(FAMILY, 4, seed=2)
    turned = jax.tree.map(lambda leaf: leaf[::-1], given)
    one, padded, other = (predicted(BayesOptimal(FAMILY), g) for g in (given, pad(given, 9), turned))
    for again in (padded, other):
        # A rounded evidence may move a pick to the next cell: one component of 4,096.
        np.testing.assert_allclose(again.mean, one.mean, atol=2e-3 * one.std.max())
        np.testing.assert_allclose(again.std, one.std, rtol=5e-3)


def test_without_points_it_predicts_the_prior():
    ours = predicted(BayesOptimal(FAMILY), Data(jnp.zeros((2, 1)), jnp.zeros((2, 1)), jnp.zeros(2)))
    square = np.mean(np.linspace(0.1, 5.0, 10_001) ** 2)
    np.testing.assert_allclose(ours.mean, 0.0, atol=0.3)
    np.testing.assert_allclose(ours.std, (square / 2) ** 0.5, rtol=0.1)


def test_points_of_no_such_wave_still_give_numbers():
    ours = predicted(BayesOptimal(FAMILY), data([-1.0, 0.0, 1.0], [40.0, -7.0, 100.0]))
    assert jnp.isfinite(ours.mean).all()
    assert jnp.isfinite(ours.log_prob(jnp.zeros((7, 1)))).all()


def test_functions_are_draws_of_the_predictive():
    learner, given = BayesOptimal(FAMILY), support(FAMILY, 2)

    @jax.jit
    def both(given):
        posterior = learner.adapt(None, given)
        ours = posterior.predict(X)
        return posterior.sample_functions(X, key=jax.random.key(0), count=2000), ours.mean, ours.std

    draws, mean, std = (np.asarray(part) for part in both(given))
    assert draws.shape == (2000, 7, 1)
    np.testing.assert_array_less(abs(draws.mean(0) - mean), 4.5 * std / 2000**0.5)


# What they are made of is held point by point by the grids and the importance sampling above.
@pytest.mark.costly
def test_scores_are_the_known_ones_and_calibrated():
    """Of 4,000 tasks at 5 shots and 2,000 at 10: NLL above that of the noise alone by 0.426 and 0.171 (+-0.011, 0.007)."""
    result = evaluate(Predictor(BayesOptimal(FAMILY)), FAMILY, shots=(5, 10), count=120, batch=10)
    noise = np.log(0.01 * np.linspace(0.1, 5.0, 100_001)).mean() + 0.5 * np.log(2 * np.pi * np.e)
    for shots, nll in ((5, 0.426 + noise), (10, 0.171 + noise)):
        row, covered = result.get("nll", shots), result.get("coverage", shots)
        half = row.high - row.mean
        assert abs(row.mean - nll) < 2 * half
        assert half < 0.2
        assert abs(covered.mean - 0.9) < 2 * (covered.high - covered.mean)
    assert 0.0008 < result.get("mse_noisy", 10).mean < 0.0017
    assert result.get("mse", 10).mean < 0.0007


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (maml_sinusoids(), "needs noise"),
        (Sinusoids(noise=0.1), "either relative or absolute"),
        (Sinusoids(lines=0.5), "either relative or absolute"),
        (Sinusoids(amplitude=(1.0, 1.0)), "ranges with some width"),
        (Sinusoids(amplitude=(0.0, 1.0)), "amplitudes above 0"),
        (Sinusoids(phase=(0.0, 7.0)), "within one turn"),
        (Sinusoids(relative_noise=1e-4), "give `frequencies` of at least"),
        (Sinusoids(relative_noise=0.0, noise=0.01, frequency=(1.0, 1.0)), "give `phases` of at least"),
    ],
)
def test_refuses_what_it_cannot_integrate(family, reason):
    with pytest.raises(ValueError, match=reason):
        BayesOptimal(family)
