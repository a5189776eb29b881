"""Find a named entry, and check the settings that were chosen for it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from bmaml.errors import InputError


def pick(kind: str, name: str, known: dict[str, Any]) -> Any:
    """Return the entry of that name.

    Raises: InputError with the nearest name and all names where there is none.
    """
    if name in known:
        return known[name]
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"unknown {kind} {name!r}: {hint}use one of {', '.join(known)}.")


def check_settings(name: str, chosen: Iterable[str], known: Iterable[str]) -> None:
    """Check that a method has all the settings that were chosen.

    Raises: InputError naming the first that it has not.
    """
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise InputError(f"method {name} has no {unknown[0].replace('_', ' ')} to set: leave it out or choose another method.")
