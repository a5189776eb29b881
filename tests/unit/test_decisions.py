"""What rows are chosen for, on draws whose answer is known, and on a fitted model."""

import numpy as np
import pytest
from scipy.stats import norm

from bmaml import FewShotRegressor
from bmaml.errors import InputError
from bmaml.estimators import suggestions
from bmaml.estimators.suggestions import as_limits
from bmaml.inference.decisions import Utilities, choose, utility


def drawn(mean, std, seen=(), count=40_000):
    """Independent draws of normals, and measured rows that are known."""
    pool = np.asarray(mean) + np.asarray(std) * np.random.default_rng(0).normal(size=(count, len(mean)))
    known = np.broadcast_to(np.asarray(seen, float), (count, len(seen)))
    return Utilities(pool, known, np.ones(pool.shape, bool), np.ones(known.shape, bool))


def test_improvement_is_that_of_the_closed_form_and_costs_divide_it():
    mean, std = np.array([0.0, 0.5, 0.9]), np.array([1.0, 0.8, 0.05])
    z = (mean - 1.0) / std
    expected = (mean - 1.0) * norm.cdf(z) + std * norm.pdf(z)
    draws = drawn(mean, std, [1.0])
    above = np.maximum(draws.pool - 1.0, 0).mean(0)
    np.testing.assert_allclose(above, expected, atol=0.01)
    assert choose(draws, 3, "improvement").tolist()[0] == expected.argmax() == 1
    costs = np.array([1.0, 10.0, 1.0])
    assert choose(draws, 1, "improvement", costs).tolist() == [(expected / costs).argmax()] == [0]


def test_the_logarithm_tells_rows_apart_where_nothing_improves():
    draws = drawn([-60.0, -50.0, -55.0], [1.0, 1.0, 1.0], [0.0], count=500)
    assert np.maximum(draws.pool, 0).sum() == 0
    for by in ("log-improvement", "improvement"):
        assert choose(draws, 3, by).tolist() == [1, 2, 0]


def test_rows_that_are_good_for_one_reason_are_not_chosen_together():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 5000))
    pool = np.stack([one, one + 0.01, other - 0.3], 1)
    draws = Utilities(pool, np.zeros((5000, 1)), np.ones(pool.shape, bool), np.ones((5000, 1), bool))
    assert choose(draws, 2, "improvement").tolist() == [1, 2]
    assert choose(draws, 2, "bound").tolist() == [1, 2]


def test_limits_leave_out_rows_that_break_them():
    draws = drawn([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], [0.5])
    allowed = np.broadcast_to([True, True, False], draws.pool.shape)
    for by in ("improvement", "log-improvement", "bound"):
        assert choose(draws._replace(allowed=allowed), 1, by).tolist() == [1]
    # What was measured and breaks a limit is no standard: everything allowed is better than nothing.
    for by in ("improvement", "log-improvement", "bound"):
        with pytest.raises(InputError, match=r"3 rows are asked for, and 2 of the pool .*keep.* the limits"):
            choose(draws._replace(allowed=allowed), 3, by)
    broken = draws._replace(seen=draws.seen + 9, seen_allowed=np.zeros(draws.seen.shape, bool))
    assert choose(broken, 1, "improvement").tolist() == [2]


@pytest.fixture(scope="module")
def task():
    """A line that rises: measured at 1 and 3."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 5, (10, 6, 1))
    y = rng.normal(5, 2, (10, 1, 1)) + rng.normal(1, 0.2, (10, 1, 1)) * x + 0.3 * rng.normal(size=x.shape)
    model = FewShotRegressor("mixed-model", shots=(0, 2)).fit(x.reshape(-1, 1), y.ravel(), groups=np.repeat(np.arange(10), 6))
    return model.adapt([[1.0], [3.0]], [4.0, 6.0])


def test_worse_rows_of_a_large_pool_change_no_choice(task, monkeypatch):
    """What is chosen of a few rows is also chosen where many break the limit, or cost a thousand times as much.

    Large is a pool of more rows than are drawn together: a few here, since draws of many together take long to compile.
    """
    monkeypatch.setattr(suggestions, "_MOST", 48)
    good, bad = np.linspace(0.5, 4.2, 38)[:, None], np.linspace(4.3, 4.9, 60)[:, None]
    pool, limit = np.concatenate([bad, good]), {"y0": (None, 7.0)}
    for by in ("improvement", "bound", "variance"):
        goal = None if by == "variance" else "max"
        alone = good[task.suggest(good, goal=goal, by=by, limits=limit)]
        among = pool[task.suggest(pool, goal=goal, by=by, limits=limit)]
        assert abs(float(alone[0, 0] - among[0, 0])) < 0.5
        assert task.predict(among)[0] < 7.5
    costs = np.concatenate([np.full(60, 1000.0), np.ones(38)])
    assert task.suggest(pool, goal="max", costs=costs)[0] >= 60


def test_limits_that_nothing_keeps_are_refused(task):
    pool = np.linspace(0.1, 4.9, 10)[:, None]
    for more in ({"goal": "max"}, {}, {"goal": "max", "by": "log-improvement"}, {"goal": "max", "by": "bound"}):
        with pytest.raises(InputError, match=r"3 rows are asked for, and 0 of the pool .*: widen the limits"):
            task.suggest(pool, n=3, limits={"y0": (100.0, None)}, **more)
    with pytest.raises(InputError, match="limits of 'y0' are 5 to 1, which nothing keeps"):
        task.suggest(pool, limits={"y0": (5.0, 1.0)})


def test_goals_and_targets():
    values = np.array([1.0, 4.0, 6.5])
    np.testing.assert_array_equal(utility(values, "min", None), -values)
    assert utility(values, None, 5.0).argmax() == 1
    assert as_limits("tox<=3, conc>1,tox>=0.5", "--limit") == {"tox": (0.5, 3.0), "conc": (1.0, None)}
    with pytest.raises(InputError, match="'tox=3' is no limit"):
        as_limits("tox=3", "--limit")
    with pytest.raises(InputError, match="no gain"):
        choose(drawn([0.0], [1.0]), 1, "bound", np.ones(1))
