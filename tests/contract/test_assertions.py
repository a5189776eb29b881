"""Assertions that cannot fail, found in the text of the tests."""

import ast
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parents[1].rglob("*.py"))
ALWAYS_TRUE = (ast.JoinedStr, ast.Lambda, ast.GeneratorExp, ast.Tuple, ast.List, ast.Dict, ast.Constant)


def empty(test):
    """Whether what is asserted holds whatever the code does: a literal, or a thing compared with itself."""
    same = isinstance(test, ast.Compare) and ast.unparse(test.left) == ast.unparse(test.comparators[0])
    return isinstance(test, ALWAYS_TRUE) or same


def matches_all(call):
    """Whether a pattern matches every message."""
    patterns = [word.value for word in call.keywords if word.arg in ("match", "tells")]
    return any(isinstance(p, ast.Constant) and p.value in ("", ".", ".*", ".+") for p in patterns)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_assertion_can_fail(file):
    for node in ast.walk(ast.parse(file.read_text())):
        place = f"{file.name}, line {getattr(node, 'lineno', 0)}"
        assert not (isinstance(node, ast.Assert) and empty(node.test)), f"{place}: this holds whatever the code does."
        assert not (isinstance(node, ast.Call) and matches_all(node)), f"{place}: this pattern matches every message."
