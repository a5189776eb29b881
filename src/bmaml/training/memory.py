"""How much memory a training program takes, known before it runs, and what to change if too little is free."""

from __future__ import annotations

import re
from pathlib import Path

import jax
from jax import stages

from bmaml.errors import InputError
from bmaml.training.plan import Plan


class NoRoomError(InputError):
    """A program needs more memory than is free."""


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
    """Return the bytes that a program on the default device can still take, or None if the platform does not say.

    On a CPU these are the bytes that the machine has available, swap included, within the limit of this process's control
    group.
    """
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    found = [room for room in (_machine(), _group()) if room is not None]
    return min(found, default=None)


def _machine() -> int | None:
    table = _read("/proc/meminfo")
    if table is None:
        return None
    sizes = {name: 1024 * int(kilobytes) for name, kilobytes in re.findall(r"(\w+):\s+(\d+) kB", table)}
    return sizes["MemAvailable"] + sizes.get("SwapFree", 0) if "MemAvailable" in sizes else None


def _group() -> int | None:
    limit, used = _read("/sys/fs/cgroup/memory.max"), _read("/sys/fs/cgroup/memory.current")
    if limit is None or used is None or not limit.strip().isdigit():
        return None
    return int(limit) - int(used)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def check_memory(program: stages.Compiled, plan: Plan) -> int:
    """Return the bytes that a training `program` needs; `plan` says what can be changed.

    Raises: NoRoomError if fewer bytes are free, with what to change.
    """
    needed, free = needed_bytes(program), free_bytes()
    if free is None or needed <= free:
        return needed
    accumulate = f"accumulation_steps={plan.batch} in the plan, " if plan.accumulation_steps < plan.batch else ""
    raise NoRoomError(
        f"training would take {in_words(needed)} of memory and {in_words(free)} are free: use {accumulate}checkpoint=True on "
        "the method, or fewer tasks in a meta-batch, particles, inner steps or queries."
    )


def in_words(size: int) -> str:
    """Return `size`, a number of bytes, in the way people say it, such as 1.5 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
