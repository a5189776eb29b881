"""How much memory a program takes, known before it runs, and what to change if too little is free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax import stages
from jaxtyping import PyTree

from bmaml.errors import NoRoomError, in_a_row
from bmaml.training.plan import Plan


def needed_bytes(program: stages.Compiled) -> int:
    """Return the bytes that the compiled `program` holds at once: arguments, results and temporaries, in XLA's layout.

    Returns 0 if the platform does not say.
    """
    laid_out = program.memory_analysis()
    if laid_out is None:
        return 0
    shared = laid_out.alias_size_in_bytes
    return laid_out.argument_size_in_bytes + laid_out.output_size_in_bytes + laid_out.temp_size_in_bytes - shared


def free_bytes() -> int | None:
    """Return the bytes that a program on the default device can still take, or None where the platform does not say.

    On a CPU this is the memory that the machine has available, swap included, within the limits of this process and of its
    control groups (a container's limit is one).
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    found = [psutil.virtual_memory().available + psutil.swap_memory().free, *group_rooms()]
    if hasattr(psutil, "RLIMIT_AS"):  # Only where the system has such limits.
        process = psutil.Process()
        limit = process.rlimit(psutil.RLIMIT_AS)[0]
        found += [limit - process.memory_info().vms] if limit != psutil.RLIM_INFINITY else []
    return max(min(found), 0)


def group_rooms(root: Path = Path("/")) -> list[int]:
    """Return the bytes left to each control group of Linux that this process is in and that has a limit.

    No library reads them. Pages of files that the system can drop count as free. `root` is where the system's files begin.
    """
    rooms = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            top, limit, used, droppable = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            top, droppable = "sys/fs/cgroup/memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = root / top / path.lstrip("/")
        # A group's limit holds for the groups inside of it; a container may see its own group alone, at the top.
        for place in (group, *(parent for parent in group.parents if parent.is_relative_to(root / top))):
            most, taken = _read(place / limit), _read(place / used)
            if most is not None and taken is not None and most.strip().isdigit():
                stat = dict(entry.split() for entry in (_read(place / "memory.stat") or "").splitlines())
                rooms.append(int(most) - int(taken) + int(stat.get(droppable, 0)))
    return rooms


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def check_memory(program: stages.Compiled, plan: Plan, sizes: Sequence[str]) -> int:
    """Return the bytes that a training `program` needs; `plan` and `sizes` (`AbstractMethod.SIZES`) say what can be changed.

    Raises: NoRoomError if fewer bytes are free, with what to change.
    """
    return _within(needed_bytes(program), plan, sizes)


def check_scoring(program: stages.Compiled) -> None:
    """Check that a `program` which scores tasks fits the free memory.

    Raises: NoRoomError if it does not fit, with what to change.
    """
    needed, free = needed_bytes(program), free_bytes()
    if free is not None and needed > free:
        room = f"scoring would take {in_words(needed)} of memory and {in_words(free)} are free"
        raise NoRoomError(
            f"{room}: use fewer shots, queries, particles or tasks at a time (batch).",
            room=room,
            options=("shots", "queries", "particles"),
        )


def check_start(state: PyTree[Any], plan: Plan, sizes: Sequence[str]) -> None:
    """Check that a `state` of which the shapes are known fits the free memory; `plan` and `sizes` are as in `check_memory`.

    JAX would otherwise fill the memory, or end in an error of its own, before there is a program whose memory could be read.
    Raises: NoRoomError if it does not fit.
    """
    _within(sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)), plan, sizes)


def _within(needed: int, plan: Plan, sizes: Sequence[str]) -> int:
    """Return `needed` bytes.

    Raises: NoRoomError if fewer are free.
    """
    free = free_bytes()
    if free is None or needed <= free:
        return needed
    accumulate = f"accumulation_steps={plan.batch} in the plan, " if plan.accumulation_steps < plan.batch else ""
    room = f"training would take {in_words(needed)} of memory and {in_words(free)} are free"
    raise NoRoomError(
        f"{room}: use {accumulate}checkpoint=True on the method, or fewer {in_a_row(['tasks in a meta-batch', *sizes])}.",
        room=room,
        options=("batch", *(name.replace(" ", "-") for name in sizes)),
    )


def in_words(size: int) -> str:
    """Return `size`, a number of bytes, in the way people say it, such as 1.5 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
