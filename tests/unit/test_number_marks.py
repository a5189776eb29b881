"""Marks in front of decimals and between thousands: what a column shows, what the fitted table shows, and what is asked."""

import numpy as np
import pytest

from bmaml.errors import InputError
from bmaml.tables import ColumnRoles, Reading, fit_schema, read_table
from bmaml.tables.limits import has_limits, with_limits


def table_of(tmp_path, text, reading=None):
    (tmp_path / "table.csv").write_text(text)
    return read_table(tmp_path / "table.csv", reading=reading)


def fitted(x, reading=None, **columns):
    """The schema of a table with an input `x` of texts."""
    rows = {"p": [f"t{i}" for i in range(len(x))], "x": x, "y": np.arange(len(x)) % 7 + 0.5} | columns
    return fit_schema(read_table(rows, reading=reading), ColumnRoles("p", ("x",), ("y",)))


def read_as(schema, x, **how):
    """The numbers that new cells `x` mean."""
    return (schema.inputs[0].raw(schema.as_read(read_table({"x": x}, **how))) + schema.inputs[0].origin).tolist()


def test_numbers_that_show_both_marks_need_no_question(tmp_path):
    """In files and in data frames. Limits and the other numbers of the column are read by the same marks."""
    for mark, cells in ((",", ["1.234,5", "2.345", "<1.000"]), (".", ["1,234.5", "2,345", "<1,000"])):
        for table in (table_of(tmp_path, f"y;task\n{cells[0]};a\n{cells[1]};a\n{cells[2]};b\n"), read_table({"y": cells})):
            values, reach = table.limits("y")
            assert (values.tolist(), reach.tolist()) == ([1234.5, 2345, 1000], [0, 0, -np.inf])
            assert table.mark("y")[:2] == (mark, True)
            assert has_limits(table, "y")
    table = read_table({"y": ["1,234,567", "1"]})
    assert table.numbers("y").tolist() == [1234567, 1]
    assert table.notes == ("a comma marks thousands in 'y'",)


def test_a_point_before_three_digits_is_asked_about_where_commas_mark_decimals(tmp_path):
    text = "x;y\n0,5;1.000\n1,5;12\n"
    with pytest.raises(InputError, match=r"'1\.000', whose point could mark decimals or thousands: give --decimal"):
        table_of(tmp_path, text).numbers("y")
    assert table_of(tmp_path, text, Reading(decimal=",")).numbers("y").tolist() == [1000, 12]
    assert table_of(tmp_path, "x;y\n0,5;1.000\n1,5;1.5\n").numbers("y").tolist() == [1, 1.5]
    assert table_of(tmp_path, "x;y\n0.5;1.000\n1.5;12\n").numbers("y").tolist() == [1, 12]


def test_data_frames_write_numbers_with_commas_too():
    table = read_table({"y": ["1,5", "2,25"]})
    assert table.numbers("y").tolist() == [1.5, 2.25]
    assert table.notes == ("a comma marks decimals in 'y'",)
    with pytest.raises(InputError, match=r"'1,234', whose comma could mark decimals or thousands"):
        read_table({"y": ["1,234", "5,678"]}).numbers("y")


def test_a_number_by_other_marks_names_the_option_that_reads_it():
    with pytest.raises(InputError, match=r"'1,25', which is not a number: .*give --decimal , .* if commas mark decimals"):
        read_table({"y": ["1,25", "12.5", "1.5"]}).numbers("y")
    with pytest.raises(InputError, match=r"'<0,5', which is neither .*give --decimal , .* if commas mark decimals"):
        read_table({"y": ["<0,5", "1.5", "2.5"]}).limits("y")


@pytest.mark.parametrize(
    ("shown", "new", "numbers"),
    [
        (["1.234,5", "2.345,6", "3"], ["1.500", "8.000"], [1500, 8000]),
        (["1,5", "2,25", "3"], ["1.500", "8.000"], [1500, 8000]),
        (["1,5", "2,25", "3"], ["1,234", "2,345"], [1.234, 2.345]),
        (["1.5", "2.25", "3"], ["1,234", "2,345"], [1234, 2345]),
        (["1,234.5", "2.25", "3"], ["1,234", "2,345"], [1234, 2345]),
    ],
)
def test_a_mark_in_doubt_is_that_of_the_fitted_table_and_it_is_said(shown, new, numbers):
    schema = fitted(shown * 4)
    with pytest.warns(UserWarning, match=r"column 'x' has numbers such as .* as in the fitted table: if it does not, give"):
        assert read_as(schema, new) == numbers


