"""Finds a named entry among known ones."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from bmaml.errors import InputError

Entry = TypeVar("Entry")


def pick(kind: str, name: str, known: Mapping[str, Entry]) -> Entry:
    """Return the entry `name` of `known`; `kind` says in messages what the entries are.

    Raises: InputError with the nearest name and all names, if there is no such entry.
    """
    if name in known:
        return known[name]
    near = [] if name.isdecimal() else get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"unknown {kind} {name!r}: {hint}use one of {', '.join(known)}.")
