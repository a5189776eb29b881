"""The trainings of a board as independent jobs of a Dask cluster. Each job is the same command with `--part`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bmaml.errors import InputError


class Ended(NamedTuple):
    """How a job ended: its `part`, its exit `code`, and the `last` line that it wrote to standard error."""

    part: int
    code: int
    last: str


def do_part(arguments: Sequence[str], folder: str, part: int, parts: int) -> Ended:
    """Do one part of a board in a process of its own, on a worker that sees the same `folder` as whoever asked.

    - `arguments`: the words after `bmaml`.
    - `folder`: the current folder of the command.
    - `part`, `parts`: which of how many, from 1.
    """
    command = [sys.executable, "-m", "bmaml", *arguments, "--part", f"{part}/{parts}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Ended(part, done.returncode, (done.stderr.strip().splitlines() or [""])[-1])


def on_dask(address: str, arguments: Sequence[str], parts: int, said: Callable[[str], None]) -> None:
    """Do all `parts` of a board on the Dask cluster at `address`, and return when all are done.

    - `arguments`: the words after `bmaml`, without those about the cluster.
    - `parts`: how many parts.
    - `said`: is called with a line of text for each part that is done.

    Raises: InputError if Dask is not installed, the cluster does not answer, or a part fails.
    """
    try:
        from distributed import Client, as_completed
    except ModuleNotFoundError:
        raise InputError("Dask is not installed: pip install 'bmaml[dask]'.") from None
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {address} ({type(error).__name__}): check its address.") from error
    with client:
        jobs = [client.submit(do_part, list(arguments), os.getcwd(), part + 1, parts, pure=False) for part in range(parts)]
        for done, job in enumerate(as_completed(jobs), 1):
            ended = job.result()
            if ended.code:
                raise InputError(f"part {ended.part} of {parts} failed ({ended.last}): mend that and give the command again.")
            said(f"part {ended.part} is done, {done} of {parts}")
