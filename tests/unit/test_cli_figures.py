"""`bmaml demo` and every `bmaml figure` through the command line: a picture, and its numbers as CSV."""

import csv
import json

import pytest
from cases import run

from bmaml.cli.figure import FIGURES
from bmaml.experiments import adaptation
from bmaml.plots import adaptation as plot

QUICK = ("early-stopping",)
# Figures of policies are drawn in tests/unit/test_policy_figures.py, from runs that are there.
COSTLY = sorted(set(FIGURES) - {*QUICK, "returns", "paths"})


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.costly) for name in COSTLY)])
def test_a_figure_is_a_picture_and_its_numbers(name, tmp_path):
    assert run("figure", name, "--quick", "--out", tmp_path) == 0
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1
    assert all(row.keys() == rows[0].keys() and None not in row.values() for row in rows)


def test_several_seeds_are_rows_and_lines_of_one_figure(tmp_path):
    errors, curves = adaptation.run(steps=20, tasks=2, seeds=(0, 1))
    assert errors.distinct("seed") == [0, 1]
    assert len(curves.where(method="maml", shots=5, steps=0)) == 101  # One task is shown, that of the first seed.
    figure = plot.draw((errors, curves))
    assert len(figure.axes[2].lines) == 4


def test_seeds_of_a_figure_that_trains_nothing_are_refused(tmp_path, capsys):
    assert run("figure", "banana", "--seeds", 2, "--out", tmp_path) == 2
    assert "trains nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"), [("banana", "always shows all of its methods"), ("bmaml-2", "unknown method of this figure 'maml'")]
)
def test_methods_that_a_figure_does_not_have_are_refused(name, said, tmp_path, capsys):
    assert run("figure", name, "--methods", "maml", "--out", tmp_path) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.costly  # It compiles for a minute; `make demo` runs the command itself.
def test_demo_writes_a_picture_and_scores(tmp_path):
    assert run("demo", "--share", "0.001", "--out", tmp_path) == 0
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((tmp_path / "demo.json").read_text())
    assert {"mse", "nll"} <= {row["metric"] for row in scores}
