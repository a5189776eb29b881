"""Small tables of situations that go wrong easily, fitted, each with its right answer. How they are encoded is tested in
test_table_columns.py.
"""

import numpy as np
import pytest

from bmaml import FewShotRegressor

pytestmark = [pytest.mark.costly, pytest.mark.filterwarnings("ignore::UserWarning")]


def test_levels_of_millions_leave_a_precise_curve():
    rng, task = np.random.default_rng(0), np.repeat(np.arange(60), 20)
    x = rng.uniform(0, 6, 1200)
    y = 1e6 * task + np.sin(x) + 0.01 * rng.normal(size=1200)
    model = FewShotRegressor("gaussian-process", shots=(3, 5)).fit({"t": task, "x": x, "y": y}, "y", task="t", x="x")
    given, asked = np.array([0.3, 1.5, 2.8, 4.0, 5.5]), np.array([1.0, 3.3, 5.0])
    mean, std = model.adapt(given[:, None], 30.5e6 + np.sin(given)).predict(asked[:, None], return_std=True)
    assert (std > 0.005).all()
    assert (std < 0.2).all()
    assert (np.abs(mean - 30.5e6 - np.sin(asked)) < 4 * std).all()


def test_seconds_since_1970_are_counted_from_a_row_of_the_task():
    start = 1_700_000_000 + np.random.default_rng(0).integers(0, 3 * 365 * 86_400, 40)
    task, second = np.divmod(np.arange(40 * 61), 61)
    table = {"t": task, "x": start[task] + second, "y": second / 60}
    model = FewShotRegressor("mixed-model", shots=(2, 3)).fit(table, "y", task="t", x="x")
    new = 1_750_000_000 + np.array([0, 5, 10, 30, 31, 60])
    found = model.adapt(new[:3, None], np.array([0, 5, 10]) / 60).predict(new[3:, None])
    np.testing.assert_allclose(found, [0.5, 31 / 60, 1.0], atol=0.01)


def test_an_input_that_is_constant_in_a_task_explains_its_level():
    rng, task = np.random.default_rng(0), np.repeat(np.arange(40), 6)
    z = rng.normal(size=40)[task]
    table = {"t": task, "z": z, "y": 2 * z + 0.1 * rng.normal(size=240)}
    mean, std = (
        FewShotRegressor("mixed-model", shots=(0, 2))
        .fit(table, "y", task="t", x="z")
        .predict(np.array([[1.5], [-1.0]]), return_std=True)
    )
    np.testing.assert_allclose(mean, [3.0, -2.0], atol=0.1)
    np.testing.assert_allclose(std, 0.1, atol=0.04)


def test_a_prior_of_weights_is_not_wider_than_the_outcome():
    rng, task = np.random.default_rng(0), np.repeat(np.arange(60), 12)
    a, b, x = rng.normal(size=60)[task], rng.uniform(0, 3, 60)[task], rng.uniform(-3, 3, 720)
    y = 4000 * (a + np.sin(b + x)) + 1e-4 * rng.normal(size=720)
    model = FewShotRegressor("ml-laplace", steps=300, shots=(1, 3)).fit({"t": task, "x": x, "y": y}, "y", task="t", x="x")
    given, asked = np.array([[-1.0], [0.0], [1.0]]), np.array([[-2.5], [0.5], [2.0]])
    for adapted in (model.adapt(), model.adapt(given, 4000 * (0.3 + np.sin(1 + given[:, 0])))):
        assert (adapted.predict(asked, return_std=True)[1] < 1.1 * y.std()).all()
