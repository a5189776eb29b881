"""Tables: reading, encoding and splitting."""

import gzip
import json

import numpy as np
import pytest

from bmaml.tables import ColumnRoles, Schema, fit_schema, read_table, split_tasks, table_tasks, task_rows

TEXT = "\n".join(
    ["patient,time,dose,drug,conc"] + [f"p{p},{t},{2.0**t},{'ab'[p % 2]},{10 * p + t}" for p in range(6) for t in (3, 1, 2, 4)]
)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text(TEXT)
    return read_table(tmp_path / "t.csv")


@pytest.fixture
def schema(table):
    return fit_schema(table, ColumnRoles("patient", ("time", "dose", "drug"), ("conc",), order="time", log=("dose",)))


def test_every_way_in_gives_the_same_table(tmp_path, table):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "t.tsv").write_text(TEXT.replace(",", "\t"))
    (tmp_path / "semicolon.csv").write_text("\ufeff" + TEXT.replace(",", ";"), encoding="utf-8")
    sources = [frame, {c: frame[c].to_numpy() for c in frame}, frame.astype({"drug": "category"})]
    for source in [*(tmp_path / n for n in ("t.parquet", "t.csv.gz", "t.tsv", "semicolon.csv")), *sources]:
        other = read_table(source)
        np.testing.assert_array_equal(other.numbers("conc"), table.numbers("conc"))
        assert other.texts("drug").tolist() == table.texts("drug").tolist()


def test_places_are_lines_of_the_file_even_after_blank_and_quoted_lines(tmp_path):
    (tmp_path / "t.csv").write_text('task,note\n\na,"two\nlines"\nb,x\n')
    table = read_table(tmp_path / "t.csv")
    assert [table.place(i) for i in (0, 1)] == ["line 3", "line 5"]
    assert table.take(np.array([1])).place(0) == "line 5"


def test_integers_and_floats_name_the_same_task():
    assert read_table({"task": np.array([1.0, 2.0])}).texts("task").tolist() == ["1", "2"]


def test_encoding_is_standardised_and_one_hot(table, schema):
    x, y = schema.encode(table)
    assert x.shape == (24, 4)
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(x[:, :2].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(x[:, :2].std(0), 1, atol=1e-6)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-6)
    # dose is 2^time, so its log is time once both are standardised.
    np.testing.assert_allclose(x[:, 0], x[:, 1], atol=1e-6)
    np.testing.assert_array_equal(x[:, 2:].argmax(1), [p % 2 for p in range(6) for _ in range(4)])


def test_decoding_undoes_encoding(table, schema):
    y = schema.encode_y(table)
    np.testing.assert_allclose(schema.decode_value(y)[:, 0], table.numbers("conc"), atol=1e-4)
    np.testing.assert_allclose(schema.decode_std(np.ones(1)), table.numbers("conc").std())
    # A density integrates to one in the table's units: a uniform one of width 1 has width `scale` there.
    np.testing.assert_allclose(np.exp(schema.decode_log_prob(0.0)) * schema.scales[0], 1.0)


def test_unknown_level_is_all_zeros_and_said_once(table, schema):
    new = read_table({"time": [1.0, 2.0], "dose": [1.0, 1.0], "drug": ["z", "a"]})
    with pytest.warns(UserWarning, match="'z'") as caught:
        x = schema.encode_x(new)
    assert len(caught) == 1
    np.testing.assert_array_equal(x[:, 2:], [[0, 0], [1, 0]])


def test_schema_survives_json(schema):
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_several_outputs(table):
    schema = fit_schema(table, ColumnRoles("patient", ("time",), ("conc", "dose")))
    assert schema.encode_y(table).shape == (24, 2)
    assert table_tasks(table, schema).outputs == 2


def test_rows_of_a_task_are_ordered(table, schema):
    times = table.numbers("time")
    for rows in task_rows(table, schema).values():
        assert times[rows].tolist() == [1, 2, 3, 4]
    assert list(task_rows(table, schema)) == [f"p{p}" for p in range(6)]


def test_tasks_are_ragged_padded_and_in_order(tmp_path, schema):
    (tmp_path / "short.csv").write_text("\n".join(TEXT.splitlines()[:-2]))
    table = read_table(tmp_path / "short.csv")
    tasks = table_tasks(table, schema, shots=(1, 2), selection="first")
    assert tasks.rows.mask.sum(1).tolist() == [4, 4, 4, 4, 4, 2]
    first = schema.decode_value(tasks.rows.y[0])[:, 0]
    np.testing.assert_allclose(first, [1, 2, 3, 4], atol=1e-4)


def test_long_tasks_are_thinned_and_a_forecast_keeps_its_first_rows():
    n = 5000
    source = {"task": np.repeat(["a", "b", "c"], n), "t": np.tile(np.arange(n), 3), "y": np.tile(np.arange(n), 3)}
    table = read_table(source)
    schema = fit_schema(table, ColumnRoles("task", ("t",), ("y",), order="t"))
    said = r"3 tasks of more than 512 rows: 512 rows of each are used, spread evenly \(1,536 of all 15,000 rows\)"
    with pytest.warns(UserWarning, match=said):
        rows = table_tasks(table, schema, shots=(3, 5), selection="first").rows
    y = schema.decode_value(rows.y[0])[:, 0]
    assert len(y) == 512
    np.testing.assert_allclose(y[:6], np.arange(6), atol=1e-2)
    np.testing.assert_allclose(y[-1], n - 1, atol=1e-2)


def test_split_is_by_task_deterministic_and_blind_to_row_order():
    groups = np.repeat([f"t{i}" for i in range(40)], 5)
    parts = split_tasks(groups, seed=1)
    assert np.sum(parts, 0).tolist() == [1] * 200
    sets = [set(groups[part]) for part in parts]
    assert [len(s) for s in sets] == [28, 6, 6]
    order = np.random.default_rng(0).permutation(200)
    again = [set(groups[order][part]) for part in split_tasks(groups[order], seed=1)]
    assert again == sets
    assert [set(groups[part]) for part in split_tasks(groups, seed=2)] != sets


def test_split_by_a_coarser_column_keeps_its_labels_together():
    groups = np.repeat([f"t{i}" for i in range(40)], 5)
    by = np.repeat([f"d{i // 4}" for i in range(40)], 5)
    train, validation, test = split_tasks(groups, by=by)
    for one, other in ((train, validation), (train, test), (validation, test)):
        assert not set(by[one]) & set(by[other])


def test_a_share_of_zero_takes_nothing():
    assert split_tasks(np.array(["a", "b", "c", "d"]), (0.5, 0.0, 0.5))[1].sum() == 0


def test_a_forecast_is_asked_of_every_later_row_up_to_a_limit(table, schema):
    assert table_tasks(table, schema, selection="first").queries == 3
    assert table_tasks(table, schema, selection="first", queries=2).queries == 2
