"""Small tables of situations that go wrong easily, fitted, each with its right answer. How they are encoded is tested in
test_table_columns.py.
"""

import csv
import io

import numpy as np
import pytest
from cases import run

from bmaml import FewShotRegressor
from bmaml.errors import InputError

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


def written(path, columns):
    """Write columns as a CSV."""
    rows = zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in (list(columns), *rows)))
    return path


def curves(tasks=20, rows=8, seed=0):
    """A table of levels that fall with the time, in seconds."""
    rng, task = np.random.default_rng(seed), np.repeat(np.arange(tasks), rows)
    time = np.tile(np.linspace(0, 4, rows), tasks).round(3)
    level = 3 + 0.5 * rng.normal(size=tasks)[task] - 0.4 * time + 0.1 * rng.normal(size=tasks * rows)
    return {"t": [f"s{seed}-{name}" for name in task], "time": time, "y": level.round(4)}


COLUMNS = ("--task", "t", "--x", "time", "--y", "y", "--method", "mixed-model")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a table (known.csv) and a model of it."""
    folder = tmp_path_factory.mktemp("model")
    assert run("fit", written(folder / "known.csv", curves()), *COLUMNS, "--out", folder / "model") == 0
    return folder


def test_a_task_of_two_rows_recalibrates_nothing(model, tmp_path, capsys):
    two = {"t": ["n", "n"], "time": [0.0, 2.0], "y": [3.1, 2.0]}
    assert run("recalibrate", model / "model", written(tmp_path / "two.csv", two), "--out", tmp_path / "other") == 2
    said = capsys.readouterr().err
    assert "a recalibration needs at least 10, since of fewer not one is expected to lie outside of its 90% interval" in said
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="needs at least 10"):
        FewShotRegressor.load(model / "model").recalibrate(two)


def test_the_order_of_rows_in_a_file_changes_no_answer(model, tmp_path, capsys):
    table, order = curves(), np.random.default_rng(1).permutation(160)
    new = written(tmp_path / "new.csv", {"t": ["n"] * 4, "time": [0.0, 1.0, 2.0, 3.0], "y": [3.1, 2.4, "", ""]})
    capsys.readouterr()
    assert run("predict", model / "model", new) == 0
    expected = capsys.readouterr().out
    shuffled = {name: np.asarray(values)[order] for name, values in table.items()}
    assert run("fit", written(tmp_path / "known.csv", shuffled), *COLUMNS, "--out", tmp_path / "model") == 0
    capsys.readouterr()
    assert run("predict", tmp_path / "model", new) == 0
    assert capsys.readouterr().out == expected
    given = np.argsort(table["time"], kind="stable")
    ordered = FewShotRegressor("mixed-model").fit(
        {name: np.asarray(v)[given] for name, v in table.items()}, "y", task="t", x="time"
    )
    asked = [ordered.adapt([[0.0], [1.0]], [3.1, 2.4]).predict([[2.0], [3.0]]).tolist()]
    asked += [FewShotRegressor.load(model / "model").adapt([[1.0], [0.0]], [2.4, 3.1]).predict([[2.0], [3.0]]).tolist()]
    np.testing.assert_allclose(*asked, rtol=2e-6)


def test_a_given_row_in_milliseconds_is_named_and_leaves_finite_answers(model, tmp_path, capsys):
    wild = {"t": ["n"] * 4, "time": [0.0, 1000.0, 2.0, 3.0], "y": [3.1, 2.7, 2.4, ""]}
    capsys.readouterr()
    assert run("predict", model / "model", written(tmp_path / "new.csv", wild)) == 0
    said = capsys.readouterr()
    assert "line 3, column 'time' is" in said.err
    assert "check its unit" in said.err
    (answer,) = csv.DictReader(io.StringIO(said.out))
    assert 0.5 < float(answer["y_mean"]) < 3
    assert 0 < float(answer["y_high"]) - float(answer["y_low"]) < 3
    with pytest.warns(UserWarning, match="row 1 .* check its unit"):
        task = FewShotRegressor.load(model / "model").adapt([[0.0], [1000.0], [2.0]], [3.1, 2.7, 2.4])
    assert task.predict([[3.0]])[0] == pytest.approx(float(answer["y_mean"]), rel=1e-4)


def test_rows_of_a_large_table_that_are_not_used_are_counted_aloud(tmp_path, capsys):
    table = curves(1000, 1000)
    with pytest.warns(
        UserWarning, match=r"1000 tasks of more than 512 rows: 512 rows of each .* \(512,000 of all 1,000,000 rows"
    ):
        FewShotRegressor("linear", steps=1, batch=2).fit(table, "y", task="t", x="time")
    written(tmp_path / "large.csv", table)
    options = ("--task", "t", "--x", "time", "--y", "y", "--method", "linear", "--steps", "1", "--rows", "20000")
    assert run("fit", tmp_path / "large.csv", *options, "--out", tmp_path / "model") == 0
    said = capsys.readouterr()
    assert "of 1,000,000 rows: whole tasks, drawn at random" in said.out
    assert "512 rows of each are used" in said.err
