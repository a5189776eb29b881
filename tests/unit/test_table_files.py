"""Files as people have them: other marks, other encodings of nothing, other libraries' columns."""

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from bmaml.errors import InputError
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.tables import read_table
from bmaml.tables.limits import with_limits
from bmaml.tables.table import Reading


def table_of(tmp_path, text, reading=None, name="t.csv"):
    (tmp_path / name).write_text(text)
    return read_table(tmp_path / name, reading=reading)


def test_the_mark_between_cells_is_the_one_that_all_lines_agree_on(tmp_path):
    table = table_of(tmp_path, "patient;time (h, since dose);conc\n1;0.5;3,2\n2;1.5;4,25\n")
    assert list(table.columns) == ["patient", "time (h, since dose)", "conc"]
    assert table.numbers("conc").tolist() == [3.2, 4.25]
    assert table.numbers("time (h, since dose)").tolist() == [0.5, 1.5]
    assert table.notes == ("cells are separated by semicolons", "a comma marks decimals in 'conc'")
    assert list(table_of(tmp_path, "a|b\n1|2\n").columns) == ["a", "b"]
    assert list(table_of(tmp_path, 'a,"b;c"\n1,2\n').columns) == ["a", "b;c"]


def test_a_comma_that_could_mark_thousands_is_asked_about(tmp_path):
    text = "task;y\na;1,234\nb;5,678\n"
    with pytest.raises(InputError, match=r"'1,234', whose comma could mark decimals or thousands: give --decimal"):
        table_of(tmp_path, text).numbers("y")
    assert table_of(tmp_path, text, Reading(decimal=",")).numbers("y").tolist() == [1.234, 5.678]
    assert table_of(tmp_path, text, Reading(decimal=".")).numbers("y").tolist() == [1234, 5678]
    quoted = 'task,y\na,"1,234"\nb,"5,678"\n'
    with pytest.raises(InputError, match=r"'1,234', whose comma could mark decimals or thousands: give --decimal"):
        table_of(tmp_path, quoted).numbers("y")
    assert table_of(tmp_path, quoted, Reading(decimal=".")).numbers("y").tolist() == [1234, 5678]
    assert table_of(tmp_path, 'task,y\na,"1,5"\nb,"2,25"\n').numbers("y").tolist() == [1.5, 2.25]
    with pytest.raises(InputError, match=r"line 3, column 'y' is '1\.5', which is not a number"):
        table_of(tmp_path, "task;y\na;0,5\nb;1.5\n").numbers("y")


def test_a_mark_that_was_given_leaves_the_other_one_to_thousands(tmp_path):
    text = "task;y\na;1.234,5\nb;<2.000\nc;3\n"
    values, reach = table_of(tmp_path, text, Reading(decimal=",")).limits("y")
    assert (values.tolist(), reach.tolist()) == ([1234.5, 2000, 3], [0, -np.inf, 0])
    for mark, cell in ((".", "1,000..2,000"), (",", "1.000..2.000")):
        values, reach = table_of(tmp_path, f"task;y\na;{cell}\nb;3\n", Reading(decimal=mark)).limits("y")
        assert (values.tolist(), reach.tolist()) == ([1000, 3], [1000, 0])
    with pytest.raises(InputError, match=r"line 2, column 'y' is '12,34', which is not a number"):
        table_of(tmp_path, 'task,y\na,"12,34"\n', Reading(decimal=".")).numbers("y")


@pytest.mark.parametrize(
    "note",
    [
        lambda row: '"bad sensor' if row == 9 else "ok",
        lambda row: '"' if row in (9, 30) else "ok",
    ],
)
def test_a_quote_that_swallows_rows_is_named(tmp_path, note):
    text = "p,x,y,note\n" + "".join(f"p{i % 4},{i},{i / 2},{note(i)}\n" for i in range(48))
    with pytest.raises(InputError, match=r"line 11 has a quote that is closed lines below, with whole rows in between"):
        table_of(tmp_path, text)


def test_a_cell_in_quotes_may_have_lines_and_commas(tmp_path):
    table = table_of(tmp_path, 'p,x,note\na,1,"one, two\nthree, four"\nb,2,"5"" pipe"\n')
    assert table.shown("note") == ["one, two\nthree, four", '5" pipe']


def test_what_is_missing_in_a_column_of_objects_is_no_text():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    cells = [1, "a", float("nan"), "b", None, pandas.NA, pandas.NaT]
    for reading in (Reading(), Reading(missing=("-999",)), Reading(columns={"x": ()})):
        table = read_table(pandas.DataFrame({"x": pandas.Series(cells, dtype=object)}), reading=reading)
        assert table.empty("x").tolist() == [False, False, True, False, True, True, True]
    assert read_table({"x": polars.Series([1, "a", 2.5], dtype=polars.Object)}).shown("x") == ["1", "a", "2.5"]


