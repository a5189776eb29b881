"""Several processes that train one model together, on one machine or on many, by JAX's own engine.

Every process runs the same program on the same arguments, and the tasks of a meta-batch are spread over the devices of all
of them. The first process alone shows progress and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bmaml.errors import BmamlError, InputError, LostProcessError, first_sentence
from bmaml.io.checked import Count, checked

Tree = TypeVar("Tree")

# A process that has said nothing for so many seconds is lost. JAX's own limit is longer than people like to wait.
_SILENT = 30


@checked
def distributed(
    coordinator: str | None = None,
    *,
    processes: Count | None = None,
    process: int | None = None,
    timeout: Count = 300,
) -> None:
    """Make this process one of several that train together, before anything is computed.

    Then give every process the same call of `bmaml.train` or `bmaml.resume`. Under Slurm, Open MPI, Kubernetes and on TPUs the
    arguments are found. Elsewhere give all of them.

    - `coordinator`: address and port of the first process, such as `10.0.0.1:1234`.
    - `processes`: how many processes there are.
    - `process`: the number of this one, from 0.
    - `timeout`: seconds to wait for the others.

    Raises: InputError if no cluster is found and arguments are missing, if they do not fit each other, or if this process has
    used JAX already.
    Source: `jax.distributed.initialize` (https://docs.jax.dev/en/latest/multi_process.html).
    """
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise InputError(f"the coordinator is {coordinator!r}: give its address and its port, such as 10.0.0.1:1234.")
    if process is not None and not 0 <= process < (processes or process + 1):
        last = "" if processes is None else f" to {processes - 1}"
        raise InputError(f"this process is number {process}: give each process its own number, from 0{last}.")
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=timeout, heartbeat_timeout_seconds=_SILENT
        )
    except ValueError:
        raise InputError(
            "no cluster was found that says how many processes there are: give coordinator=, processes= and process=.",
            typed="no cluster was found that says how many processes there are: give --coordinator, --processes and --process.",
        ) from None
    except RuntimeError as error:
        if "before any JAX" in str(error) or "only be called once" in str(error):
            raise InputError("JAX is in use already: call bmaml.distributed() first, and once.") from None
        raise InputError(
            f"the processes do not find each other ({first_sentence(error)}): start all {processes or ''} of them within "
            f"{timeout} seconds, with the address of the first."
        ) from None


def is_first() -> bool:
    """Return whether this process shows progress and writes: the first of several, or the only one."""
    return jax.process_index() == 0


def mesh() -> Mesh:
    """Return the mesh over the devices of all processes, its one axis that of tasks."""
    return Mesh(np.asarray(jax.devices()), ("tasks",))


def replicated() -> NamedSharding:
    """Return the layout in which every device holds the whole."""
    return NamedSharding(mesh(), PartitionSpec())


def on_all_devices(tree: Tree) -> Tree:
    """Return the arrays of `tree` with a copy on every device of every process.

    Raises: InputError if the processes hold different numbers.
    """
    try:
        return jax.device_put(tree, replicated())
    except AssertionError:
        raise InputError(
            "the processes begin with different numbers: give all of them the same method, plan and tasks, and one folder that "
            "all of them see."
        ) from None


def on_own_device(tree: Tree) -> Tree:
    """Return the arrays of `tree`, of which every device holds the whole, as arrays of this process alone."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def agreed(count: int, stop: bool) -> tuple[int, bool]:
    """Return how many meta-steps all processes make next, the first process's `count`, and whether any says `stop`."""
    if jax.process_count() == 1:
        return count, stop
    said = multihost_utils.process_allgather(np.asarray([count, stop], np.int32))
    return int(said[0, 0]), bool(said[:, 1].any())


@contextmanager
def together(step: int) -> Iterator[None]:
    """Say in a sentence that another process was lost, at meta-step `step`.

    Raises: LostProcessError.
    """
    try:
        yield
    except BmamlError:
        raise
    except (RuntimeError, ValueError) as error:
        # The libraries that join processes (Gloo, NCCL) raise errors of these kinds, and have no kind of their own.
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        lost = f"another process of this training ended or was lost at meta-step {step} ({first_sentence(error)})"
        raise LostProcessError(
            f"{lost}: see what it said, then resume the run from its last checkpoint, with any number of processes.",
        ) from error
