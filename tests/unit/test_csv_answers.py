"""How answers are written as CSV: quotes, ends of lines, and the mark in front of decimals."""

import csv
import io

import numpy as np
import pytest

from bmaml.cli import output
from bmaml.tables import read_table
from bmaml.tables.csv_lines import csv_lines


@pytest.mark.parametrize("comma", [False, True])
def test_lines_are_those_of_a_csv_writer(comma):
    """Of cells with marks, quotes and ends of lines in them, and of numbers, which read back as the same ones."""
    texts, numbers = (
        ["a", 'say "b"', "c,d", "e;f", "g\nh", "i\rj", "", "\u00e9"],
        [1.0, -0.1, 1e-7, 1e300, 1 / 3, np.nan, np.inf, 0.0],
    )
    lines = csv_lines([texts, np.arange(8), np.array(numbers)], comma=comma)
    read = list(csv.reader(io.StringIO(lines, newline=""), delimiter=";" if comma else ","))
    assert [row[:2] for row in read] == [[text, str(i)] for i, text in enumerate(texts)]
    np.testing.assert_array_equal([float(row[2].replace(",", ".")) for row in read], numbers)
    assert csv_lines([], comma=comma) == ""


def test_inputs_have_the_same_mark_in_front_of_decimals_as_answers(tmp_path):
    """Also where the grid is a file of the other mark, or has typed numbers."""
    comma, point = tmp_path / "comma.csv", tmp_path / "point.csv"
    comma.write_text("x;day\n1,5;01.02.2024\n2;02.02.2024\n")
    point.write_text("x,day\n1.5,01.02.2024\n2,02.02.2024\n")
    grouped = read_table({"x": ["1,234.5"]})
    assert output._written(grouped, "x", True).to_pylist() == ["1234,5"]
    for table in (read_table(comma), read_table(point), read_table({"x": [1.5, 2], "day": ["01.02.2024", "02.02.2024"]})):
        for wanted in (False, True):
            shown = {name: output._written(table, name, wanted).to_pylist()[0] for name in table.columns}
            assert shown == {"x": "1,5" if wanted else "1.5", "day": "01.02.2024"}
