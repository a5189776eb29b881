"""Dirty tables: whatever stands in a file or a frame, it is encoded and said, or refused by one sentence."""

import csv
import io
import json
import warnings

import numpy as np
import pyarrow as pa
from hypothesis import event, given
from hypothesis import strategies as st
from verdict import Refused, judged

from bmaml.likelihoods import FAMILIES, NORMAL
from bmaml.tables import ColumnRoles, Schema, fit_schema, measured, read_table, table_tasks, task_rows
from bmaml.tables.new import new_tasks

BLANKS = ["", "NA", "nan", " ", "null", "?"]
DAYS = ["2024-03-01", "01/03/2024", "13/04/2024", "04/13/2024", "1.3.2024", "3 Mar 2024", "2024-03-01T10:30Z", "03/04/24"]
ODD = ["tall", "1_0", "0x1f", "inf", "-inf", "1e400", "1,5", "1,234", "1.234,5", "é", "e\u0301", "a,b", 'q"q', "two\nlines"]
WORDS = ["a", "b", "A", "1", "1.0", "007", "true", "FALSE", "Ünï", "x / y"]
HUGE = [9.2e18, 1.7e15, 1e8, -1e30, 1e-30, 1e200, 5e-324, 2.0**53]


def kinds():
    """One kind of cell."""
    small, wide = st.floats(-10, 10), st.floats(allow_nan=True, allow_infinity=True)
    big = st.sampled_from(HUGE).flatmap(lambda size: st.just(st.integers(0, 9).map(lambda step: size + step)))
    plain = [
        small.map(lambda v: round(v, 2)),
        small,
        st.integers(-3, 3),
        st.integers(2**62, 2**62 + 50),
        st.integers(2**62, 2**64),
        st.sampled_from(DAYS[:1] + [f"2024-03-{day}" for day in range(10, 20)]),
        st.sampled_from([f"{day}/04/2024" for day in range(10, 20)]),
        st.sampled_from(DAYS),
        st.sampled_from(["14:30", "9:15", "2:30 pm", "25:00", "14:30:01.5"]),
        st.sampled_from(["true", "false", "True"]),
        st.sampled_from(["<0.1", "> 3", "0.1..0.5", "2.5", "\u22641", "<=2", "0.4"]),
        st.sampled_from(WORDS),
        st.booleans(),
        st.text(max_size=4),
        wide,
    ]
    return st.one_of(st.sampled_from(plain), big)


@st.composite
def cells(draw, rows):
    """One column's cells: all of a kind, or with a few blanks, or with a few that do not fit."""
    column = draw(st.lists(draw(kinds()), min_size=rows, max_size=rows))
    dirt = draw(st.sampled_from([[], [], BLANKS, [None], ODD]))
    for place in draw(st.sets(st.integers(0, rows - 1), max_size=3)) if dirt else ():
        column[place] = draw(st.sampled_from(dirt))
    return column


@st.composite
def tables(draw):
    """A source that `read_table` takes, and its columns' names."""
    rows = draw(st.integers(6, 30))
    names = ["task", "x", "z", "y"]
    columns: dict[str, list] = {"x": draw(cells(rows)), "z": draw(cells(rows))}
    columns["task"] = [f"t{i % 3}" for i in range(rows)] if draw(st.integers(0, 4)) else draw(cells(rows))
    columns["y"] = [float(i % 7) for i in range(rows)] if draw(st.integers(0, 2)) else draw(cells(rows))
    if draw(st.integers(0, 4)) == 0:
        columns["x"] = [1e9 * (i % 3) + 1e-3 * i for i in range(rows)]  # tasks that differ far more than their rows
    form = draw(st.sampled_from([",", ";", "\t", "dict", "arrow"]))
    if form == "dict":
        return columns
    if form == "arrow":
        return judged(lambda: read_table(columns), lambda _: None)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=form, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(names)
    writer.writerows(zip(*(["" if cell is None else cell for cell in columns[n]] for n in names), strict=True))
    return text.getvalue().encode("utf-8", "replace")


def encode(source, family, side):
    """All that happens to a table before and after training, without the training. The column z may be a `side` input."""
    sides = {} if side is None else {side: "z"}
    table = measured(read_table(source), ["y"], upper=sides.get("upper"))
    schema = fit_schema(table, ColumnRoles("task", ("x",) if sides else ("x", "z"), ("y",), family=family, **sides))
    tasks = table_tasks(table, schema, shots=(0, 1))
    return table, schema, tasks


def keeps(answer):
    """Numbers are finite, of the width that the schema says, and go back to what the table says."""
    table, schema, tasks = answer
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    x, y = schema.encode(table)
    assert x.shape == (len(table), schema.width)
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    assert int(tasks.rows.mask.sum()) == len(table)
    assert sorted(np.concatenate(list(task_rows(table, schema).values())).tolist()) == list(range(len(table)))
    own = schema.reference(table)
    known = schema.decode_value(schema.encode_y(table, own), own)
    spread = max(schema.scales[0], abs(schema.means[0]) * 1e-6)
    np.testing.assert_allclose(known, schema.targets(table), atol=1e-3 * spread * np.abs(y).max())
    for task in new_tasks(table, schema):
        seen = schema.reference(task.given)
        assert np.isfinite(schema.encode_x(task.given, seen)).all()


SIDES = [None, None, "exposure", "error", "weight", "trials", "upper"]


@given(source=tables(), family=st.sampled_from([NORMAL.name, None, *FAMILIES]), side=st.sampled_from(SIDES))
def test_a_dirty_table_is_encoded_and_said_or_refused(tmp_path_factory, source, family, side):
    if isinstance(source, Refused):
        return
    if isinstance(source, bytes):
        path = tmp_path_factory.mktemp("dirty") / "t.csv"
        path.write_bytes(source)
        source = path
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        answer = judged(lambda: encode(source, family, side), keeps)
    assert all(warning.category is UserWarning for warning in said), [str(warning.message) for warning in said]
    event("refused" if isinstance(answer, Refused) else "encoded")
    if isinstance(answer, Refused):
        return
    table, schema, _ = answer
    empty = [column.name for column in schema.inputs if table.empty(column.name).any()]
    for name in empty:
        assert any(repr(name) in str(warning.message) for warning in said), f"{name!r} has empty cells, and no warning names it"


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=20, unique=True))
def test_whole_numbers_that_differ_are_told_apart_or_refused(values):
    source = {"task": ["a", "b"] * len(values), "x": pa.array([v for v in values for _ in "ab"], pa.uint64())}
    source["y"] = list(range(2 * len(values)))

    def differ(answer):
        table, schema = answer
        assert len(np.unique(schema.inputs[0].raw(table))) == len(values)

    def fitted():
        table = read_table(source)
        return table, fit_schema(table, ColumnRoles("task", ("x",), ("y",)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        judged(fitted, differ)
