"""The pages that are made from the code leave out no public name, no command and no paper."""

import ast
import re
import sys
from pathlib import Path

import pytest
import typer

import bmaml
from bmaml.cli import app
from bmaml.methods.citations import papers

ROOT = Path(__file__).parents[2]
PACKAGE = Path(bmaml.__file__).parent
sys.path.insert(0, str(ROOT / "docs" / "site"))

import api  # noqa: E402
import bibliography  # noqa: E402
import command_line  # noqa: E402


def defined():
    """Every public class and function that stands at the top of a file of the package, read without running the file."""
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(("bmaml", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        if module.split(".")[1:2] not in (["cli"], ["__main__"]):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{module}.{node.name}"


@pytest.fixture(scope="module")
def pages():
    return api.pages()


def test_every_public_name_has_an_entry_in_the_api(pages):
    text = "\n".join(pages.values())
    heads = set(re.findall(r"\{py:(?:class|function)\} ([\w.]+)", text))
    known = heads | set(re.findall(r"^:canonical: ([\w.]+)$", text, re.MULTILINE))
    assert sorted(set(defined()) - known) == []
    public = {name: getattr(bmaml, name) for name in bmaml.__all__ if not name.startswith("_")}
    exported = {f"bmaml.{name}" for name, value in public.items() if callable(value)}
    assert sorted(exported - heads) == []
    tables = set(re.findall(r"\{py:data\} ([\w.]+)", text))
    assert {"bmaml.methods.METHODS", "bmaml.tasks.FAMILIES", "bmaml.likelihoods.FAMILIES"} <= tables


def test_every_page_of_the_api_is_listed_and_no_entry_is_empty(pages):
    listed = pages["api/index.md"]
    assert all(name.removeprefix("api/").removesuffix(".md") in listed for name in pages if name != "api/index.md")
    for text in pages.values():
        empty = re.findall(r"\{py:(?:class|function|data)\} ([\w.]+)[^\n]*\n(?::canonical:[^\n]*\n)?\n+:{4,}\n", text)
        assert not empty, f"{', '.join(empty)} has no docstring."


def test_every_command_and_option_is_on_the_page_of_the_command_line():
    text = command_line.page()
    for name, command in typer.main.get_command(app).commands.items():
        section = text.split(f"## `bmaml {name}`\n")[1].split("\n## ")[0]
        missing = [option for given in command.params for option in given.opts if option not in section]
        assert not missing, f"bmaml {name}: {missing}"


def test_every_paper_is_in_the_bibliography():
    text = bibliography.page()
    assert [key for key, entry in papers().items() if entry not in text] == []
    assert text.count("\n## ") == len(papers())
