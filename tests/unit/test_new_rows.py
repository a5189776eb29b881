"""Tables of new tasks, parted into rows that are given and rows that are asked."""

import pytest

from bmaml.errors import InputError
from bmaml.tables import Column, Schema, read_table
from bmaml.tables.new import moving_inputs, new_tasks

SCHEMA = Schema("task", (Column("x"), Column("age")), (Column("y"),))


def test_new_rows_part_into_given_and_asked():
    table = read_table({"task": ["u", "v", "u"], "x": [1, 2, 3], "age": [9, 8, 9], "y": ["5", "", ""]})
    u, v = new_tasks(table, SCHEMA)
    assert (u.name, len(u.given), len(u.asked), v.name, len(v.given), len(v.asked)) == ("u", 1, 1, "v", 0, 1)
    assert [column.name for column in moving_inputs([u, v], SCHEMA)] == ["x"]


def test_a_grid_with_a_task_column_asks_each_task_for_its_rows():
    table = read_table({"task": ["u", "v"], "x": [1, 2], "age": [9, 8], "y": [5, 6]})
    grid = read_table({"task": ["v", "v", "u"], "x": [4, 5, 6]})
    u, v = new_tasks(table, SCHEMA, grid)
    assert (u.asked.numbers("x").tolist(), v.asked.numbers("x").tolist()) == ([6], [4, 5])
    assert v.asked.numbers("age").tolist() == [8, 8]
    with pytest.raises(InputError, match=r"asks for task 'w', which the table does not have"):
        new_tasks(table, SCHEMA, read_table({"task": ["w"], "x": [4]}))
    with pytest.raises(InputError, match=r"no column 'y', the outcome: add it, .* and empty in the rows to predict"):
        new_tasks(grid, SCHEMA)


def test_an_input_that_changes_within_a_task_cannot_be_left_out_of_a_grid():
    table = read_table({"task": ["u", "u"], "x": [1, 2], "age": [9, 8], "y": [5, 6]})
    with pytest.raises(InputError, match=r"has no column 'age', and it is not constant in task 'u'"):
        new_tasks(table, SCHEMA, read_table({"x": [4]}))
