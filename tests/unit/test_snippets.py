"""What README, docs and docstrings tell a reader to write: Python runs as written, and every command has the options that it is
shown with.

A comment before a block says what it needs, from `PREPARED` below, and how many meta-steps at most it trains for:
`<!-- test: sleep steps=3 -->`. Command lines run if `<!-- test: run -->` stands before them. A Python block that does not run
says why: `<!-- not run: REASON -->`. Blocks of a page share their names, as in a notebook, but for whole files
(`<!-- test: alone -->`), which run as programs do.
"""

import dataclasses
import doctest
import importlib
import re
import runpy
import shlex
import zipfile
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import typer
from cases import run

from bmaml.cli import app
from bmaml.estimators.stacking import MIXTURES
from bmaml.training.loop import Loop

ROOT = Path(__file__).parents[2]
# Pages that `make docs` writes hold what docstrings and help texts say, which other tests hold.
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in page.parts]
LECTURE = sorted((ROOT / "src" / "bmaml" / "lecture" / "pages").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN, *LECTURE]
NOTE = r"(?:^<!-- (?:test: (?P<needs>[^\n]*)|not run: (?P<why>[^\n]+)) -->\n)?"
BLOCK = re.compile(NOTE + r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
COMMANDS = typer.main.get_command(app).commands
# README and the site's pages train much. They run by `make test-pages`, once in CI.
FIRST = {"CONTRIBUTING.md"}
STEPS = 2  # So few meta-steps show that a block runs; what training reaches is shown elsewhere.


def blocks(page, language):
    """The blocks of a page in that language that run: what each needs, and its text."""
    found = (m for m in BLOCK.finditer(page.read_text()) if m["language"] == language and not m["why"])
    return [((match["needs"] or "").split(), match["text"]) for match in found]


def example(name):
    """Run a script of the examples, which writes into a folder of its name."""
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](Path(name))
    return {}


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
    return {"few_images": few, "new_images": new}


PREPARED = {"sleep": lambda: example("sleep"), "images": drawings}


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


def marked(page):
    """A page as a parameter, which only `make test-pages` tries unless it is quick."""
    return pytest.param(page, id=page.name, marks=() if page.name in FIRST else pytest.mark.pages)


@pytest.mark.parametrize("page", [marked(p) for p in PAGES if blocks(p, "python")])
def test_python_runs_as_written(page, briefly, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for needs, text in blocks(page, "python"):
        names |= prepared([word for word in needs if word != "alone"], briefly)
        exec(compile(text, f"{page.name}: {text[:40]}", "exec"), {"__name__": "__main__"} if "alone" in needs else names)
    plt.close("all")


def lines_to_run(page):
    """The command lines of a page that are marked to run."""
    marked = [text for needs, text in blocks(page, "") if "run" in needs]
    return [shlex.split(line, comments=True) for text in marked for line in text.splitlines()]


@pytest.mark.parametrize("page", [marked(p) for p in PAGES if lines_to_run(p)])
def test_command_lines_run_as_written(page, briefly, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    briefly(STEPS)
    for program, *words in lines_to_run(page):
        if program == "python":
            example(Path(words[0]).stem)
        else:
            assert program == "bmaml"
            assert run(*words) == 0, capsys.readouterr().err
    assert {"model", "predicted.png", "predicted.csv"} <= {path.name for path in Path("sleep").iterdir()}


def test_every_block_of_code_runs_or_says_why_not():
    """A note that is misspelt would be no note, and the block would run; a note that stands alone would be of no block."""
    for page in PAGES:
        silent = [text for language in ("", "sh", "bash") for needs, text in blocks(page, language) if not needs]
        assert not silent, f"{page.name} has commands that do not run, without a reason: {silent[0][:60]}"
        notes = re.findall(r"^<!-- (?:test|not run):.*$", page.read_text(), re.MULTILINE)
        used = [m for m in BLOCK.finditer(page.read_text()) if m["needs"] or m["why"]]
        assert len(notes) == len(used), f"{page.name} has a note that no block follows."


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
