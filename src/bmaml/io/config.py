"""Any object of the library as JSON plus arrays, and back: how a saved run is loaded by name alone.

Only classes of this library that are Equinox modules are built on loading, from their declared fields, so a file can
name no other code.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bmaml.errors import InputError
from bmaml.io.reference import AbstractReference, AbstractReferenced

Arrays = dict[str, np.ndarray]


class NotSaved(InputError):
    """A part of a saved object was a Python function, which a file cannot hold."""


def to_config(value: Any, arrays: Arrays, name: str = "root") -> Any:
    """Return a JSON-able description of a module; arrays are put into `arrays` under dotted names.

    An object that says where it can be read again is described by that alone.
    """
    if isinstance(value, AbstractReferenced) and value.reference is not None:
        return {"read": to_config(value.reference, arrays, name)}
    if isinstance(value, eqx.Module) and type(value).__module__.startswith("bmaml."):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        return {"type": kind} | {k: to_config(v, arrays, f"{name}.{k}") for k, v in fields.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, jax.Array | np.ndarray):
        arrays[name] = np.asarray(value)
        return {"array": name}
    if isinstance(value, tuple | list):
        return [to_config(v, arrays, f"{name}.{i}") for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {"dict": {k: to_config(v, arrays, f"{name}.{k}") for k, v in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"unsaved": f"{name} ({type(value).__name__})"}


def from_config(config: Any, arrays: Arrays) -> Any:
    """Return the object that `to_config` described.

    Raises: NotSaved where a part was a function; InputError for a class that this version does not have, or for files to be
    read again that are gone or have changed.
    """
    if isinstance(config, list):
        return tuple(from_config(v, arrays) for v in config)
    if not isinstance(config, dict):
        return config
    if "array" in config:
        return jnp.asarray(arrays[config["array"]])
    if "dict" in config:
        return {k: from_config(v, arrays) for k, v in config["dict"].items()}
    if "read" in config:
        return _reread(from_config(config["read"], arrays))
    if "unsaved" in config:
        raise NotSaved(f"{config['unsaved']} is Python code, which the file does not hold: pass the method when loading.")
    fields = {k: from_config(v, arrays) for k, v in config.items() if k != "type"}
    return _class(config.get("type", ""))(**fields)


def _reread(reference: Any) -> Any:
    if not isinstance(reference, AbstractReference):
        raise InputError(f"the file wants a {type(reference).__name__} to be read: restore it from a copy.")
    return reference.read()


def _class(kind: str) -> type:
    module, _, name = kind.partition(":")
    if module.split(".")[0] == "bmaml":
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            found = None
        if isinstance(found, type) and issubclass(found, eqx.Module):
            return found
    raise InputError(f"the file names {kind!r}, which this version of bmaml does not have: use the version that wrote it.")
