"""Every promise names tests that exist, and every licence is one that allows any use."""

import ast
import re
from pathlib import Path

from licences import PAGE, core, page

ROOT = Path(__file__).parents[2]


def test_every_promise_names_tests_that_exist():
    promises = (ROOT / "docs" / "promises.md").read_text().split("\n- **")[1:]
    assert len(promises) > 15
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)
        assert named, f"No test holds this promise: {promise}"
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}."


# Where a file is opened by other means than `open_plain` and `replacing`, and why.
OPENING = {
    ("io/files.py", "open"): "here they are",
    ("io/lock.py", "open"): "a lock",
    ("io/programs.py", "open"): "a lock",
    ("io/checkpoint.py", "open"): "a line is added to the records",
    ("io/checkpoint.py", "TemporaryFile"): "a folder is tried",
    ("training/memory.py", "read_text"): "what Linux says of memory",
    ("methods/citations.py", "read_text"): "a file of the package",
    ("images/decode.py", "open"): "bytes that were read",
    ("lecture/chapters.py", "read_text"): "a file of the package",
    ("cli/explore.py", "open"): "a browser's window",
    ("explore/server.py", "open"): "a page",
}
WAYS = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "mkstemp", "NamedTemporaryFile", "TemporaryFile"}


def test_files_are_opened_in_one_place():
    """So that pipes, bounds, half-written files and permissions are thought of once."""
    found, root = set(), ROOT / "src" / "bmaml"
    for module in root.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call):
                # A function of our own may be called read_text, and a built-in one is called open.
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                if name in WAYS and (name == "open" or isinstance(node.func, ast.Attribute)):
                    found.add((module.relative_to(root).as_posix(), name))
    assert found == set(OPENING)


def test_every_package_that_the_core_needs_is_listed_with_its_licence():
    """`page` ends with a sentence if a licence is not on its list. Versions that add packages do not change the list here."""
    assert page()
    listed = re.findall(r"^\| ([\w-]+) \|", PAGE.read_text(), re.MULTILINE)
    assert set(core()) <= set(listed), "Run `python tests/licences.py` to write the page again."
