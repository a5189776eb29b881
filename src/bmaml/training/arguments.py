"""Checks the names of the settings that `train` is given, and says where others belong."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from bmaml.errors import InputError
from bmaml.training.plan import Plan

_SETTINGS = tuple(field.name for field in dataclasses.fields(Plan))
_OPTIONS = ("directory", "overwrite", "about", "save_every", "keep", "callbacks", "progress")
# Where a setting belongs that is none of a training's.
_ELSEWHERE = {
    ("learning_rate", "decay", "warmup", "weight_decay"): "outer=bmaml.Adam({}) instead",
    ("shots", "queries"): "it to the tasks, as in bmaml.tasks.Sinusoids({})",
    ("particles", "inner_steps", "inner_learning_rate"): "it to the method, as in bmaml.methods.bmaml(model, {})",
}


def check_options(options: Mapping[str, Any]) -> None:
    """Check that the names in `options` are settings of a plan.

    Raises: InputError that says what to write.
    """
    for name, value in options.items():
        if name not in _SETTINGS:
            raise InputError(f"train has no setting {name!r}: {_instead_of_setting(name, value)}.")


def _instead_of_setting(name: str, value: Any) -> str:
    """Return what to write instead of `name=value`: what users most often look for here has its place elsewhere."""
    for elsewhere, place in _ELSEWHERE.items():
        if name in elsewhere:
            return f"give {place.format(f'{name}={value!r}')}"
    close = difflib.get_close_matches(name, [*_SETTINGS, *_OPTIONS], 1)
    return f"use {', '.join(close or [*_SETTINGS, *_OPTIONS])}"
