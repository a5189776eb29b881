"""Every bad table is refused with one sentence that names the place."""

import gzip
import os
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from cases import is_one_sentence, sentence

from bmaml.errors import InputError
from bmaml.estimators.suggestions import Wish, _costs
from bmaml.tables import ColumnRoles, fit_schema, read_table, split_tasks, table_tasks

GOOD = [["task", "x", "kind", "y"]] + [[f"t{i}", str(j), "ab"[j % 2], str(i * j + j)] for i in range(4) for j in range(5)]


def _text(rows):
    return "\n".join(",".join(row) for row in rows) + "\n"


def _changed(line, column, value):
    rows = [list(row) for row in GOOD]
    rows[line - 1][column] = value
    return _text(rows)


def _use(path, *, x=("x", "kind"), y=("y",), task="task", shots=None, **options):
    table = read_table(path)
    x, y = tuple(x), tuple(y)
    return table_tasks(table, fit_schema(table, ColumnRoles(task, x, y, **options)), shots=shots)


def _refused(words, action, *arguments, **options):
    with pytest.raises(InputError) as caught:
        action(*arguments, **options)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert is_one_sentence(message), message


CONTENTS = {
    "empty file": ("", ["bad.csv is empty"]),
    "header only": ("task,x,kind,y\n", ["header and no rows"]),
    "duplicate headers": ("task,x,x,y\n1,2,3,4\n", ["2 columns named 'x'"]),
    "ragged row": (_text(GOOD) + "t9,1,a\n", ["line 22 has 3 cells", "4 columns"]),
    "non-numeric cell": (_changed(7, 1, "tall"), ["bad.csv, line 7, column 'x' is 'tall'", "not a number"]),
    "decimal comma": (
        _text([GOOD[0], *([t, x + ".5", k, y] for t, x, k, y in GOOD[1:])]).replace("t1,0.5", 't1,"0,5"'),
        ["line 7", "'0,5'", "a decimal point"],
    ),
    "huge numbers": (
        _text([GOOD[0], *([t, x + "e200", k, y] for t, x, k, y in GOOD[1:])]),
        ["column 'x' has numbers up to 4e+200", "unit"],
    ),
    "tiny numbers": (
        _text([GOOD[0], *([t, x, k, y + "e-200"] for t, x, k, y in GOOD[1:])]),
        ["column 'y' has numbers up to", "unit"],
    ),
    "digit separator": (_changed(7, 1, "1_0"), ["line 7", "'1_0'", "not a number"]),
    "missing value": (_changed(9, 3, "NA"), ["line 9, column 'y' is 'NA'"]),
    "NaN": (_changed(9, 3, "nan"), ["line 9, column 'y' is 'nan'"]),
    "inf": (_changed(9, 1, "inf"), ["line 9, column 'x' is 'inf'", "finite"]),
    "empty column": (_text([r if i == 0 else [r[0], "", *r[2:]] for i, r in enumerate(GOOD)]), ["'x' is empty in every row"]),
    "empty task": (_changed(5, 0, ""), ["line 5, column 'task' is empty"]),
    "tasks of one row": (_text([r if i == 0 else [f"t{i}", *r[1:]] for i, r in enumerate(GOOD)]), ["one row in every task"]),
    "constant output": (_text([r if i == 0 else [*r[:3], "3.1"] for i, r in enumerate(GOOD)]), ["'y' is 3.1 in every"]),
    "two tasks": (_text(GOOD[:11]), ["2 tasks", "'t0', 't1'", "at least 3"]),
    "category as id": (
        _text([r if i == 0 else [*r[:2], f"id{i}", r[3]] for i, r in enumerate(GOOD)]),
        ["column 'kind' has 20 levels in 20 rows", "id"],
    ),
    "category as task": (
        _text([r if i == 0 else [*r[:2], "name-" + r[0], r[3]] for i, r in enumerate(GOOD)]),
        ["column 'kind'", "one for each task"],
    ),
    "a quote never closed": (_text(GOOD) + 't9,1,"a,2\n', ["line 22 has 3 cells"]),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_bad_contents(tmp_path, name):
    content, words = CONTENTS[name]
    (tmp_path / "bad.csv").write_text(content)
    _refused(words, _use, tmp_path / "bad.csv")


@pytest.fixture
def good(tmp_path):
    (tmp_path / "good.csv").write_text(_text(GOOD))
    return tmp_path / "good.csv"


OPTIONS = {
    "missing column": ({"x": ["kid"]}, ["no column 'kid'", "did you mean 'kind'", "'task', 'x', 'kind', 'y'"]),
    "missing task column": ({"task": "patient"}, ["no column 'patient'"]),
    "missing order column": ({"order": "when"}, ["no column 'when'"]),
    "order that is text": ({"order": "kind"}, ["line 2, column 'kind' is 'a'"]),
    "no outputs": ({"y": []}, ["no output column"]),
    "option of a column that is no input": ({"x": ["x"], "log": ("y",)}, ["'y' has an option", "add it to x"]),
    "log of zero": ({"log": ("x",)}, ["line 2, column 'x' is 0", "logarithm"]),
    "log of a category": ({"log": ("kind",), "categorical": ("kind",)}, ["'kind'", "choose one"]),
    "text as output": ({"x": ["x"], "y": ["kind"]}, ["line 2, column 'kind' is 'a'", "not a number"]),
    "shots as large as a task": ({"shots": 5}, ["no task of more than 5 rows", "at most 4 shots"]),
    "shots past every task": ({"shots": [1, 5]}, ["no task of over 5 rows"]),
    "negative shots": ({"shots": -1}, ["shots is -1"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options(good, name):
    options, words = OPTIONS[name]
    _refused(words, _use, good, **options)


SINGLE = ("order", "exposure", "error", "weight", "trials", "upper")


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in ("task", "x", "y", *SINGLE[1:]) for b in ("x", "y", *SINGLE)])
def test_a_column_has_one_role(first, second):
    """An order may be that of an input, and of what else is known of a row, but tells nothing by task or outcome."""
    given = {"task": ("t",), "x": ("a",), "y": ("b",)}
    for role in (first, second):
        given[role] = "same" if role in SINGLE else (*given[role], "same")
    if second == "order" and first not in ("task", "y", "upper"):
        ColumnRoles(**given)
        return
    if first == second and first in SINGLE:
        return  # One option, given once.
    with pytest.raises(InputError) as caught:
        ColumnRoles(**given)
    one = rf"--({first}|{second})"
    said = rf"{one} names the column 'same' twice:" if first == second else rf"{one} and {one} both name the column 'same',"
    assert re.match(said, caught.value.typed)
    assert is_one_sentence(str(caught.value))
    assert str(caught.value) == caught.value.typed.replace("--", "")


def test_files_that_are_no_tables(tmp_path, good):
    (tmp_path / "t.xlsx").write_text("x")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    (tmp_path / "zeros.csv").write_bytes(b"\0" * 64)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(good.read_bytes())[:-20])
    (tmp_path / "plain.csv.gz").write_bytes(good.read_bytes())
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    _refused(["no file", "nowhere.csv"], read_table, tmp_path / "nowhere.csv")
    _refused(["is not a file"], read_table, tmp_path)
    _refused(["t.xlsx", "extension", ".csv"], read_table, tmp_path / "t.xlsx")
    _refused(["binary.csv", "not UTF-8"], read_table, tmp_path / "binary.csv")
    _refused(["zeros.csv", "binary"], read_table, tmp_path / "zeros.csv")
    _refused(["cut.csv.gz", "damaged"], read_table, tmp_path / "cut.csv.gz")
    _refused(["plain.csv.gz", "not gzip"], read_table, tmp_path / "plain.csv.gz")
    _refused(["t.parquet", "not a readable Parquet"], read_table, tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet"])
def test_damaged_archives_are_refused_or_read(tmp_path, good, name):
    path, rng, refusals = tmp_path / name, np.random.default_rng(0), 0
    if name.endswith("gz"):
        path.write_bytes(gzip.compress(good.read_bytes()))
    else:
        table = pyarrow.table(dict(zip(GOOD[0], zip(*GOOD[1:], strict=True), strict=True)))
        pyarrow.parquet.write_table(table, path)
    content = path.read_bytes()
    for _ in range(60):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=8):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        refusals += sentence(lambda: read_table(path)) is not None
    assert refusals > 20


def test_text_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    with gzip.open(tmp_path / "many.csv.gz", "wb") as file:
        file.write(b"task,x,y\n" + b"a,1,2\n" * 1000)
    monkeypatch.setattr("bmaml.tables.text_files.free_memory", lambda: 1000)
    _refused(["many.csv.gz holds over 250 bytes", "give a part"], read_table, tmp_path / "many.csv.gz")


def test_a_table_whose_name_is_no_text_is_read(tmp_path, good):
    path = tmp_path / os.fsdecode(b"\xff.csv")
    path.write_bytes(good.read_bytes())
    assert len(read_table(path)) == len(GOOD) - 1
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "p.parquet")
    (tmp_path / "p.parquet").rename(path.with_suffix(".parquet"))
    assert len(read_table(path.with_suffix(".parquet"))) == 1


