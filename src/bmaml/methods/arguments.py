"""Explains a wrong call of a preset in one sentence that shows the right call."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from numbers import Integral
from typing import ParamSpec, TypeVar

from bmaml.errors import InputError, PairError, said
from bmaml.models.base import check_model
from bmaml.models.features import check_features
from bmaml.models.network import check_network

Given = ParamSpec("Given")
Made = TypeVar("Made")


def _check_count(value: object, who: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise PairError(f"{who} is {said(value)}: give a whole number, such as 1.")


# What checks a part that a method is made from, by the declared type of the part.
_CHECKS: dict[str, Callable[[object, str], None]] = {
    "AbstractModel": check_model,
    "AbstractFeatures": check_features,
    "AbstractNetwork": check_network,
    "int": _check_count,
}


def explained(preset: Callable[Given, Made]) -> Callable[Given, Made]:
    """Return `preset`, a function that builds a method, which refuses wrong arguments in one sentence.

    The sentence names a missing argument, a setting that there is not, or a part of another kind, and shows the right call.
    """
    signature = inspect.signature(preset)
    parts = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    shown = f"{preset.__name__}({', '.join(part.name for part in parts)})"

    @functools.wraps(preset)
    def call(*given: Given.args, **settings: Given.kwargs) -> Made:
        _check_names(preset.__name__, signature, settings)
        try:
            bound = signature.bind(*given, **settings).arguments
        except TypeError as error:
            missing = str(error).removeprefix("missing a required argument: ").strip("'")
            if missing not in signature.parameters:
                raise InputError(f"{shown} was given {len(given)} arguments: give everything else by its name.") from error
            raise InputError(f"{missing} is missing: give all of {shown}.") from error
        for part in parts:
            if part.name in bound and part.annotation in _CHECKS:
                who = f"{part.name} of {shown}" if part.annotation == "int" else shown
                _CHECKS[part.annotation](bound[part.name], who)
        return preset(*given, **settings)

    return call


def _check_names(preset: str, signature: inspect.Signature, settings: dict[str, object]) -> None:
    for name in settings.keys() - signature.parameters.keys():
        close = difflib.get_close_matches(name, signature.parameters, 1)
        raise InputError(f"{preset} has no setting {name!r}: use {', '.join(close or signature.parameters)}.")