def test_the_minus_sign_of_word_processors_is_a_minus(tmp_path):
    assert table_of(tmp_path, "task,y\na,\u22121.5\nb,2\n").numbers("y").tolist() == [-1.5, 2]
    assert table_of(tmp_path, "task;y\na;\u22121,5\nb;2\n").numbers("y").tolist() == [-1.5, 2]


def test_a_period_of_pandas_is_the_day_that_it_starts_on():
    pandas = pytest.importorskip("pandas")
    periods = pandas.Series(pandas.period_range("2024-03", periods=2, freq="M"))
    for column in (periods, periods.array):
        texts = read_table({"when": column}).texts("when")
        assert [text[:10] for text in texts] == ["2024-03-01", "2024-04-01"]


def test_what_means_missing_can_be_said_for_all_columns_or_for_one(tmp_path):
    text = "country,x\nNA,1\nDE,-999\n"
    with pytest.raises(
        InputError, match=r"line 2, column 'country' is 'NA': fill it in, remove the row, or give --na-values country= "
    ):
        table_of(tmp_path, text).texts("country")
    table = table_of(tmp_path, text, Reading(missing=("-999",)))
    assert table.texts("country").tolist() == ["NA", "DE"]
    assert table.empty("x").tolist() == [False, True]
    table = table_of(tmp_path, "country,x\nNA,NA\nDE,2\n", Reading(columns={"country": ()}))
    assert (table.texts("country").tolist(), table.empty("x").tolist()) == (["NA", "DE"], [True, False])
    assert Reading.from_json(table.reading.to_json()) == table.reading


def test_spellings_of_one_label_are_one_label():
    table = read_table({"task": ["1", "1.0", "cafe\u0301", "caf\u00e9", "1.50", "007"]})
    assert table.texts("task").tolist() == ["1", "1", "caf\u00e9", "caf\u00e9", "1.50", "007"]
    assert table.spellings("task") == {"1": ["1", "1.0"], "caf\u00e9": ["cafe\u0301", "caf\u00e9"]}


def test_columns_of_other_libraries():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    masked = np.ma.MaskedArray([1.0, 2.0], [False, True])
    day = datetime.datetime(2024, 3, 1, 14, 30)
    sources = [
        {"n": masked, "s": ["a", None], "d": np.array(["2024-03-01T14:30", "NaT"], "datetime64[ns]")},
        pandas.DataFrame(
            {"n": pandas.array([1, None], "Int64"), "s": pandas.Categorical(["a", None]), "d": pandas.to_datetime([day, None])}
        ),
        polars.DataFrame({"n": [1, None], "s": ["a", None], "d": [day, None]}, schema_overrides={"s": polars.Categorical}),
        pa.table({"n": [1, None], "s": ["a", None], "d": [day, None]}),
        pandas.DataFrame({"n": [1.0, None], "s": ["a", None], "d": [day, None]}, dtype=object),
    ]
    for source in sources:
        table = read_table(source)
        for name in table.columns:
            assert table.empty(name).tolist() == [False, True], (type(source), name)
        assert table.numbers("n", missing=True)[0] == 1.0
        assert table.coded("s", missing=True)[1] == ["a"]
        assert table.shown("d")[0].startswith("2024-03-01 14:30")


def test_whole_numbers_keep_every_digit():
    table = read_table({"task": pa.array([2**63 + 1, None], pa.uint64()), "f": np.array([1e15, np.nan])})
    assert table.shown("task") == [str(2**63 + 1), ""]
    assert table.coded("f", missing=True)[1] == ["1000000000000000"]


def test_columns_that_hold_no_single_value_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"column 'a' holds lists or records"):
        read_table({"a": pa.array([[1], [2]])})
    with pytest.raises(InputError, match=r"column 'a' holds complex numbers"):
        read_table({"a": np.array([1j])})
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pyarrow.parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"2 columns named 'a'"):
        read_table(tmp_path / "t.parquet")


def test_blank_lines_do_not_move_the_line_that_a_message_names(tmp_path):
    table = table_of(tmp_path, 'task,y\n\n"a\n",1\n  \n,\nb,tall\n')
    assert len(table) == 2
    with pytest.raises(InputError, match=r"line 7, column 'y' is 'tall'"):
        table.numbers("y")


@pytest.mark.parametrize("above", ["", "\n", "   \n", ";;\n\n", '"";""\n'])
def test_the_header_is_the_first_line_that_is_not_blank(tmp_path, above):
    table = table_of(tmp_path, above + "task;x\n007;1,5\n\n1e5;tall\n")
    assert (table.shown("task"), table.shown("x")) == (["007", "1e5"], ["1,5", "tall"])
    assert table.place(1) == f"line {4 + above.count(chr(10))}"


