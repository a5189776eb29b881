"""Objects as JSON plus arrays, and back: how a saved run is loaded by its name alone.

A description holds registered names (`bmaml.io.registry`), fields and plain values. Only what is registered in this process
is built, so a file cannot name any other code. A part that a file cannot hold is marked, and must be handed over when the
run is loaded.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.errors import InputError
from bmaml.io.reference import AbstractReference, AbstractReferenced
from bmaml.io.registry import KINDS, find, is_name, name_of

Arrays = dict[str, np.ndarray]

# The argument of `bmaml.load` and `bmaml.resume` that hands over each part of a run.
HANDED = {"method": "method=", "tasks": "tasks=", "plan.outer": "outer="}
_NO_NAME = "a class without a registered name"
_NO_FIELDS = "a class whose constructor does not take its fields"
_CODE = "Python code"


class NotSaved(InputError):
    """A part of a saved object cannot be held by a file, and was not handed over."""


def to_config(value: Any, arrays: Arrays, name: str = "root") -> Any:
    """Return a description of the object `value` that JSON can hold. Its arrays are put into `arrays` under dotted names.

    `name` is the dotted name of the object itself. An object that can be read again is described by its reference alone. A part
    that cannot be described is marked as unsaved.
    """
    if isinstance(value, AbstractReferenced) and value.reference is not None:
        return {"read": to_config(value.reference, arrays, name)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, jax.Array | np.ndarray) and _is_plain(value.dtype):
        arrays[name] = np.asarray(value)
        return {"array": name}
    # A named tuple (an optax transformation is one) would come back as another type.
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        items = [to_config(item, arrays, f"{name}.{i}") for i, item in enumerate(value)]
        return items if isinstance(value, tuple) else {"list": items}
    if isinstance(value, dict) and type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: to_config(item, arrays, f"{name}.{key}") for key, item in value.items()}}
    if (named := name_of(value)) is not None:
        return {"named": named}
    return _object(value, arrays, name)


def _is_plain(dtype: Any) -> bool:
    return np.dtype(dtype).kind in "biuf" if isinstance(dtype, np.dtype) else False


def _object(value: Any, arrays: Arrays, name: str) -> dict[str, Any]:
    kind, registered = type(value), name_of(type(value))
    if not dataclasses.is_dataclass(kind):
        return {"unsaved": kind.__name__, "why": _CODE}
    if registered is None:
        return {"unsaved": kind.__name__, "why": _NO_NAME}
    fields = [field.name for field in dataclasses.fields(kind) if field.init]
    try:
        inspect.signature(kind).bind(**dict.fromkeys(fields))
    except (TypeError, ValueError):
        return {"unsaved": kind.__name__, "why": _NO_FIELDS}
    return {"type": registered, "fields": {n: to_config(getattr(value, n), arrays, f"{name}.{n}") for n in fields}}


def completed(config: Any) -> Any:
    """Return the description `config` with the defaults of the fields that it lacks, such as those newer than its file."""
    if isinstance(config, list):
        return [completed(item) for item in config]
    if not isinstance(config, dict):
        return config
    kind = find(config["type"]) if isinstance(config.get("type"), str) else None
    config = {key: completed(item) for key, item in config.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(config.get("fields"), dict):
        config["fields"] = _defaults(kind) | config["fields"]
    return config


def _defaults(kind: type) -> dict[str, Any]:
    """Return the descriptions of the defaults of a class's fields. A default with arrays is left out."""
    found = {}
    for field in dataclasses.fields(kind):
        arrays: Arrays = {}
        if field.init and field.default is not dataclasses.MISSING:
            described = completed(to_config(field.default, arrays))
        elif field.init and field.default_factory is not dataclasses.MISSING:
            described = completed(to_config(field.default_factory(), arrays))
        else:
            continue
        found |= {} if arrays else {field.name: described}
    return found


def from_config(config: Any, arrays: Arrays, name: str = "root", given: Mapping[str, Any] | None = None) -> Any:
    """Return the object that `to_config` described.

    - `config`: the description.
    - `arrays`: the arrays by dotted names.
    - `name`: the dotted name of the object.
    - `given`: parts that are handed over, by their dotted names.

    Raises: NotSaved if a part is missing from the file and is not given; InputError for a name that is not registered here, or
    for files that are gone or have changed; other errors if the description is damaged.
    """
    given = given or {}
    if name in given:
        return given[name]
    if isinstance(config, list):
        return tuple(from_config(item, arrays, f"{name}.{i}", given) for i, item in enumerate(config))
    if not isinstance(config, dict):
        return config
    if "array" in config:
        return jnp.asarray(arrays[config["array"]])
    if "list" in config:
        return [from_config(item, arrays, f"{name}.{i}", given) for i, item in enumerate(config["list"])]
    if "dict" in config:
        return {key: from_config(item, arrays, f"{name}.{key}", given) for key, item in config["dict"].items()}
    if "read" in config:
        return _reread(from_config(config["read"], arrays, name, given))
    if "named" in config:
        return _found(config["named"], name)
    if "unsaved" in config:
        raise _missing(config, name)
    kind = _found(config["type"], name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise InputError(f"the file wants a {config['type']!r} to be built from fields: restore it from a copy.")
    return kind(**{key: from_config(item, arrays, f"{name}.{key}", given) for key, item in config["fields"].items()})


def _reread(reference: Any) -> Any:
    if not isinstance(reference, AbstractReference):
        raise InputError(f"the file wants a {type(reference).__name__} to be read: restore it from a copy.")
    return reference.read()


def _argument(name: str) -> str | None:
    """Return the argument that hands over a part, or what the part lies in."""
    fits = [part for part in HANDED if name == part or name.startswith(f"{part}.")]
    return HANDED[fits[0]] if fits else None


def _missing(config: dict[str, Any], name: str) -> NotSaved:
    argument = _argument(name)
    pass_it = f"pass {argument} when loading or resuming" if argument else "train again without it"
    go_on = (
        f"use the run in Python, where bmaml.load and bmaml.resume take {argument}" if argument else "train again without it"
    )
    name_it = "" if config.get("why") == _NO_FIELDS else ", or give it a name with @bmaml.register before training"
    what = f"{name} ({config['unsaved']}) is {config.get('why')}, which the file does not hold"
    return NotSaved(f"{what}: {pass_it}{name_it}.", typed=f"{what}: {go_on}{name_it}.")


def _found(kind: Any, name: str) -> Any:
    found = find(kind) if isinstance(kind, str) else None
    if found is not None:
        return found
    prefix, argument = str(kind).split("/")[0], _argument(name)
    if prefix in KINDS or not is_name(kind):
        raise InputError(f"{name} is {kind!r}, which this version of bmaml does not have: use the version that wrote the file.")
    otherwise, what = f", or pass {argument}" if argument else "", f"{name} is {kind!r}, a name that nothing has registered"
    raise InputError(
        f"{what}: import its package, {prefix}, before you use the run{otherwise}.",
        typed=f"{what}: give the option --import {prefix} before the command, with the module that defines it.",
    )
