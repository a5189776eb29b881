"""Trainings that differ in their seed or their tasks' values alone share one compiled program."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
from jax import stages

from bmaml.io.programs import compiler_options
from bmaml.tasks.base import AbstractSource
from bmaml.training.method import AbstractMethod
from bmaml.training.plan import Plan

# Programs of so many kinds of training are kept: seeds of one method, or the methods of a board, come one after the other.
_KEPT = 8
_PLAIN = (str, int, float, bool, type(None))
# What these define stays as it is while a process runs.
_FIXED = {"bmaml", "jax", "equinox"}

# Makes the jitted program of a method and a plan, with what the compiler is told. The seed is an argument of the program.
Build = Callable[[Any, Plan, dict[str, str | bool]], stages.Wrapped]


def program_of(build: Build, method: AbstractMethod, plan: Plan, source: AbstractSource) -> stages.Wrapped:
    """Return what `build` makes of `method` and `plan` for tasks of `source`, the same for all seeds.

    Only of the library's own parts: a user's class or function may call what the user changes between two trainings, in a
    notebook for example, and the program would then be that of before.
    """
    options = tuple(sorted(compiler_options().items()))
    alike = dataclasses.replace(plan, seed=0, skip_limit=0, record_every=None)
    leaves, structure = jax.tree.flatten((method, alike))
    if not all(_is_fixed(part) for part in (*leaves, structure, jax.tree.structure(source))):
        return build(method, plan, dict(options))
    # Numbers are equal whatever their type, but a program of 1 is not that of 1.0: the texts tell them apart.
    return _built(build, structure, tuple(leaves), str((structure, leaves)), options)


@lru_cache(_KEPT)
def _built(
    build: Build, structure: Any, leaves: tuple[Any, ...], texts: str, options: tuple[tuple[str, str | bool], ...]
) -> stages.Wrapped:
    """Return what `build` makes of a method and a plan with such `leaves`, whose `texts` only tell them from others."""
    method, plan = jax.tree.unflatten(structure, leaves)
    return build(method, plan, dict(options))


def _is_fixed(part: Any) -> bool:
    """Return whether `part`, and everything in it, is hashable and defined by the library or what the library is built on."""
    if isinstance(part, jax.tree_util.PyTreeDef):
        kind, more = part.node_data() or (tuple, ())
        # The keys of a dictionary are a list there, and the whole is hashable all the same.
        return _is_known(kind) and _is_fixed(tuple(more or ())) and all(map(_is_fixed, part.children()))
    if isinstance(part, tuple | frozenset):
        return all(map(_is_fixed, part))
    if isinstance(part, eqx.Module):
        return all(map(_is_fixed, (*jax.tree.leaves(part), jax.tree.structure(part))))
    if isinstance(part, types.FunctionType):
        return part.__closure__ is None and _is_known(part)
    if isinstance(part, _PLAIN):
        return True
    return isinstance(part, Hashable) and _is_known(part if isinstance(part, type) else type(part))


def _is_known(named: Any) -> bool:
    return named in (tuple, list, dict, type(None)) or str(named.__module__).partition(".")[0] in _FIXED