def test_a_header_may_be_longer_than_the_part_that_is_looked_at_first(tmp_path):
    names = [f"gene of number {i:06d}" for i in range(4000)]
    table = table_of(tmp_path, ",".join(names) + "\n" + ",".join(["1"] * 4000) + "\n")
    assert list(table.columns) == names
    with pytest.raises(InputError, match="a header and no rows"):
        table_of(tmp_path, ",".join(names) + "\n")


def test_old_ends_of_lines_are_ends_of_lines(tmp_path):
    assert table_of(tmp_path, "task,x\ra,1\rb,2\r").shown("x") == ["1", "2"]


def test_a_number_that_means_missing_does_so_however_it_is_kept():
    reading = Reading(missing=("-999", "na"))
    for cells in (["1.5", "-999", "-999.0", "NA"], [1.5, -999.0, -999, np.nan], pa.array([1, -999, -999, None])):
        table = read_table({"x": cells}, reading=reading)
        assert table.empty("x").tolist() == [False, True, True, True]
        assert np.isnan(table.numbers("x", missing=True)).tolist() == [False, True, True, True]
        assert len(table.coded("x", missing=True)[1]) == 1
    assert read_table({"x": [-999, 1]}).numbers("x").tolist() == [-999, 1]


def test_typed_columns_keep_ids_apart_and_nothing_missing():
    ids = [decimal.Decimal(2**53), decimal.Decimal(2**53 + 1), decimal.Decimal(10**30 + 1)]
    columns = {
        "number": pa.array(ids[:2], pa.decimal128(38, 0)),
        "long": pa.array(ids[1:], pa.decimal128(38, 0)),
        "uuid": pa.array([uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes], pa.uuid()),
        "bytes": pa.array([b"\xff", b"\xfe"]),
        "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
    }
    table = read_table(pa.table(columns))
    for name in columns:
        assert len(table.coded(name)[1]) == 2, name
    assert table.texts("long").tolist() == [str(2**53 + 1), str(10**30 + 1)]
    assert table.texts("uuid")[1] == str(uuid.UUID(int=2))
    table = read_table({"b": pa.array([b"1.5", b"", b"NA"]), "n": [1.0, np.nan, 2.0]})
    assert table.empty("b").tolist() == [False, True, True]
    assert table.shown("n") == ["1", "", "2"]
    with pytest.raises(InputError, match=r"column 'a' holds values of the type month_day_nano_interval: give numbers"):
        read_table({"a": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})


def test_limits_may_have_commas_in_front_of_decimals(tmp_path):
    values, reach = table_of(tmp_path, "task;y\na;<0,1\nb;5\nc;0,1..0,35\n").limits("y")
    assert (values.tolist(), reach.tolist()) == ([0.1, 5.0, 0.1], [-np.inf, 0.0, pytest.approx(0.25)])
    ends = with_limits(table_of(tmp_path, "low;high\n0,5;0,5\n;0,1\n0,2;\n0,1;0,35\n"), "low", "high")
    values, reach = ends.limits("low")
    assert values.tolist() == [0.5, 0.1, 0.2, 0.1]
    assert reach.tolist() == [0.0, -np.inf, np.inf, pytest.approx(0.25)]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_of_any_precision_are_written_as_people_read_them(tmp_path, kind):
    cells = np.array([0.1, -2.5, np.nan, 3], kind)
    pyarrow.parquet.write_table(pa.table({"x": cells}), tmp_path / "t.parquet")
    for table in (read_table(tmp_path / "t.parquet"), read_table({"x": cells})):
        assert table.shown("x") == ["0.1", "-2.5", "", "3"]
        assert table.coded("x", missing=True)[1] == ["0.1", "-2.5", "3"]


@pytest.mark.unchecked
def test_frames_as_practitioners_have_them():
    """Groups that pandas cut, in their order; a frame that is still to be computed, and a name that is a number."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    cut = pandas.cut(pandas.Series([0.5, 1.5, np.nan, 2.5, 0.7]), [0, 1, 2, 3])
    for cells in (cut, cut.array):
        table = read_table({"x": cells})
        assert table.shown("x") == ["(0, 1]", "(1, 2]", "", "(2, 3]", "(0, 1]"]
        assert table.column("x").type.ordered
    with pytest.raises(InputError, match=r"is a LazyFrame, .* give it after collect"):
        read_table(polars.DataFrame({"x": [1, 2]}).lazy())
    with pytest.raises(InputError, match=r"y of ColumnRoles is \(1,\): give a list of texts"):
        FewShotRegressor("mixed-model").fit(pandas.DataFrame({0: [1.0], 1: [2.0], "task": ["a"]}), task="task", x=["0"], y=1)
