"""Intervals hold the truth as often as they say, of few tasks and seeds as of many."""

import numpy as np
import pytest
from scipy import stats

from bmaml.evaluation.intervals import POSITIVE, SHARE, bootstrap, interval, two_way


@pytest.mark.parametrize("tasks", [3, 30])
def test_the_interval_of_few_tasks_covers_the_mean_as_often_as_of_many(tasks):
    draws = np.random.default_rng(1).normal(2.0, 1.0, (4000, tasks))
    held = np.mean([low <= 2.0 <= high for _, low, high in map(interval, draws)])
    assert 0.94 < held < 0.96


def test_an_interval_is_students():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    np.testing.assert_allclose(interval(values), (4.0, *found))


def test_a_mean_lies_where_such_means_lie():
    """One large error of three: by itself the interval would reach below 0."""
    assert interval([0.0, 0.1, 4.0])[1] < 0
    assert interval([0.0, 0.1, 4.0], POSITIVE)[1] == 0
    assert interval([0.9, 1.0, 0.7], SHARE)[2] == 1
    assert two_way([np.array([0.0, 0.1, 4.0]), np.array([0.0, 0.2, 3.0])], within=POSITIVE)[1] == 0


def test_what_has_no_width_to_give_has_none():
    for mean, low, high in (interval([3.0]), two_way([np.array([3.0]), np.array([3.0])])):
        assert mean == 3.0
        assert np.isnan([low, high]).all()
    assert np.isnan(bootstrap(np.ones((2, 1)), lambda sample: sample.mean(-1))[1]).all()
    assert interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_tasks_that_are_all_right_may_be_so_by_chance():
    exact = stats.binomtest(12, 12).proportion_ci(0.95)
    np.testing.assert_allclose(interval(np.ones(12), SHARE), (1.0, exact.low, exact.high))
    np.testing.assert_allclose(interval(np.zeros(12), SHARE), (0.0, 0.0, 1 - exact.low))
    assert interval(np.full(12, 0.5), SHARE) == (0.5, 0.5, 0.5)


def test_three_seeds_that_disagree_have_the_interval_of_three_numbers():
    """Where tasks say all and seeds nothing, and the other way round, the interval is that of the one that says something."""
    rng = np.random.default_rng(0)
    tasks = rng.normal(size=500)
    same = two_way([tasks, tasks, tasks])
    np.testing.assert_allclose(same, interval(tasks), rtol=1e-9)
    seeds = [np.full(500, mean) for mean in (1.0, 2.0, 4.0)]
    np.testing.assert_allclose(two_way(seeds), interval([1.0, 2.0, 4.0]), rtol=1e-9)


def test_the_interval_over_three_seeds_covers_the_truth():
    rng = np.random.default_rng(2)
    held = []
    for _ in range(2000):
        values = rng.normal(0, 0.05, (1, 100)) + rng.normal(0, 1.0, (3, 1)) + rng.normal(0, 0.1, (3, 100))
        _, low, high = two_way(values)
        held.append(low <= 0 <= high)
    assert 0.935 < np.mean(held) < 0.97


def test_the_bootstrap_takes_the_same_tasks_for_all_scores():
    rng = np.random.default_rng(3)
    one = rng.exponential(size=200)
    value, low, high = bootstrap(np.stack([one, one + 1]), lambda sample: sample[1].mean(-1) - sample[0].mean(-1))
    np.testing.assert_allclose([value, low, high], 1.0)
    value, low, high = bootstrap(one, lambda sample: np.sqrt(sample.mean(-1)))
    assert low < value < high
    deviation = one.std() / 200**0.5 / (2 * value)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.15)