@pytest.mark.unchecked
def test_bad_tables_in_memory():
    _refused(["int", "give a path"], read_table, 3)
    _refused(["columns of 2 and of 3 rows"], read_table, {"a": [1, 2], "b": [1, 2, 3]})
    _refused(["'a' has shape (2, 2)"], read_table, {"a": np.zeros((2, 2))})
    table = read_table({"a": [1.0, 2.0, float("nan")], "b": np.array(["x", None, "y"], dtype=object)})
    _refused(["row 2 (counted from 0), column 'a'"], table.numbers, "a")
    _refused(["row 1 (counted from 0), column 'b'"], table.texts, "b")


def test_dates_do_not_pass_for_numbers():
    table = read_table({"when": np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]")})
    assert not table.is_numeric("when")
    _refused(["'2020-01-01", "not a number"], table.numbers, "when")


def test_splits_that_cannot_be():
    _refused(["2 tasks", "at least 3"], split_tasks, ["a", "b", "a"])
    _refused(["add to 1"], split_tasks, ["a", "b", "c"], (0.5, 0.2, 0.2))
    _refused(["task 'a'", "several labels"], split_tasks, ["a", "a", "b", "c"], by=["1", "2", "1", "3"])
    _refused(["groups to split by"], split_tasks, ["a", "b", "c"], by=["1", "2", "1"])


def test_an_outcome_is_not_what_its_measurement_costs():
    with pytest.raises(InputError, match="'conc' is the outcome and is named as the cost: name the column with what"):
        Wish("variance", costs="conc").check(["conc"], 3, 1)


@pytest.mark.parametrize("costs", ["price", [1.0, 0.0, 2.0]])
def test_a_cost_that_divides_by_nothing_is_named_by_its_row(costs):
    with pytest.raises(InputError) as caught:
        _costs(read_table({"price": [1.0, 0.0, 2.0]}), costs)
    where = "the table, row 1 (counted from 0), column 'price'" if costs == "price" else "cost number 1 (counted from 0)"
    assert str(caught.value) == f"{where} is 0: give a cost above 0, since worth is divided by it."
