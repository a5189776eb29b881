"""Every promise names tests that exist, and every licence is one that allows any use."""

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


def test_every_package_that_the_core_needs_is_listed_with_its_licence():
    """`page` ends with a sentence if a licence is not on its list. Versions that add packages do not change the list here."""
    assert page()
    listed = re.findall(r"^\| ([\w-]+) \|", PAGE.read_text(), re.MULTILINE)
    assert set(core()) <= set(listed), "Run `python tests/licences.py` to write the page again."
