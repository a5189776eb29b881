"""Many tasks that adapt together have the numbers of tasks that adapt one by one, and come a batch at a time.

Families and mixed models are compared in test_outcomes.py and test_stacking.py, where they are fitted anyway.
"""

import numpy as np
import pytest
from many_tasks import check_equal

from bmaml import FewShotRegressor
from bmaml.errors import InputError
from bmaml.estimators import many
from bmaml.tables import new, read_table

RNG = np.random.default_rng(0)
SIZES = [0, 1, 3, 9, 3]  # Measured rows of the new tasks.
ASKED = [2, 1, 9, 1, 0]


def rows(sizes, level=0.0, kind="normal"):
    """Rows of tasks of these sizes, whose levels are `level` apart."""
    task = np.repeat(np.arange(len(sizes)), sizes)
    x = RNG.normal(size=len(task))
    y = x + RNG.normal(size=len(sizes))[task] + 0.1 * RNG.normal(size=len(task)) + level * task
    return {"task": task, "x": x, "y": (y > 0).astype(int) if kind == "yes-no" else y}


def new_table(level=0.0, kind="normal"):
    """A table of new tasks with rows to predict before the measured ones."""
    table = rows([a + b for a, b in zip(SIZES, ASKED, strict=True)], level, kind)
    y = table["y"].astype(object)
    for task, asked in enumerate(ASKED):
        y[np.flatnonzero(table["task"] == task)[:asked]] = None
    return table | {"y": y, "note": np.arange(len(y)).astype(str)}


def fitted(level=0.0):
    model = FewShotRegressor("linear", steps=2, batch=2, shots=(0, 1, 2))
    return model.fit(rows([8] * 9, level), "y", task="task", x="x")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("level", [0.0, 1e5])
def test_tasks_together_have_the_numbers_of_tasks_one_by_one(monkeypatch, level):
    monkeypatch.setattr(new, "_TASKS", 3)
    monkeypatch.setattr(many, "_TOGETHER", 2)
    model = fitted(level)
    assert (model.schema_.outputs[0].level is not None) == bool(level)
    check_equal(model, new_table(level))
    if not level:
        check_equal(model, new_table(), read_table({"x": [0.0, 1.0]}))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_come_in_order_a_batch_at_a_time_and_a_long_task_in_pieces(monkeypatch):
    monkeypatch.setattr(new, "_TASKS", 2)
    monkeypatch.setattr(new, "_ROWS", 8)
    model, table = fitted(), new_table()
    parts = list(model.adapt_many(table))
    assert [part.batch.tasks.tolist() for part in parts] == [[0, 1], [2], [2], [3]]
    asked = [i for i, cell in enumerate(table["y"]) if cell is None]
    assert [note for part in parts for note in part.rows.shown("note")] == [str(i) for i in asked]
    assert np.concatenate([part.names for part in parts]).tolist() == [str(table["task"][i]) for i in asked]
    assert all(np.isnan(part.surprise).all() for part in parts)
    with pytest.raises(InputError, match="interval level"):
        model.adapt_many(table, level=1.0)
    with pytest.raises(InputError, match="is not fitted"):
        FewShotRegressor().adapt_many(table)


@pytest.mark.costly
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["normal", "yes-no"])
def test_the_default_mixture_answers_together_as_one_by_one(kind):
    model = FewShotRegressor(steps=20, particles=4, shots=(0, 3), family=kind)
    check_equal(model.fit(rows([8] * 12, kind=kind), "y", task="task", x="x"), new_table(kind=kind))
