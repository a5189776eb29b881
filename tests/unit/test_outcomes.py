"""Outcomes that are no measurements: how cells are read, what is said, and models fitted, saved and asked."""

import csv
import io
import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
from many_tasks import check_equal

import bmaml
from bmaml.cli import main
from bmaml.errors import InputError
from bmaml.estimators.given_tables import array_table
from bmaml.estimators.stacking import PLAIN, roles_for, scores_of, verdict
from bmaml.tables import ColumnRoles, Schema, fit_schema, measured, read_table


def schema_of(y, family=None, levels=(), exposure=None, error=None, weight=None, trials=None, upper=None, **columns):
    data = {"task": np.repeat(["a", "b"], len(y) // 2), "x": np.arange(len(y)) % 5, "y": y, **columns}
    sides = {"exposure": exposure, "error": error, "weight": weight, "trials": trials, "upper": upper}
    table = measured(read_table(data), ("y",), levels, upper)
    return table, fit_schema(table, ColumnRoles("task", ("x",), ("y",), family=family, **sides, levels=levels))


@pytest.mark.parametrize(
    ("cells", "yes"),
    [
        ([0, 1, 1, 0, 0, 1], None),
        (["1.0", "0.0", "1", "0", "0", "0"], None),
        ([True, False, True, True, False, False], None),
        (["N", "Y", "Y", "N", "N", "N"], "Y"),
        (["sick", "well", "sick", "sick", "well", "well"], "sick"),
        (["b", "a", "b", "a", "b", "a"], "b"),
    ],
)
def test_two_things_are_yes_and_no_without_being_asked(cells, yes):
    with pytest.warns(UserWarning, match="its probability of .* is learned"):
        table, schema = schema_of(cells)
    assert schema.family == "yes-no"
    expected = [str(cell).lower() in ("1", "1.0", "true") if yes is None else cell == yes for cell in cells]
    np.testing.assert_array_equal(schema.encode_y(table)[:, 0], expected)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_counts_are_said_and_not_assumed():
    scores = [1, 2, 3, 2, 1, 3, 2, 2, 1, 1, 3, 2]
    with pytest.warns(UserWarning, match="if they are counts, use family count"):
        assert schema_of(scores)[1].family == "normal"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert schema_of(scores, "normal")[1].family == "normal"
        assert schema_of([0.5, 1.5, 2.0, 2.5, 1.0, 2.0])[1].family == "normal"
        table, schema = schema_of(scores, "count", exposure="years", years=np.arange(1, 13))
    np.testing.assert_array_equal(schema.encode_y(table)[:, 0], scores)
    np.testing.assert_allclose(schema.encode_x(table)[:, -1], np.log(np.arange(1, 13)), rtol=1e-6)
    assert schema.width == 2
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@pytest.mark.parametrize(
    ("cells", "levels", "ranks"),
    [
        ([3, 1, 2, 5, 4, 1], (), [2, 0, 1, 4, 3, 0]),
        (["mild", "none", "severe", "none"], ("none", "mild", "severe"), [1, 0, 2, 0]),
        (pa.DictionaryArray.from_arrays([1, 2, 0, 2], ["c", "b", "a"], ordered=True), (), [1, 2, 0, 2]),
        ([1.5, 10, 1.5, 3], (), [0, 2, 0, 1]),
    ],
)
def test_ordered_levels_are_ranks(cells, levels, ranks):
    table, schema = schema_of(cells, "ordered", levels=levels)
    np.testing.assert_array_equal(schema.encode_y(table)[:, 0], ranks)
    numbers = isinstance(cells[0], int)
    np.testing.assert_allclose(schema.decode_value(schema.encode_y(table))[:, 0], cells if numbers else np.add(ranks, 1))
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_known_errors_and_weights_are_in_units_of_the_outcome():
    y = np.linspace(100, 300, 40)
    table, schema = schema_of(y, error="se", se=np.full(40, 20.0))
    assert schema.family == "known-error"
    assert schema.outputs[0].mean == pytest.approx(200)
    np.testing.assert_allclose(schema.encode_x(table)[:, -1], 20 / schema.scales[0], rtol=1e-6)
    table, schema = schema_of(y, weight="n", n=np.geomspace(1, 1e6, 40))
    assert schema.family == "weighted"
    np.testing.assert_allclose(schema.encode_x(table)[[0, -1], -1], [-3 * np.log(10), 3 * np.log(10)], rtol=1e-5)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_rows_far_off_do_not_set_the_scale_of_a_robust_outcome():
    y = np.r_[np.linspace(0, 10, 39), 1e5]
    with pytest.warns(UserWarning, match="check its unit"):
        _, schema = schema_of(y, "student-t")
    assert schema.scales[0] < 10


@pytest.mark.parametrize(
    ("y", "options", "said"),
    [
        ([0, 1, 2, 0, 1, 2], {"family": "yes-no"}, "holds 3 different cells"),
        ([0, 1, -1, 0], {"family": "count"}, "a count is a whole number from 0 on"),
        ([0, 1.5, 1, 0], {"family": "count"}, "a count is a whole number from 0 on"),
        ([0, 1, 1, 0], {"family": "yes-no", "exposure": "z", "z": [1, 2, 1, 1]}, "an exposure is for counts"),
        ([0, 1, 1, 0], {"family": "counts"}, "did you mean 'count'"),
        ([2, 2, 2, 2], {"family": "count"}, "there is nothing to learn"),
        ([2, 1, 2, 2], {"family": "count", "exposure": "z", "z": [1, 2, 0, 1]}, "has no logarithm"),
        ([2, 1, 2, 2], {"family": "count", "exposure": "x"}, "x and exposure both name the column 'x'"),
        ([2, 1, 0, 2], {"family": "gamma"}, r"row 2 .* column 'y' is 0: an outcome of this family is above 0"),
        ([2, 1, 3, 2], {"error": "z", "z": [1, 2, -1, 1]}, "'z' is -1: the error of a measurement is its standard deviation"),
        ([2, 1, 3, 2], {"weight": "z", "z": [1, 2, 0, 1]}, "has no logarithm"),
        ([2, 1, 3, 2], {"family": "known-error"}, "give its column as --error"),
        ([2, 1, 3, 2], {"weight": "z", "error": "w", "z": [1, 2, 1, 1], "w": [1, 2, 1, 1]}, "no family knows of both"),
        ([2, 1, 3, 2], {"family": "student-t", "weight": "z", "z": [1, 2, 1, 1]}, "a weight is for measurements .* weighted"),
        (["a", "b", "c", "a"], {"family": "ordered"}, "without an order: give it as --levels"),
        (["a", "b", "c", "a"], {"family": "ordered", "levels": ("a", "b", "d")}, "of which 'c' is none"),
        (["a", "b", "b", "a"], {"family": "ordered", "levels": ("a", "b")}, "use family yes-no for two"),
        ([1, 2, 3, 1], {"family": "count", "levels": ("1", "2", "3")}, "use family ordered"),
        ([1, 2, 3, 1], {"family": "normal", "levels": ("1", "2", "3")}, "use family ordered"),
        ([2, 1, 3, 2], {"family": "binomial"}, "give its column as --trials"),
        ([2, 1, 3, 2], {"trials": "z", "z": [3, 0, 3, 3]}, "a number of trials is a whole number from 1 on"),
        (["<1", "2", "4", "3"], {"family": "normal"}, "which is a limit: use family censored or censored-log"),
        (["<1", "2", "low", "3"], {"family": "censored"}, r"row 2 .* is 'low', which is neither a number nor a limit"),
        (["<1", "2", "5..4", "3"], {"family": "censored"}, r"row 2 .* is '5..4', which is neither a number nor a limit"),
        (["<0", "2", "1", "3"], {"family": "censored-log"}, r"row 0 .* is 0: an outcome of this family is above 0"),
        ([2, 1, 3, 2], {"upper": "z", "z": [3, 2, 3, 3], "family": "gamma"}, "use family censored or censored-log"),
    ],
)
def test_outcomes_that_do_not_fit_are_named(y, options, said):
    with pytest.raises(InputError, match=said):
        schema_of(y, **options)


@pytest.mark.parametrize("option", ["exposure", "error", "weight", "trials", "upper", "levels"])
def test_a_method_that_knows_of_numbers_alone_says_which_methods_know_more(option):
    given = {option: ("a", "b", "c") if option == "levels" else "z"}
    with pytest.raises(InputError) as caught:
        roles_for("experts", ColumnRoles("task", ("x",), ("y",), **given), None)
    assert caught.value.typed == (
        f"--{option} is given, and method 'experts' cannot use it: use method mixture or mixed-model, or leave it out."
    )


def test_a_new_cell_that_is_neither_is_named():
    _, schema = schema_of(["no", "yes", "no", "yes"], "yes-no")
    with pytest.raises(InputError, match="'maybe': give no or yes"):
        schema.encode_y(read_table({"y": ["yes", "maybe"]}))


def test_methods_of_measurements_refuse_other_families():
    with pytest.raises(InputError, match="use method mixture or mixed-model"):
        bmaml.FewShotRegressor("gaussian-process", family="count").fit([[0.0]], [1.0], groups=[0])
    with pytest.raises(InputError, match="for one outcome"):
        bmaml.FewShotRegressor(family="count").fit(np.zeros((4, 1)), np.ones((4, 2)), groups=[0, 0, 1, 1])


def women(tasks, rows, seed=0):
    """Rows of a table: districts differ in how often the answer is yes, which rises with age."""
    rng = np.random.default_rng(seed)
    for task in range(tasks):
        level = 1.5 * rng.normal()
        for age in rng.uniform(-1, 1, rows).round(2):
            yes = rng.random() < 1 / (1 + np.exp(-(level + 1.5 * age)))
            yield [f"d{task}", age, "Y" if yes else "N"]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def fitted_on_women(folder):
    """The table of women as a file, and the folder of a mixed model of it that the command line made."""
    table, out = folder / "women.csv", folder / "model"
    write(table, ["district", "age", "uses"], women(24, 10))
    columns = ("--task", "district", "--x", "age", "--y", "uses")
    assert run("fit", table, *columns, "--method", "mixed-model", "--shots", "0,2,5", "--out", out) == 0
    return table, out


def write(path, header, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in (header, *rows)))
    return path


def asked(folder):
    """New rows of two districts, of which one answer each is open."""
    given = [["new", -0.5, "Y"], ["new", -0.2, "Y"], ["new", 0.1, "Y"], ["new", 0.0, ""], ["old", 0.0, "N"], ["old", 0.0, ""]]
    return write(folder / "new.csv", ["district", "age", "uses"], given)


def test_yes_or_no_from_file_to_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # So wide that no cell goes over several lines.
    _, out = fitted_on_women(tmp_path)
    said = capsys.readouterr()
    assert "its probability of Y is learned" in said.err
    assert "root of the Brier score" in said.out
    assert "N or Y, as 0 and 1" in said.out
    assert "the mean probabilities of yes, and how often it was yes" in said.out
    assert run("predict", out, asked(tmp_path)) == 0
    likely, less = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert set(likely) == {"district", "age", "uses_probability", "uses_low", "uses_high"}
    assert float(less["uses_probability"]) < 0.5 < float(likely["uses_probability"])
    for row in (likely, less):
        assert 0 < float(row["uses_low"]) < float(row["uses_probability"]) < float(row["uses_high"]) < 1
    # Better than saying the share of yes everywhere (its NLL is near log 2).
    folds = json.loads((out / "folds.json").read_text())
    score = next(score for score in folds["scores"] if score["method"] == "mixed-model" and score["shots"] == 2)
    assert score["nll"]["value"] < 0.64
    assert 0.84 < score["coverage"]["uses"]["value"] < 0.96
    (last,) = [part for part in folds["calibration"] if part["given"] == 5]
    assert sum(last["rows"]) == pytest.approx(1, abs=1e-3)
    pairs = [(p, s, r) for p, s, r in zip(last["predicted"], last["seen"], last["rows"], strict=True) if r > 0.1]
    assert all(abs(p - s) < 0.25 for p, s, _ in pairs)


# Each outcome's answers and their recalibration are held for themselves: `oracle/test_generalised.py`, `test_recalibration.py`.
@pytest.mark.costly
def test_yes_or_no_is_evaluated_and_recalibrated_from_file_to_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    (table, out), new = fitted_on_women(tmp_path), asked(tmp_path)
    capsys.readouterr()
    assert run("predict", out, new) == 0
    likely = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert run("evaluate", out, "--table", table, "--shots", "2", "--json") == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert score["nll"]["value"] < 0.64
    assert 0.84 < score["coverage"]["uses"]["value"] < 0.96
    assert run("recalibrate", out, table, "--out", tmp_path / "other") == 2
    assert "fitted on" in capsys.readouterr().err
    write(table, ["district", "age", "uses"], women(24, 10, seed=1))
    assert run("recalibrate", out, table, "--shots", "2", "--out", tmp_path / "other") == 0
    assert "stretched by" in capsys.readouterr().out
    assert run("predict", tmp_path / "other", new) == 0
    changed = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert changed["uses_probability"] != likely["uses_probability"]
    assert 0 < float(changed["uses_low"]) < float(changed["uses_probability"]) < float(changed["uses_high"]) < 1


@pytest.mark.costly
def test_counts_with_an_exposure_are_rates():
    """Saved models of counts are those of tests/fixtures, so that nothing is compiled for them here."""
    rng = np.random.default_rng(0)
    task, years = np.repeat(np.arange(12), 6), rng.uniform(0.5, 20, 72)
    x = rng.normal(size=72)
    y = rng.poisson(years * np.exp(0.5 * x + 0.7 * rng.normal(size=12)[task]))
    table = {"ward": task, "x": x, "years": years, "falls": y}
    model = bmaml.FewShotRegressor("mixed-model", family="count", shots=2)
    model.fit(table, "falls", task="ward", x="x", exposure="years")
    found = {(score.method, score.shots): score for score in scores_of(model.folds_)}
    assert found["mixed-model", 2].nll.value < found[PLAIN, 2].nll.value - 0.1
    assert 0.75 < found["mixed-model", 2].coverage["falls"].value < 1
    lines = verdict(model.folds_, "mixed-model")
    assert any("mixed model" in line for line in lines)
    assert any("the fifths of what was predicted hold" in line for line in lines)
    assert model.folds_ is not None
    for part in model.folds_["calibration"]:
        assert sum(part["transform"]) == pytest.approx(1, abs=1e-3)
        assert max(part["transform"]) < 0.45
    task = model.adapt({"x": [0.0, 0.5], "years": [2.0, 4.0], "falls": [3, 9]})
    asked = {"x": [0.0, 0.0], "years": [1.0, 10.0]}
    short, long = task.predict(asked)
    assert long == pytest.approx(10 * short, rel=1e-3)
    low, high = task.interval(asked)
    assert (low % 1 == 0).all()
    assert (high % 1 == 0).all()
    assert (low < [short, long]).all()
    assert (high > [short, long]).all()
    with pytest.raises(InputError, match="years"):
        task.predict({"x": [0.0]})
    wards = {"ward": [0, 0, 0, 1], "x": [0.0, 0.5, 0.0, 0.0], "years": [2.0, 4.0, 1.0, 10.0], "falls": [3, 9, None, None]}
    check_equal(model, wards)


@pytest.mark.parametrize(
    ("cells", "family", "values", "reach"),
    [
        (["<0.5", "1.5", "> 4", "2", "≤0.5", "3"], "censored-log", [0.5, 1.5, 4, 2, 0.5, 3], [-1, 0, 1, 0, -1, 0]),
        (["<=-0.5", "1.5", ">=4", "2", "-1", "3"], "censored", [-0.5, 1.5, 4, 2, -1, 3], [-1, 0, 1, 0, 0, 0]),
        (["0.1..0.5", "1.5", "3 .. 4", "2", "1", "3"], "censored-log", [0.1, 1.5, 3, 2, 1, 3], [0.4, 0, 1.0, 0, 0, 0]),
    ],
)
def test_cells_that_are_limits_are_used_as_limits(cells, family, values, reach):
    with pytest.warns(UserWarning, match="they are used as limits .family " + family):
        table, schema = schema_of(cells)
    assert schema.family == family
    np.testing.assert_allclose(schema.decode_value(schema.encode_y(table))[:, 0], values, atol=1e-5)
    side = schema.encode_x(table)[:, -1]
    if ".." in cells[0]:
        np.testing.assert_allclose(side * schema.scales[0], reach, rtol=1e-5)
    else:
        np.testing.assert_array_equal(np.sign(side), reach)
    # A row to predict needs no outcome.
    assert schema.given == ("x",)
    assert schema.encode_x(read_table({"x": [1.0]}))[0, -1] == 0
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_two_columns_of_limits_are_one_outcome():
    source = {"y": [1.0, None, 2.0, 3.0, None, 4.0], "high": [1.0, 0.5, 2.5, None, None, 4.0]}
    data = {"task": list("aaabbb"), "x": [0, 1, 2, 0, 1, 2], **source}
    roles = ColumnRoles("task", ("x",), ("y",), family="censored", upper="high")
    with pytest.warns(UserWarning, match="has no outcome 'y' in 1 of 6 rows"):
        table = measured(read_table(data), ("y",), upper="high")
    schema = fit_schema(table, roles)
    np.testing.assert_allclose(schema.decode_value(schema.encode_y(table))[:, 0], [1, 0.5, 2, 3, 4], atol=1e-5)
    side = schema.encode_x(table)[:, -1]
    np.testing.assert_allclose(side[[0, 2, 4]] * schema.scales[0], [0, 0.5, 0], atol=1e-6)
    assert side[1] < -1e7 < 1e7 < side[3]
    again = schema.as_read(measured(table, ("y",), upper="high"))
    np.testing.assert_array_equal(schema.encode_x(again), schema.encode_x(table))
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    with pytest.raises(InputError, match=r"row 0 .*, column 'high' is 1 and column 'y' has 2"):
        measured(read_table({"y": [2.0, 1.0], "high": [1.0, 1.0]}), ("y",), upper="high")


def test_more_successes_than_trials_are_refused_by_row():
    trials = {"trials": "n", "n": [4, 5, 6, 7, 8, 9]}
    table, schema = schema_of([0, 5, 2, 3, 4, 9], **trials)
    assert schema.family == "binomial"
    np.testing.assert_allclose(np.exp(schema.encode_x(table)[:, -1]), trials["n"], rtol=1e-6)
    with pytest.raises(InputError, match=r"row 1 .*, column 'y' is 3 and its 'n' is 2"):
        schema.encode_y(read_table({"y": [1, 3], "n": [2, 2]}))
    with pytest.raises(InputError, match=r"row 0 .*, column 'n' is 1000000, and .* at most 100,000 trials"):
        schema.encode_y(read_table({"y": [1], "n": [10**6]}))
    assert schema.encode_y(read_table({"y": [1, 3]})).tolist() == [[1], [3]]


def test_a_column_of_an_array_that_says_how_sure_a_row_is_is_no_input():
    x, y, groups = np.ones((4, 2)), np.arange(4.0), np.repeat([0, 1], 2)
    assert array_table(x, y, groups, {"weight": "x1"})[1].x == ("x0",)
    assert array_table(x, y, groups, {"weight": None})[1].x == ("x0", "x1")
