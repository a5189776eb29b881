"""Any column people have: how it is read, encoded and said, each case with its right value."""

import json

import numpy as np
import pytest

import bmaml
from bmaml.errors import InputError
from bmaml.plots import prediction
from bmaml.plots.style import as_svg
from bmaml.tables import ColumnRoles, Schema, column_report, dates, fit_schema, measured, read_table, table_tasks, task_rows
from bmaml.tables.new import new_rows, new_tasks
from bmaml.tables.table import Reading

TASKS, ROWS = 6, 8


def columns(**more):
    """Six tasks of eight rows, with a number `x` and an outcome `y`."""
    rng = np.random.default_rng(0)
    task = np.repeat([f"t{i}" for i in range(TASKS)], ROWS)
    n = len(task)
    return {"task": task, "x": rng.normal(size=n), "y": rng.normal(size=n)} | more


def schema_of(name, reading=None, **more):
    table = read_table(columns(**more), reading=reading)
    schema = fit_schema(table, ColumnRoles("task", (name,), ("y",)))
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    return table, schema


def encoded(table, schema):
    """The encoded inputs, which no default of NumPy's may have made infinite or NaN."""
    x = schema.encode(table)[0]
    assert np.isfinite(x).all()
    return x


def test_an_empty_input_is_a_zero_with_a_mask_and_is_said_once():
    x = [None if i % 7 == 0 else float(i) for i in range(TASKS * ROWS)]
    with pytest.warns(UserWarning, match=r"'z' is empty in 7 of 48 rows: these rows are used") as said:
        table, schema = schema_of("z", z=x)
    assert len(said) == 1
    found = encoded(table, schema)
    np.testing.assert_array_equal(found[:, 1], [v is None for v in x])
    np.testing.assert_array_equal(found[::7, 0], 0.0)
    there = np.array([v for v in x if v is not None])
    np.testing.assert_allclose(found[found[:, 1] == 0, 0], (there - there.mean()) / there.std(), rtol=1e-6)
    kind = [None if i % 7 == 0 else "ab"[i % 2] for i in range(TASKS * ROWS)]
    with pytest.warns(UserWarning, match="'k' is empty in 7"):
        table, schema = schema_of("k", k=kind)
    np.testing.assert_array_equal(encoded(table, schema)[:3], [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_an_input_that_no_fitted_row_lacks_must_be_there():
    _, schema = schema_of("x")
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\), column 'x' is empty"):
        schema.encode_x(read_table({"x": [1.0, None]}))


def test_rows_without_an_outcome_are_left_out_and_said():
    y = [None if i % 5 == 0 else float(i) for i in range(TASKS * ROWS)]
    table = read_table(columns(y=y, z=[None, *range(1, TASKS * ROWS)]))
    with pytest.warns(UserWarning, match=r"has no outcome 'y' in 10, 'z' in 1 of 48 rows: these rows are left out"):
        assert len(measured(table, ["y", "z"])) == 38


DAYS = [f"{1 + i % 20:02d}/{3 + i // 20:02d}/2024" for i in range(TASKS * ROWS)]


def test_dates_are_days_since_the_first():
    iso = [f"2024-{d[3:5]}-{d[:2]}" for d in DAYS]
    forms = [DAYS, iso, [f"{d}T12:00:00Z" for d in iso], np.array(iso, "datetime64[D]"), [d.replace("/", ".") for d in DAYS]]
    expected = (np.array(iso, "datetime64[D]") - np.datetime64("2024-03-01")).astype(float)
    for form in forms:
        table, schema = schema_of("when", when=form)
        np.testing.assert_allclose(schema.inputs[0].raw(table), expected)
        assert schema.inputs[0].note.startswith("date, in days since 2024-03-01")
    assert schema_of("when", when=DAYS)[1].inputs[0].note.endswith("day first")
    # Another table's dates are read as the fitted ones were, though its own could be either.
    _, schema = schema_of("when", when=DAYS)
    assert schema.inputs[0].raw(read_table({"when": ["02/03/2024"]})).tolist() == [1.0]


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["2023-12", "2024-01", "2024-02"], [0, 31, 62]),
        (["2023/12", "2024/1", "2024/2"], [0, 31, 62]),
        (["Dec 2023", "Jan 2024", "Feb 2024"], [0, 31, 62]),
        (["December-2023", "January-2024", "February-2024"], [0, 31, 62]),
        (["2023-Q4", "2024-Q1", "2024-Q2"], [0, 92, 183]),
        (["Q4 2023", "q1 2024", "q2 2024"], [0, 92, 183]),
    ],
)
def test_months_and_quarters_are_their_first_days(cells, days):
    """As categories they would have no order, and a new month would be none of the known ones."""
    table, schema = schema_of("when", when=cells * (TASKS * ROWS // 3))
    assert schema.inputs[0].raw(table)[:3].tolist() == days


def test_lots_and_seasons_are_no_months():
    _, schema = schema_of("when", when=["2019-20", "2020-21", "2021-22"] * (TASKS * ROWS // 3))
    assert schema.inputs[0].kind == "category"


def test_numbers_that_look_like_dates_are_said():
    with pytest.warns(UserWarning, match="'when' holds numbers such as 20240131, .* write them as 2024-01-31"):
        schema_of("when", when=[20240131, 20240201, 20240315] * (TASKS * ROWS // 3))


def test_an_ambiguous_date_is_asked_about_by_name():
    days = [f"0{1 + i % 9}/04/2024" for i in range(TASKS * ROWS)]
    with pytest.raises(
        InputError, match=r"'when' has dates such as '01/04/2024', which could be day or month first: give --dayf"
    ):
        schema_of("when", when=days)
    table, schema = schema_of("when", Reading(day_first=False), when=days)
    assert schema.inputs[0].raw(table)[1] == 31.0, "the fourth of February is 31 days after the fourth of January"
    with pytest.raises(InputError, match=r"dates such as '03/04/24': give years four digits"):
        schema_of("when", when=["03/04/24"] * (TASKS * ROWS))


def test_the_order_of_dates_that_no_fitted_cell_showed_is_asked_about_later():
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=TASKS * ROWS)
    for cells in (days, days.strftime("%Y-%m-%d").tolist()):
        schema = schema_of("when", when=cells)[1]
        with pytest.raises(InputError, match=r"'01/02/2024', which could be day or month first"):
            schema.encode_x(read_table({"when": ["01/02/2024"]}))
        for day_first, day in ((True, 31), (False, 1)):
            table = read_table({"when": ["01/02/2024"]}, reading=Reading(day_first=day_first))
            assert schema.inputs[0].raw(schema.as_read(table)).tolist() == [day]
            told = schema_of("when", Reading(day_first=day_first), when=cells)[1]
            assert told.inputs[0].raw(told.as_read(read_table({"when": ["01/02/2024"]}))).tolist() == [day]


@pytest.mark.parametrize(
    "cells",
    [
        ("3/14/2024 11:30 AM", "3/15/2024 12:00 AM"),
        ("14.03.2024 11:30:00", "15.03.2024 0:00:00"),
        ("2024-03-14 11:30:00 UTC", "2024-03-15 00:00:00 UTC"),
        ("2024-03-14 11:30", "2024-03-15 0:00"),
        ("14 March 2024 11:30", "15 March 2024 0:00"),
        ("2024-03-14T11:30:00Z", "2024-03-15T00:00:00Z"),
        ("2024-03-14T13:30:00+02:00", "2024-03-15T02:00:00+02:00"),
    ],
)
def test_dates_have_times_as_people_write_them(cells):
    table, schema = schema_of("when", when=list(cells) * (TASKS * ROWS // 2))
    assert schema.inputs[0].raw(table)[:2].tolist() == [0.0, 12.5 / 24]
    assert schema.inputs[0].note.startswith("date, in days since 2024-03-14 11:30:00")


def test_ids_that_begin_like_dates_are_none_and_short_years_are_refused():
    ids = ["2024-12-01-05", "2024-12-01-06", "2024-12-02-01"] * (TASKS * ROWS // 3)
    assert schema_of("when", when=ids)[1].inputs[0].kind == "category"
    with pytest.raises(InputError, match=r"dates such as '1-Mar-24': give years four digits"):
        schema_of("when", when=["1-Mar-24", "2-Mar-24"] * (TASKS * ROWS // 2))


def test_spans_of_days_are_hours():
    for cells in (["1 days 02:30:00", "0 days 14:30:00"], ["26:30", "14:30"], np.array([95400, 52200], "timedelta64[s]")):
        table, schema = schema_of("when", when=np.resize(cells, TASKS * ROWS))
        assert schema.inputs[0].raw(table)[:2].tolist() == [26.5, 14.5]
    days = np.resize(np.array([2, 1], "timedelta64[D]"), TASKS * ROWS)
    table, schema = schema_of("when", when=days)
    assert schema.inputs[0].raw(table)[:2].tolist() == [48, 24]


def test_times_of_day_are_hours():
    for form in ("14:30", "14:30:00", "2:30 pm"):
        table, schema = schema_of("when", when=[form, "9:15"] * (TASKS * ROWS // 2))
        assert schema.inputs[0].raw(table)[:2].tolist() == [14.5, 9.25]
    assert dates.hours(read_table({"when": dates.clock_texts(np.array([52_200, 33_300]))}), "when").tolist() == [14.5, 9.25]
    with pytest.raises(InputError, match=r"column 'when' is '14\.30' and the column holds times"):
        schema.encode_x(read_table({"when": ["14.30"]}))


def test_booleans_are_the_same_in_text_and_in_memory():
    truth = [i % 3 == 0 for i in range(TASKS * ROWS)]
    sources = [truth, np.array(truth), [str(t) for t in truth], [str(t).upper() for t in truth]]
    found = [encoded(*schema_of("b", b=source)) for source in sources]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
    table = read_table(columns(y=[str(t).lower() for t in truth]))
    schema = fit_schema(table, ColumnRoles("task", ("x",), ("y",)))
    np.testing.assert_allclose(schema.decode_value(schema.encode_y(table))[:, 0], truth, atol=1e-6)


def test_ordered_levels_count_those_below():
    pandas = pytest.importorskip("pandas")
    sizes = pandas.Categorical(["s", "l", "m"] * (TASKS * ROWS // 3), categories=["s", "m", "l", "xl"], ordered=True)
    table, schema = schema_of("size", size=sizes)
    np.testing.assert_array_equal(encoded(table, schema)[:3], [[0, 0], [1, 1], [1, 0]])
    # A file without the type is read by the names of the levels.
    np.testing.assert_array_equal(schema.encode_x(read_table({"size": ["m"]})), [[1, 0]])


def test_many_levels_keep_the_most_frequent_and_one_for_the_rest():
    levels = np.concatenate([np.repeat(np.arange(300), 3), np.arange(250)]).astype(str)
    task = np.resize(["a", "b", "c", "d"], len(levels))
    table = read_table({"task": task, "who": levels, "y": np.arange(len(levels))})
    with pytest.warns(UserWarning, match=r"'who' has 300 levels: the 255 most frequent are told apart"):
        schema = fit_schema(table, ColumnRoles("task", ("who",), ("y",), categorical=("who",)))
    x = schema.encode_x(table)
    assert x.shape[1] == 255
    assert set(x.sum(1).tolist()) == {0.0, 1.0}
    assert x[:750].sum(1).min() == 1.0, "levels that occur four times"


def test_a_number_with_few_values_stays_a_number_and_is_said():
    table, schema = schema_of("ward", ward=[i % 3 for i in range(TASKS * ROWS)])
    assert schema.inputs[0].kind == "number"
    rows = column_report(table, schema)
    assert rows[1:] == [
        ["task", "task", "6 tasks in 48 rows"],
        ["ward", "input", "number, 0 to 2; 3 values: list it as categorical if they are labels"],
        ["y", "outcome", schema.outputs[0].note],
        ["x", "not used", ""],
    ]


def test_tasks_can_be_nested():
    n = TASKS * ROWS
    nested = columns(school=["s1"] * (n // 2) + ["s2"] * (n // 2), cls=[str(i % 3) for i in range(n)], note=["a/b"] * n)
    table = read_table(nested)
    schema = fit_schema(table, ColumnRoles(("school", "cls"), ("x",), ("y",)))
    assert list(task_rows(table, schema)) == [f"{s} / {c}" for s in ("s1", "s2") for c in "012"]
    assert table_tasks(table, schema).rows.mask.shape == (6, 8)
    new = read_table({"school": ["s9", "s9"], "cls": ["1", "2"], "x": [0.0, 1.0], "y": ["1", ""]})
    assert [(t.name, t.labels, len(t.given)) for t in new_tasks(new, schema)] == [
        ("s9 / 1", ("s9", "1"), 1),
        ("s9 / 2", ("s9", "2"), 0),
    ]
    slashes = read_table({"a": ["x", "x / y"], "b": ["y / z", "z"]})
    assert len(set(Schema("b", (), (), within=("a",)).tasks(slashes)[1])) == 2


def test_labels_that_are_one_or_only_look_alike_are_said():
    task = ["1", "1.0", "b", "B", *(["c"] * (TASKS * ROWS - 4))]
    with pytest.warns(UserWarning, match="task") as said:
        table, schema = schema_of("x", task=task)
    assert ["one label in several ways ('1', '1.0'): they are one" in str(w.message) for w in said] == [True, False]
    assert "look alike ('b', 'B'): they are different tasks" in str(said[1].message)
    assert sorted(len(rows) for rows in task_rows(table, schema).values()) == [1, 1, 2, 44]


@pytest.mark.parametrize("order", [None, "x"])
def test_the_order_of_rows_in_the_file_does_not_matter(order):
    source = columns(kind=np.resize(["a", "b", "c"], TASKS * ROWS))
    source["x"] = source["x"].round(1)
    rng, roles = np.random.default_rng(1), ColumnRoles("task", ("x", "kind"), ("y",), order)
    found = []
    for rows in (np.arange(TASKS * ROWS), rng.permutation(TASKS * ROWS), np.argsort(source["x"])):
        table = read_table({name: np.asarray(values)[rows] for name, values in source.items()})
        schema = fit_schema(table, roles)
        found.append((table_tasks(table, schema).rows, schema))
    for rows, schema in found[1:]:
        assert schema == found[0][1]
        np.testing.assert_array_equal(rows.x, found[0][0].x)
        np.testing.assert_array_equal(rows.y, found[0][0].y)


def test_a_forecast_without_an_order_column_keeps_the_order_of_the_file():
    table = read_table(columns())
    schema = fit_schema(table, ColumnRoles("task", ("x",), ("y",), selection="first"))
    assert task_rows(table, schema)["t0"].tolist() == list(range(ROWS))


def test_one_wild_row_is_named_and_the_others_keep_their_scale():
    x = np.random.default_rng(2).uniform(size=TASKS * ROWS)
    x[17] = 1e8
    with pytest.warns(UserWarning, match=r"row 17 \(counted from 0\), column 'x' is 3\.5e\+08 times the spread of most rows"):
        table, schema = schema_of("x", x=x)
    found = encoded(table, schema)[:, 0]
    rest = np.delete(found, 17)
    assert 0.5 < rest.std() < 2
    assert 50 < found[17] < 500
    assert abs(np.diff(schema.encode_x(read_table({"x": [0.73, 0.86]}))[:, 0])[0]) > 0.1
    with pytest.warns(UserWarning, match=r"row 17 \(counted from 0\), column 'y' is"):
        schema_of("x", y=x, x=np.arange(TASKS * ROWS))


def test_a_row_far_from_all_fitted_ones_is_named():
    _, schema = schema_of("x", x=np.linspace(0, 1, TASKS * ROWS))
    with pytest.warns(UserWarning, match=r"row 1 \(counted from 0\), column 'x' is 1,\d+ deviations .* check its unit"):
        found = schema.encode_x(read_table({"x": [0.1, 300.0]}))[:, 0]
    assert found[0] == pytest.approx(-1.36, abs=0.01)
    assert 11 < found[1] < 13, "moved to three ranges beyond the fitted rows"


def level_of(name, values, **more):
    source = columns(**{name: values}, **more)
    table = read_table(source)
    return table, fit_schema(table, ColumnRoles("task", ("x",), ("y",)))


def test_what_tasks_are_apart_is_taken_out_before_single_precision():
    """Cases 1 and 2: levels of 10^6 k with rows that differ by .01, and seconds since 1970."""
    task, row = np.divmod(np.arange(TASKS * ROWS), ROWS)
    start = np.array([1.6e9, 1.61e9, 1.62e9, 1.63e9, 1.66e9, 1.69e9])[task]
    table, schema = level_of("x", start + row)
    x = encoded(table, schema)
    assert x.shape[1] == 2
    own = x[:, 0].astype(np.float64) * schema.inputs[0].scale
    np.testing.assert_allclose(np.diff(own.reshape(TASKS, ROWS)), 1.0, rtol=1e-4)
    assert (np.ptp(x[:, 1].reshape(TASKS, ROWS), axis=1) == 0).all(), "the level is the task's"
    seen = schema.reference(read_table({"x": [1.7e9, 1.7e9 + 1, 1.7e9 + 2]}))
    asked = schema.encode_x(read_table({"x": 1.7e9 + np.array([0.0, 15.0, 16.0, 30.0])}), seen)[:, 0]
    np.testing.assert_allclose((asked - asked[0]) * schema.inputs[0].scale, [0, 15, 16, 30], rtol=1e-5)
    table, schema = level_of("y", 1e6 * task + 0.01 * row)
    y = schema.encode_y(table, schema._own(table, *schema.tasks(table)))
    np.testing.assert_allclose(np.diff(y.reshape(TASKS, ROWS)) * schema.scales, 0.01, rtol=1e-3)
    assert 0 not in table_tasks(table, schema).shots, "without a row of it, a task's level is not known"
    back = schema.decode_value(schema.encode_y(table.take(np.arange(40, 48)), {"y": 5e6}), {"y": 5e6})
    np.testing.assert_allclose(back[:, 0] - 5e6, 0.01 * np.arange(8), atol=1e-6)


def test_a_covariate_of_the_task_is_no_level():
    table, schema = level_of("x", np.repeat(np.arange(TASKS) * 1e6, ROWS))
    assert (schema.inputs[0].level, encoded(table, schema).shape[1]) == (None, 1)


@pytest.mark.parametrize("big", [9_200_000_000_000_000_000, 1_700_000_000_000_000])
def test_large_whole_numbers_keep_their_differences(big):
    steps = [7 * i % 11 for i in range(TASKS * ROWS)]
    for values in ([big + s for s in steps], [str(big + s) for s in steps]):
        table, schema = level_of("x", values)
        assert schema.inputs[0].raw(table).tolist() == steps
        np.testing.assert_allclose(encoded(table, schema)[:, 0], (np.array(steps) - np.mean(steps)) / np.std(steps), rtol=1e-5)


def test_numbers_that_no_precision_tells_apart_are_refused_by_name():
    with pytest.raises(InputError, match=r"'x' has different numbers that double precision does not tell apart: subtract a"):
        level_of("x", [f"17000000000000000.{i % 10}" if i % 10 < 6 else f"1700000000000000{i % 10}" for i in range(48)])
    with pytest.raises(InputError, match=r"'x' has numbers that differ by less than single precision tells apart"):
        level_of("x", np.resize([1.0, 2.0], 48) + np.arange(48) * 1e-10)


def test_tasks_of_one_row_tell_of_the_population_and_stop_nothing():
    n = TASKS * ROWS
    task = np.append([f"alone{i}" for i in range(40)], np.repeat(["a", "b"], ROWS // 2))
    table = read_table({"task": task, "x": np.arange(n), "y": np.arange(n) % 7})
    schema = fit_schema(table, ColumnRoles("task", ("x",), ("y",)))
    for selection, shots in (("random", (0, 1, 2, 3)), ("first", (0, 1, 2, 3))):
        tasks = table_tasks(table, schema, selection=selection)
        assert tasks.shots == shots, "half of the rows of longer tasks, whatever the number of tasks of one row"
        assert tasks.rows.mask.shape == (42, 4)
    longer = read_table({"task": [*task, "c", "c"], "x": np.arange(n + 2), "y": np.arange(n + 2) % 7})
    with pytest.warns(UserWarning, match=r"has 40 of 43 tasks with no more than 1 rows \('alone0', .*: they are left out"):
        left = table_tasks(longer, schema, shots=1)
    assert len(left.rows.mask) == 3


def test_a_table_without_an_input_is_encoded_as_one_that_never_changes():
    table = read_table(columns())
    schema = fit_schema(table, ColumnRoles("task", (), ("y",)))
    x, y = schema.encode(table)
    assert (x.shape, schema.width, set(x.ravel().tolist())) == ((TASKS * ROWS, 1), 1, {0.0})
    assert y.std() == pytest.approx(1)


DATES, TIMES = ["2024-03-01", "2024-03-02", "2024-03-05", "2024-03-09"], ["8:00", "9:30", "14:00", "15:15"]


@pytest.mark.parametrize("cells", [DATES, pytest.param(TIMES, marks=pytest.mark.costly)])
def test_a_prediction_is_drawn_over_dates_and_times(cells):
    table = {"task": np.repeat(np.arange(6), 4), "when": cells * 6, "y": np.sin(np.arange(24.0))}
    model = bmaml.FewShotRegressor("linear", steps=1, batch=2, shots=2).fit(table, "y", task="task", x="when")
    rows = new_rows(read_table({"when": cells, "y": [0.0, 1.0, None, None]}), model.schema_)
    (curve,) = prediction.curves(model, rows, 0.9)
    assert curve.x[0] == curve.given.x[0]
    assert (curve.x[1:] > curve.x[:-1]).all()
    assert as_svg(prediction.draw([curve], 0.9)).startswith(b"<?xml")
    mean = model.adapt([[cells[0]], [cells[1]]], [0.0, 1.0]).predict([[cells[3]]])
    np.testing.assert_allclose(curve.mean[-1, 0], np.ravel(mean)[0], rtol=1e-5)
