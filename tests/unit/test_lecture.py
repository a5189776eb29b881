"""`bmaml lecture` lists the chapters, and runs the lines of one. That all chapters run is in test_snippets.py."""

import re
from pathlib import Path

from cases import run

from bmaml.lecture import chapters

DOCS = Path(__file__).parents[2] / "docs"


def test_chapters_are_numbered_from_1_and_each_has_a_formula_lines_and_a_finding():
    every = chapters()
    assert list(every) == list(range(1, 17))
    for chapter in every.values():
        assert chapter.text.startswith(f"# {chapter.title}\n")
        assert "## What was found\n" in chapter.text
        lines = [line for block in chapter.blocks for line in block.splitlines() if line]
        assert 3 <= len(lines) <= 40, f"chapter {chapter.number} has {len(lines)} lines of code."


def test_pictures_of_chapters_are_there():
    shown = [(c.number, place) for c in chapters().values() for place in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", c.text)]
    assert [place for place in shown if not (DOCS / place[1]).is_file()] == []


def test_lecture_lists_its_chapters(capsys):
    assert run("lecture") == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed == [f"{number:2d}  {chapter.title}" for number, chapter in chapters().items()]


def test_lecture_shows_a_chapter_runs_it_and_draws_its_picture(tmp_path, capsys):
    assert run("lecture", 1, "--out", tmp_path / "pictures") == 0
    out = capsys.readouterr().out
    assert out.startswith("# What meta-learning is\n")
    assert "![" not in out
    assert "\ngradient steps: maml" in out.split("These lines run now.")[1]
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["01.png"]


def test_a_chapter_that_is_not_there_is_refused(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused("lecture", 17).startswith("unknown chapter '17': ")
