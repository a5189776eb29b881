"""Scores against closed forms and hand-made cases."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from bmaml.data import Data, pad
from bmaml.distributions import Categorical, Mixture, Normal, StudentT
from bmaml.evaluation.metrics import (
    LEVELS,
    accuracy_under_rejection,
    bootstrap_calibration,
    calibration_error,
    classification_scores,
    crps,
    masked_mean,
    regression_scores,
    reliability,
)

KEY = jax.random.key(0)
scored = jax.jit(regression_scores)


def normal_crps(loc, scale, y):
    """The closed form of Gneiting and Raftery (2007), equation 21."""
    z = (y - loc) / scale
    return scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


def query(rows=6, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, rows, 1)).astype(np.float32)
    return Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(rows))


def predictive(x):
    """Two normals at each point, unequal."""
    return Mixture(jnp.array([0.0, 1.0]), Normal(jnp.stack([x, -x]), jnp.stack([0.5 + 0 * x, 1 + 0 * x])))


def integrated_crps(cdf, y):
    """The integral of (F(x) - [x >= y])^2, by the midpoint rule; the jump lies between two midpoints."""
    step = 4e-3
    x = (np.arange(-40, 40, step) + step / 2)[:, None, None]
    return step * ((cdf(x) - (x >= y)) ** 2).sum(0).mean(-1)


def test_crps_is_the_integral_it_stands_for(x64):
    """In closed form for a normal and a mixture of normals, whatever the key; without bias from draws for others."""
    y = np.array([[-2.0], [0.3], [4.0]])

    @jax.jit
    def said(y, keys):
        one = Normal(jnp.full((3, 1), 0.4), jnp.full((3, 1), 1.3))
        heavy = StudentT(jnp.full((3, 1), 5.0), one.loc, one.scale)
        return crps(one, y, KEY), crps(predictive(y), y, KEY), jax.vmap(lambda key: crps(heavy, y, key, 16))(keys)

    one, mixed, each = (np.asarray(part) for part in said(y, jax.random.split(KEY, 4000)))
    np.testing.assert_allclose(one, normal_crps(0.4, 1.3, y[:, 0]), rtol=1e-9)
    weights = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
    wanted = integrated_crps(lambda x: weights[0] * stats.norm.cdf(x, y, 0.5) + weights[1] * stats.norm.cdf(x, -y, 1.0), y)
    np.testing.assert_allclose(mixed, wanted, rtol=1e-5)
    error = each.std(0) / 4000**0.5
    np.testing.assert_array_less(abs(each.mean(0) - integrated_crps(lambda x: stats.t.cdf(x, 5, 0.4, 1.3), y)), 4.5 * error)


def test_crps_of_near_certainty_is_the_absolute_error():
    y = jnp.array([[1.0], [-2.0]])
    np.testing.assert_allclose(crps(Normal(jnp.zeros((2, 1)), jnp.full((2, 1), 1e-6)), y, KEY), [1.0, 2.0], rtol=1e-5)


def test_regression_scores_are_what_they_say():
    data, truth = query(), jnp.zeros((6, 1))
    one = Normal(data.y + 0.5, jnp.full((6, 1), 2.0))
    scores = scored(one, data, truth, key=KEY)
    np.testing.assert_allclose(scores["mse_noisy"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(scores["mse"], ((data.y + 0.5) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["nll"], -stats.norm.logpdf(0.5, 0, 2), rtol=1e-5)
    np.testing.assert_allclose(scores["std"], 2.0, rtol=1e-6)
    # The target is at the level |2 Phi(-0.25) - 1| = 0.197 of the central intervals.
    covered = [float(scores[f"coverage@{level}"]) for level in LEVELS]
    assert covered == [float(level > 0.1975) for level in LEVELS]
    assert scores["coverage"] == 1.0


def test_padding_changes_no_score():
    data = query()
    padded = pad(data, 9)
    whole = scored(predictive(data.x), data, data.y, key=KEY)
    wider = scored(predictive(padded.x), padded, padded.y, key=KEY)
    for name in whole:
        np.testing.assert_allclose(wider[name], whole[name], rtol=2e-6, err_msg=name)


def test_multiple_outputs_add_in_nll_and_average_elsewhere():
    data = query()
    twice = Data(data.x, jnp.concatenate([data.y, data.y], -1), data.mask)
    one = scored(Normal(0 * data.y, jnp.ones((6, 1))), data, data.y, key=KEY)
    two = scored(Normal(0 * twice.y, jnp.ones((6, 2))), twice, twice.y, key=KEY)
    np.testing.assert_allclose(two["nll"], 2 * one["nll"], rtol=1e-5)
    for name in ("mse", "std", "coverage", "coverage@0.5"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=name)


def test_classification_scores_are_what_they_say():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]])
    data = Data(jnp.zeros((4, 1)), jnp.array([0, 2, 2, 1]), jnp.array([1.0, 1.0, 1.0, 0.0]))
    scores = jax.jit(classification_scores)(Categorical(jnp.log(jnp.asarray(p))), data, data.y, key=KEY)
    np.testing.assert_allclose(scores["accuracy"], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(scores["nll"], -np.log([0.7, 0.1, 0.6]).mean(), rtol=1e-5)
    brier = [0.09 + 0.04 + 0.01, 0.01 + 0.64 + 0.81, 0.04 + 0.04 + 0.16]
    np.testing.assert_allclose(scores["brier"], np.mean(brier), rtol=1e-5)
    # Confidences 0.7, 0.8, 0.6 fall in bins of their own: gaps 0.3, 0.8 and 0.4 of one point in three each.
    ece = calibration_error({name: np.asarray(v)[None] for name, v in scores.items()})
    assert ece is not None
    np.testing.assert_allclose(ece, (0.3 + 0.8 + 0.4) / 3, rtol=1e-5)


def test_accuracy_under_rejection_is_that_of_the_surest():
    """Ten points, the two wrong ones the least and the second most sure; padded; with doubts that 1 - p cannot tell apart."""
    doubt = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.6], "f")
    right = np.array([1, 0, 1, 1, 1, 1, 1, 1, 1, 0], "f")
    wanted = [8 / 10, 8 / 9, 7 / 8, 6 / 7, 5 / 6, 4 / 5]
    rejecting = jax.jit(accuracy_under_rejection)
    np.testing.assert_allclose(rejecting(doubt, right, jnp.ones(10)), wanted, rtol=1e-6)
    padded = [np.concatenate([part, np.zeros(4, "f")]) for part in (doubt, right, np.ones(10, "f"))]
    np.testing.assert_allclose(rejecting(*padded), wanted, rtol=1e-6)
    logits = jnp.array([[20.0, 0.0, 0.0], [22.0, 0.0, 0.0], [24.0, 0.0, 0.0], [0.0, 26.0, 0.0]])
    data = Data(jnp.zeros((4, 1)), jnp.array([1, 0, 0, 1]), jnp.ones(4))
    scores = jax.jit(classification_scores)(Categorical(logits), data, data.y, key=KEY)
    assert float(scores["accuracy"]) == 0.75
    assert float(scores["accuracy_at_70"]) == 1.0
    np.testing.assert_allclose(scores["accuracy_rejecting"], (0.75 + 0.75 + 0.75 + 1 + 1 + 1) / 6, rtol=1e-6)


def test_a_reliability_diagram_finds_what_was_put_in():
    """Points right as often as they say, and points right less often: the first lie on the diagonal, the others below it."""
    rng = np.random.default_rng(0)
    sure = rng.choice([0.55, 0.75, 0.95], (300, 20))
    for honest in (True, False):
        right = rng.uniform(size=sure.shape) < (sure if honest else sure - 0.2)
        logits = jnp.asarray(np.log(np.stack([sure, 1 - sure], -1)))
        y = jnp.asarray(np.where(right, 0, 1))

        def one(logits, y):
            return classification_scores(Categorical(logits), Data(logits, y, jnp.ones(20)), y, key=KEY)

        rows = jax.jit(jax.vmap(one))(logits, y)
        bins = reliability({name: np.asarray(v, np.float64) for name, v in rows.items()})
        assert len(bins) == 3
        np.testing.assert_allclose([b[4] for b in bins], 1 / 3, atol=0.03)
        for confidence, accuracy, low, high, _ in bins:
            truth = confidence if honest else confidence - 0.2
            assert low < accuracy < high
            assert abs(accuracy - truth) < 0.05


def _tasks(scale, tasks=400, rows=20):
    """Scores of tasks whose targets are standard normal, predicted as normal of a scale."""
    y = jax.random.normal(jax.random.key(5), (tasks, rows, 1))

    def one(y):
        data = Data(y, y, jnp.ones(rows))
        return regression_scores(Normal(jnp.zeros_like(y), jnp.full_like(y, scale)), data, y, key=KEY)

    return {name: np.asarray(v, np.float64) for name, v in jax.jit(jax.vmap(one))(y).items()}


def test_the_truth_is_calibrated_and_a_wrong_scale_is_not():
    assert calibration_error(_tasks(1.0)) < 0.01
    wide = np.mean([abs(2 * stats.norm.cdf(2 * stats.norm.ppf(0.5 + level / 2)) - 1 - level) for level in LEVELS])
    wrong = calibration_error(_tasks(2.0))
    assert wrong is not None
    np.testing.assert_allclose(wrong, wide, atol=0.01)
    assert calibration_error({"nll": np.zeros(3)}) is None


def test_bootstrap_holds_the_calibration_error():
    found = bootstrap_calibration(_tasks(2.0))
    assert found is not None
    whole, low, high = found
    assert low <= whole <= high
    assert 0 < high - low < 0.03
    assert bootstrap_calibration({"nll": np.zeros(3)}) is None


def test_masked_mean_counts_real_rows_alone():
    assert masked_mean(jnp.array([1.0, 3.0, 99.0]), jnp.array([1.0, 1.0, 0.0])) == 2.0
    assert masked_mean(jnp.ones(2), jnp.zeros(2)) == 0.0
