"""Checks the numbers that a class is built with, by their declared types, so that a wrong one is named at the door."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from bmaml.errors import InputError, said

# What a field may be declared as, what it then takes, and what a message calls that.
_KINDS = {"int": (Integral, "a whole number"), "float": (Real, "a number"), "bool": (bool, "True or False")}


def check_numbers(made: Any) -> None:
    """Check each static field of `made` that is declared as a whole number, a number or a truth value (or None besides).

    Raises: InputError that names the first field that holds something else.
    """
    for field in dataclasses.fields(made):
        declared = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
        kind, _, rest = declared.partition(" | ")
        value = getattr(made, field.name)
        if kind not in _KINDS or rest not in ("", "None") or not field.metadata.get("static") or (rest and value is None):
            continue
        takes, name = _KINDS[kind]
        # Python counts True as the whole number 1.
        if not isinstance(value, takes) or (isinstance(value, bool) and takes is not bool):
            raise InputError(f"{field.name} of {type(made).__name__} is {said(value)}: give {name}{', or None' * bool(rest)}.")


def with_checked_numbers(kind: type) -> None:
    """Let the dataclass `kind` check its numbers before any check of its own, whenever an object is built."""
    own: Callable[[Any], None] | None = vars(kind).get("__check_init__")

    def check(self: Any) -> None:
        check_numbers(self)
        if own is not None:
            own(self)

    kind.__check_init__ = check  # pyright: ignore[reportAttributeAccessIssue]
