"""Whole tasks drawn from a table that may be larger than memory."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from bmaml.errors import InputError
from bmaml.tables import read, read_sample, read_table, sampled


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file of 900 rows of 300 tasks in an order at random, which is read in pieces of 64 rows."""
    monkeypatch.setattr(sampled, "_AT_ONCE", 64)
    rows = np.random.default_rng(0).permutation(900)
    task = pa.array([f"t{row // 3}" for row in rows]).dictionary_encode()
    pyarrow.parquet.write_table(pa.table({"task": task, "x": rows.astype(float)}), tmp_path / "t.parquet", row_group_size=100)
    return tmp_path / "t.parquet"


def tasks_of(table):
    codes, names = table.coded("task")
    return {name: sorted(table.numbers("x")[codes == code]) for code, name in enumerate(names)}


def test_every_task_that_is_drawn_is_whole_and_rows_keep_their_places(path):
    every, some = read_table(path), read_sample(path, "task", 300)
    assert 200 < len(some) < 400
    own, whole = tasks_of(some), tasks_of(every)
    assert own == {name: whole[name] for name in own}
    for row in (0, len(some) - 1):
        assert every.numbers("x")[some.places[row]] == some.numbers("x")[row]
    assert f"{len(some)} of 900 rows: whole tasks, drawn at random" in some.notes
    assert set(tasks_of(read_sample(path, "task", 300, seed=1))) != set(own)


def test_a_csv_of_the_same_rows_has_the_same_tasks_drawn(path, tmp_path):
    table = pyarrow.parquet.read_table(path)
    pyarrow.csv.write_csv(pa.table({"task": table["task"].cast(pa.string()), "x": table["x"]}), tmp_path / "t.csv")
    assert tasks_of(read_sample(tmp_path / "t.csv", "task", 300)) == tasks_of(read_sample(path, "task", 300))


def test_what_cannot_be_drawn_is_said(path, monkeypatch):
    assert len(read_sample(path, "task", 10_000)) == 900
    with pytest.raises(InputError, match="has 900 rows and no task was drawn for 1: ask for more rows"):
        read_sample(path, "task", 1)
    with pytest.raises(InputError, match="has no column 'tsk': did you mean 'task'"):
        read_sample(path, "tsk", 300)
    monkeypatch.setattr(read, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"GB of cells and 0\.0 GB of memory are free: fit on whole tasks .* --rows"):
        read_table(path)
    assert len(read_sample(path, "task", 300)) > 200
