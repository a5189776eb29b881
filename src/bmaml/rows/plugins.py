"""Import what installed packages add to the library."""

from __future__ import annotations

import contextlib
import functools
from importlib.metadata import entry_points

GROUPS = ("bmaml.methods", "bmaml.policy_methods", "bmaml.tasks", "bmaml.worlds", "bmaml.objectives", "bmaml.families")
"""The groups of entry points in which installed packages list their rows."""


@functools.cache
def import_plugins() -> None:
    """Import every installed package that lists a row, so that its classes are registered; a broken one is passed over."""
    for group in GROUPS:
        for point in entry_points(group=group):
            with contextlib.suppress(Exception):
                point.load()
