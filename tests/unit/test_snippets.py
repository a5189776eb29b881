"""What README, docs and docstrings tell a reader to write: Python runs as written, and every command has the options that it is
shown with.

A comment before a block says what it needs, from `PREPARED` below, and how many meta-steps at most it trains for:
`<!-- test: table steps=3 -->`. Blocks of a page share their names, as in a notebook.
"""

import csv
import dataclasses
import doctest
import importlib
import re
import shlex
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import typer
from cases import run

import bmaml
from bmaml.cli import app
from bmaml.estimators.stacking import MIXTURES
from bmaml.training.loop import Loop

ROOT = Path(__file__).parents[2]
# Pages that `make docs` writes hold what docstrings and help texts say, which other tests hold.
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in page.parts]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]
BLOCK = re.compile(r"(?:^<!-- test: (?P<needs>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
COMMANDS = typer.main.get_command(app).commands
STEPS = 2  # So few meta-steps show that a block runs; what training reaches is shown elsewhere.


def blocks(page, language):
    """The blocks of a page in that language: what each needs, and its text."""
    found = (match for match in BLOCK.finditer(page.read_text()) if match["language"] == language)
    return [((match["needs"] or "").split(), match["text"]) for match in found]


def patients():
    """Tables of the shape that examples/remifentanil.py writes, of made-up patients."""
    rng, folder = np.random.default_rng(0), Path("remi")
    folder.mkdir()
    curves = [(i, t, 1.5 - 0.03 * t + 0.2 * rng.normal()) for i in range(24) for t in np.linspace(-5, 60, 10)]
    tables = {"patients": curves[:200], "new": curves[200::4], "later": curves[201::4], "times": [(None, t) for t in range(9)]}
    for name, rows in tables.items():
        header, start = (["since_stop"], 1) if name == "times" else (["patient", "since_stop", "log10_conc"], 0)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *(row[start:] for row in rows)])
    return {"bmaml": bmaml}


def drawings():
    """A zip of folders of alphabets of folders of drawings, and a few drawings to adapt to and to label."""
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    with zipfile.ZipFile("images_background.zip", "w") as archive:
        for place in (f"{a}/{c}/{i}.png" for a in "abcd" for c in "pqrst" for i in range(6)):
            content = BytesIO()
            pillow.fromarray(rng.integers(0, 255, (28, 28), np.uint8)).save(content, "PNG")
            archive.writestr(place, content.getvalue())
    few, new = rng.uniform(size=(3, 28, 28)), rng.uniform(size=(4, 28, 28))
    return {"bmaml": bmaml, "few_images": few, "new_images": new}


PREPARED = {"table": patients, "images": drawings}


@pytest.fixture
def briefly(monkeypatch):
    """Train no longer than so many meta-steps, whatever the plan says, and mix no candidates that do."""
    start = Loop.__init__

    def limit(steps):
        def short(self, method, tasks, plan, *rest, **options):
            start(self, method, tasks, dataclasses.replace(plan, steps=min(plan.steps, steps)), *rest, **options)

        monkeypatch.setattr(Loop, "__init__", short)
        monkeypatch.setitem(MIXTURES, "mixture", ("mixed-model",))

    return limit


def prepared(needs, briefly):
    """Do what a comment asks for; the names that it brings."""
    words = dict(word.partition("=")[::2] for word in needs)
    briefly(int(words.pop("steps", STEPS)))
    return {name: value for need in words for name, value in PREPARED[need]().items()}


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name)
def test_python_runs_as_written(page, briefly, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for needs, text in blocks(page, "python"):
        names |= prepared(needs, briefly)
        exec(compile(text, f"{page.name}: {text[:40]}", "exec"), names)


def test_shell_lines_of_the_table_run_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (text,) = [text for needs, text in blocks(ROOT / "README.md", "") if "table" in needs]
    patients()
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("bmaml ")]
    assert [line[1] for line in lines] == ["fit", "predict", "suggest"]
    for line in lines:
        assert run(*line[1:], *(["--steps", STEPS] if line[1] == "fit" else [])) == 0, capsys.readouterr().err
    assert {"model", "prediction.png", "prediction.csv"} <= {path.name for path in Path("remi").iterdir()}


def shown(page):
    """The command lines on a page: in blocks, and between backticks."""
    fenced = "".join(text for language in ("", "sh", "bash") for _, text in blocks(page, language)).replace("\\\n", " ")
    return re.findall(r"^ *(?:\$ )?bmaml (.+)$", fenced, re.M) + re.findall(r"`bmaml ([^`]+)`", page.read_text())


@pytest.mark.parametrize("page", [p for p in PAGES if shown(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_are_shown(page):
    for line in shown(page):
        name, *words = line.split("#")[0].split()
        if name.startswith("-"):
            continue
        assert name in COMMANDS, f"{page.name} shows bmaml {line}, and there is no command {name}."
        options = {option for given in COMMANDS[name].params for option in given.opts + given.secondary_opts} | {"--help"}
        unknown = {word.split("=")[0].rstrip(",.;:)") for word in words if word.startswith("--")} - options
        assert not unknown, f"{page.name} shows bmaml {line}, which has no {', '.join(sorted(unknown))}."


def test_examples_in_docstrings_give_what_they_show():
    source = ROOT / "src"
    shown = [path for path in sorted(source.rglob("*.py")) if ">>> " in path.read_text()]
    found = {}
    for path in shown:
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        found[name] = doctest.testmod(importlib.import_module(name))
    assert {name: result.failed for name, result in found.items() if result.failed or not result.attempted} == {}
    assert "bmaml.data" in found
