"""`bmaml demo` and every `bmaml figure` through the command line: a picture, and its numbers as CSV."""

import csv
import functools
import json

import pytest
from cases import run

from bmaml.cli.figure import FIGURES
from bmaml.cli.options import names_of
from bmaml.experiments import adaptation, training_curves
from bmaml.experiments.numbers import Numbers
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


@pytest.mark.costly  # Four trainings' programs are compiled.
def test_several_seeds_are_rows_and_lines_of_one_figure(tmp_path):
    errors, curves = adaptation.run(steps=20, tasks=2, seeds=(0, 1))
    assert errors.distinct("seed") == [0, 1]
    assert len(curves.where(method="maml", shots=5, steps=0)) == 101  # One task is shown, that of the first seed.
    figure = plot.draw((errors, curves))
    assert len(figure.axes[2].lines) == 4


def test_seeds_of_a_figure_that_trains_nothing_are_refused(tmp_path, capsys):
    assert run("figure", "banana", "--seeds", 2, "--out", tmp_path) == 2
    assert "figure banana does not take it, which is for maml, bmaml-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"), [("banana", "figure banana does not take it"), ("bmaml-2", "unknown method of this figure 'maml'")]
)
def test_methods_that_a_figure_does_not_have_are_refused(name, said, tmp_path, capsys):
    assert run("figure", name, "--methods", "maml", "--out", tmp_path) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_a_whole_figure_as_it_was(tmp_path, monkeypatch, capsys):
    """The figure of the trainings so far is beside it until the whole one is made."""
    scores = training_curves.SCORES
    rows = [("paper", 0, 5, 100, "maml", step, 1, 1, score, 4.0 - step, 3.0, 5.0) for step in (0, 1) for score in scores]
    whole, so_far = tmp_path / "bmaml-1.csv", tmp_path / "bmaml-1" / "so-far"

    def made(stops, *, after, **options):
        after(Numbers(training_curves.COLUMNS, rows[:3]))
        if stops:
            raise KeyboardInterrupt
        return Numbers(training_curves.COLUMNS, rows)

    for stops in (False, True, False):
        monkeypatch.setattr(training_curves, "run", functools.partial(made, stops))
        assert run("figure", "bmaml-1", "--out", tmp_path) == (130 if stops else 0)
        assert len(whole.read_text().splitlines()) == 7
        assert so_far.exists() == stops
    assert "the same command goes on" in capsys.readouterr().err


def test_names_are_taken_once_and_commas_alone_are_refused(tmp_path, capsys):
    assert names_of("b, a,b", flag="--methods") == ["b", "a"]
    assert run("figure", "bmaml-1", "--methods", ",", "--out", tmp_path) == 2
    assert "--methods is ',' and names nothing" in capsys.readouterr().err


def test_figures_are_listed(capsys):
    assert run("figure") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FIGURES)
    assert max(map(len, lines)) <= 80


@pytest.mark.costly  # It compiles for a minute; `make demo` runs the command itself.
def test_demo_writes_a_picture_and_scores(tmp_path):
    assert run("demo", "--share", "0.001", "--out", tmp_path) == 0
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((tmp_path / "demo.json").read_text())
    assert {"mse", "nll"} <= {row["metric"] for row in scores}
