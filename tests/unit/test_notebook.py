"""What a notebook shows of objects, and what a terminal shows of tables."""

import re
from pathlib import Path

import html5lib
import jax
from rich.console import Console

import bmaml
from bmaml.io.aligned import aligned, fitted
from bmaml.tasks import Sinusoids
from bmaml.training.progress import BarProgress

RUNS = Path(__file__).parent.parent / "fixtures" / "runs"


def shown(thing):
    """The text that a notebook shows of `thing`, whose HTML has to be valid."""
    page = f"<!DOCTYPE html><html><head><title>a</title></head><body>{thing._repr_html_()}</body></html>"
    return " ".join("".join(html5lib.HTMLParser(strict=True).parse(page).itertext()).split())


def test_objects_say_in_a_notebook_what_they_are():
    run, tasks = bmaml.load(RUNS / "maml"), Sinusoids(shots=(5,), queries=7)
    posterior = run.adapt([[0.0], [1.0]], [[0.5], [0.2]])
    assert "Run of maml" in shown(run)
    assert f"{run.step:,} of {run.steps:,}" in shown(run)
    assert "ParticlePosterior" in shown(posterior)
    assert "Sinusoids" in shown(tasks)
    assert "7 rows, 1 input, 1 output" in shown(tasks.sample(jax.random.key(0)))
    assert "not fitted" in shown(bmaml.FewShotRegressor("<b>")).lower() or "no: call fit" in shown(
        bmaml.FewShotRegressor("<b>")
    )
    assert "<b>" in shown(bmaml.FewShotRegressor("<b>"))
    model = bmaml.FewShotRegressor.load(RUNS / "regressor")
    assert f"tasks{len(model.seen_)}" in shown(model).replace(" ", "")
    assert "any task before a row is known" in shown(model.adapt())


def test_tables_fit_the_terminal_and_lose_nothing():
    header = ["given", "predicted by", *(f"RMSE of a long name {i}" for i in range(6))]
    rows = [header, *([str(i), "mean of the given rows", *["123.4 [120.1, 125.6]"] * 6] for i in range(3))]
    for width in (40, 80, 200):
        text = aligned(rows, keys=2, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert text.count("[120.1, 125.6]") == 18
        words = {word for row in rows for cell in row for word in re.findall(r"\[.*?\]|\S+", cell)}
        assert all(word in text for word in words)
    assert aligned([["a", "b"], ["1", "22"]]) == "a  b\n1  22"
    table = "# Title\n\n| a | b |\n| --- | --- |\n| 1.5 [1, 2] | -2 |\n\n" + "word " * 40
    assert "1.5 [1, 2]  -2" in fitted(table, 30)
    assert max(map(len, fitted(table, 30).splitlines())) <= 30


def test_commands_print_tables_by_the_one_function_that_fits_them():
    for file in Path(bmaml.cli.__file__).parent.glob("*.py"):
        assert "rich.table" not in file.read_text()
        assert "console.print" not in file.read_text()


def test_the_bar_says_compiling_from_the_start():
    bar = BarProgress("fit")
    bar.console = Console(force_terminal=True, record=True, width=100)
    bar.start(0, 10)
    assert "compiling" in str(bar._bar.get_renderable()) or bar._bar.tasks[0].fields["state"] == "compiling"
    bar.update(5, 0.25, 3.0)
    assert "loss 0.25" in bar._bar.tasks[0].fields["state"]
    bar.close()


def test_a_notebook_has_a_bar_in_its_cell(monkeypatch):
    cells = []

    class Cell:
        def update(self, content):
            cells.append(content)

    module = type(
        "display", (), {"HTML": staticmethod(str), "display": staticmethod(lambda c, display_id: (cells.append(c), Cell())[1])}
    )
    monkeypatch.setitem(__import__("sys").modules, "IPython", type("IPython", (), {"display": module}))
    monkeypatch.setitem(__import__("sys").modules, "IPython.display", module)
    bar = BarProgress("<fit>")
    bar.console = Console(force_jupyter=True)
    bar.start(0, 10)
    bar.update(5, 0.25, 3.0)
    bar.close()
    assert "compiling" in cells[0]
    assert "loss 0.25" in cells[-1]
    assert "<fit>" not in "".join(cells)
    assert 'value="5"' in cells[-1]