def test_what_a_new_table_shows_or_is_told_goes_before_the_fitted_table():
    german, english = fitted(["1,5", "2,25", "3"] * 4), fitted(["1.5", "2.25", "3"] * 4)
    assert read_as(german, ["1.5", "2.25"]) == read_as(english, ["1,5", "2,25"]) == [1.5, 2.25]
    assert read_as(german, ["1.500", "2.250"], reading=Reading(decimal=".")) == [1.5, 2.25]
    told = fitted(["1.500", "2.250", "3"] * 4, Reading(decimal=","))
    assert read_as(told, ["1.5", "2.25"]) == [1.5, 2.25]
    assert read_as(german, ["1", "2"]) == [1, 2]
    with pytest.raises(InputError, match="could mark decimals or thousands"):
        read_as(fitted(["1", "2", "3"] * 4), ["1,234"])


def test_a_column_of_words_does_not_change_how_numbers_are_read(tmp_path):
    rows = "".join(f'a;{i};1.{i}00;"{name}"\n' for i, name in enumerate(["Smith, J.", "3,5", "Lee, K.", "Wu, L."]))
    assert table_of(tmp_path, "p;x;v;who\n" + rows).numbers("v").tolist() == [1.0, 1.1, 1.2, 1.3]
    frame = read_table({"ans": ["1,3", "2", "1,2,3"], "v": ["1.125", "2.250", "3.375"]})
    assert frame.numbers("v").tolist() == [1.125, 2.25, 3.375]


def test_commas_beside_points_mark_thousands():
    assert read_table({"y": ["1,234", "2,345", "987.5"]}).numbers("y").tolist() == [1234, 2345, 987.5]


def test_a_space_that_does_not_break_hides_no_mark(tmp_path):
    table = table_of(tmp_path, "p;x\na;1,5\u00a0\nb;2,5\u00a0\nc;<\u00a00,5\n")
    values, reach = table.limits("x")
    assert (values.tolist(), reach.tolist()) == ([1.5, 2.5, 0.5], [0, 0, -np.inf])


def test_a_number_that_means_missing_may_have_a_comma(tmp_path):
    text = "p;x\na;0,3\nb;-999,0\nc;\u2212999\nd;-99,90\n"
    values = table_of(tmp_path, text, Reading(missing=("-999", "-99.9"))).numbers("x", missing=True)
    np.testing.assert_array_equal(values, [0.3, np.nan, np.nan, np.nan])


def test_a_few_mistakes_do_not_make_words_of_limits():
    table = read_table({"p": list("aabbcc"), "y": ["<0.1", "<0.2", "1.5", "2.5", "pending", "3.5"]})
    assert has_limits(table, "y")
    with pytest.raises(InputError, match=r"column 'y' is 'pending', which is neither a number nor a limit"):
        fit_schema(table, ColumnRoles("p", (), ("y",), family=None))


def test_ends_that_are_numbers_are_joined_by_the_mark_of_the_table():
    for mark in (".", ","):
        table = read_table({"low": [1.234, 2.5], "high": [1.234, 3.5]}, reading=Reading(decimal=mark))
        values, reach = with_limits(table, "low", "high").limits("low", missing=True)
        assert (values.tolist(), reach.tolist()) == ([1.234, 2.5], [0, 1])


def test_ordered_levels_are_sorted_by_the_numbers_that_they_mean(tmp_path):
    text = "p;y\n" + "".join(f"t{i};{level}\n" for i in range(4) for level in ("0,5", "\u22121", "1,5", "10"))
    table = table_of(tmp_path, text)
    for family in ("ordered", "classes"):
        schema = fit_schema(table, ColumnRoles("p", (), ("y",), family=family))
        assert schema.outputs[0].levels == ("\u22121", "0,5", "1,5", "10")


def test_numbers_with_units_are_no_words_unseen():
    for cells in (["5%", "10%", "15%"], ["5 mg", "10 mg", "20 mg"], ["1 200", "2 300", "3 400"], ["$5", "$7.50", "$8"]):
        table = read_table({"p": list("abcd") * 6, "x": cells * 8, "y": np.arange(24.0)})
        with pytest.warns(UserWarning, match=r"column 'x' is taken as words, and most cells hold more than a number, such as"):
            fit_schema(table, ColumnRoles("p", ("x",), ("y",)))
        with pytest.raises(InputError, match=r"outcome 'x' has cells such as .*, which hold more than a number"):
            fit_schema(table, ColumnRoles("p", (), ("x",), family=None))
        assert fit_schema(table, ColumnRoles("p", (), ("x",), family="classes")).family == "classes"
