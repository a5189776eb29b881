"""Kill -9 at every call of a save, a full disk at every size, and a disk that cannot be written.

Each attempt is a forked process, which dies where it is told to. Then the folder must hold the state from before or the one
from after, the same save must succeed, and nothing half-written may be left.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder, pack
from bmaml.io.files import digest, read_plain
from bmaml.training.plan import Plan

# The calls of Python through which files change, or through which a process waits for them.
CALLS = ("open", "fsync", "replace", "unlink", "mkdir", "rmdir", "close")
SYSTEM_CALLS = (
    *("openat", "mkdir", "flock", "newfstatat", "getdents64", "lseek", "read", "write", "fsync", "rename", "unlink", "rmdir"),
    "close",
)
PARTS = {"plan": Plan(10), "numbers": np.arange(200.0)}


def state(step: int) -> dict[str, np.ndarray]:
    """A training state that tells its step."""
    return {"w": np.full(300, step, np.float32)}


@dataclass(frozen=True)
class Save:
    """Something that is written: `before` prepares the folder, `action` is killed, and `steps` may be found after it."""

    name: str
    before: Callable[[RunFolder], None]
    action: Callable[[RunFolder], None]
    steps: tuple[int | None, ...]


def _begun(folder: RunFolder) -> None:
    folder.create(PARTS, {"name": "first"})
    for step in (1, 2):
        folder.save(state(step), [{"step": step}], step)


def _made(folder: RunFolder, *, overwrite: bool = False) -> None:
    with folder.lock():
        folder.create(PARTS, {"name": "second"}, overwrite=overwrite)
        folder.begin_log("")
        folder.save(state(3), [{"step": 3}], 3)


def _gone_on(folder: RunFolder) -> None:
    with folder.lock():
        folder.clean()
        folder.begin_log('{"step": 2}\n')
        folder.log('{"step": 3}\n')
        folder.save(state(3), [{"step": 3}], 3)


SAVES = (
    Save("a checkpoint of a run", _begun, _gone_on, (2, 3)),
    Save("a new run", lambda folder: None, _made, (None, 3)),
    Save("a run over another", _begun, lambda folder: _made(folder, overwrite=True), (2, None, 3)),
)


def found(folder: RunFolder) -> int | None:
    """The step that a folder holds, after a check of its files; None if it holds no checkpoint."""
    if not (folder.path / "run.json").exists():
        return None
    assert folder.describes(PARTS)
    if not (step := folder.step()):
        return None
    content = read_plain(folder.path / f"checkpoint-{step:08d}.safetensors")
    assert content == pack(state(step))
    assert digest(content) in (folder.path / "manifest.json").read_text()
    return step


def _judge(save: Save, folder: RunFolder) -> None:
    """Assert that nothing was lost or mixed, and that the same thing can be done again."""
    if (step := _settled(folder)) not in save.steps:
        raise AssertionError(f"{save.name}: step {step} is there")
    if save.action is _gone_on:
        save.action(folder)
    else:
        _made(folder, overwrite=(folder.path / "run.json").exists())
    assert found(folder) == 3
    left = [file.name for file in folder.path.iterdir() if file.name.startswith(".")]
    assert not left, left


def _settled(folder: RunFolder) -> int | None:
    try:
        return found(folder)
    except InputError as error:
        # A manifest of a run that is being replaced names checkpoints that are gone, and `create` takes their place.
        if "is not there" in str(error) or "is gone" in str(error):
            return None
        raise


@contextmanager
def _prepared(save: Save, place: Path) -> Iterator[RunFolder]:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "bystander").write_text("mine")
    folder = RunFolder(place / "run", keep=2)
    save.before(folder)
    yield folder
    assert sorted(file.name for file in place.iterdir()) in (["bystander"], ["bystander", "run"])
    assert (place / "bystander").read_text() == "mine"


def forked(action: Callable[[], None]) -> int:
    """The exit code of a forked process that does something: 2 if it was refused by a sentence, -9 if it was killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks. No program of JAX runs here.
        process = os.fork()
    if not process:
        code = 1
        try:
            action()
            code = 0
        except InputError:
            code = 2
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def _dying(at: int, how: str) -> None:
    """Let this process die at call number `at`: before it, after it, or with half of what it has written (`torn`)."""
    counted = [0]

    def wrapped(real: Callable) -> Callable:
        def call(*arguments, **options):
            counted[0] += 1
            if counted[0] == at and how == "torn":
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            if counted[0] == at and how != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            mine = counted[0] == at  # A call may make others.
            try:
                return real(*arguments, **options)
            finally:
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in ("fsync",) if how == "torn" else CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def killed(place: Path, stride: int = 1) -> Iterator[tuple[str, bool]]:
    """Kill each save before, in and after each of its calls (or every `stride`-th); yield what was tried, and True."""
    for save in SAVES:
        for how in ("before", "after", "torn"):
            code, at = -signal.SIGKILL, 0
            while code == -signal.SIGKILL:
                at += stride
                with _prepared(save, place) as folder:
                    code = forked(lambda folder=folder, at=at, how=how, save=save: (_dying(at, how), save.action(folder)))
                    _judge(save, folder)
                if code:
                    yield f"kill -9 at a call of {save.name}", True
            assert code == 0
            assert at > (2 if how == "torn" else 10), f"{save.name} {how}: {at} calls were counted"


def traced(place: Path) -> Iterator[tuple[str, bool]]:
    """Kill each save as it enters each of its system calls, by strace."""
    if shutil.which("strace") is None:
        return
    for save in SAVES:
        for name in SYSTEM_CALLS:  # strace counts the calls of each name
            at = whole = 0
            # The tracer may come late, so that two whole saves in a row show that there are no more calls.
            while whole < 2:
                at += 1
                with _prepared(save, place) as folder:
                    code = _traced(name, at, lambda folder=folder, save=save: save.action(folder))
                    _judge(save, folder)
                whole = 0 if code else whole + 1
                if code:
                    yield f"kill -9 at a system call of {save.name}", True


def _traced(name: str, at: int, action: Callable[[], None]) -> int:
    ready, go = os.pipe()

    def waiting() -> None:
        os.close(go)
        os.read(ready, 1)
        action()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = os.fork()
    if not process:
        try:
            waiting()
        finally:
            os._exit(0)
    os.close(ready)
    kill = ["-e", f"inject={name}:signal=SIGKILL:when={at}"]
    with subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(process), *kill], stderr=subprocess.DEVNULL) as strace:
        while b"TracerPid:\t0\n" in Path(f"/proc/{process}/status").read_bytes():
            time.sleep(0.001)
        time.sleep(0.01)
        with suppress(BrokenPipeError):  # The first calls are those of waiting.
            os.write(go, b"x")
        os.close(go)
        _, status = os.waitpid(process, 0)
        strace.wait()
    return os.waitstatus_to_exitcode(status)


def full(place: Path, sizes: range = range(0, 3000, 100)) -> Iterator[tuple[str, bool]]:
    """No file may be larger than a limit, as on a full disk: a save is refused by a sentence, or complete."""
    for save in SAVES:
        for size in sizes:
            with _prepared(save, place) as folder:

                def limited(folder: RunFolder = folder, save: Save = save, size: int = size) -> None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                    save.action(folder)

                code = forked(limited)
                assert code in (0, 2), code
                _judge(save, folder)
            yield f"a full disk at {save.name}", code == 2


def short(place: Path) -> Iterator[tuple[str, bool]]:
    """The part that the tests run."""
    yield from killed(place, 4)
    yield from full(place, range(0, 3000, 1000))


def unwritable(place: Path) -> Iterator[tuple[str, bool]]:
    """A disk of 64 kB that another file fills, and one that is mounted for reading; for the superuser of Linux alone."""
    disk = place.with_name(f"{place.name}-disk")
    disk.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False).returncode:
        return
    try:
        for save in SAVES:
            for free in range(0, 14):
                with _prepared(save, disk / "place") as folder:
                    filler = disk / "filler"
                    with open(filler, "wb", buffering=0) as file:
                        try:
                            while file.write(bytes(4096)):
                                pass
                        except OSError:
                            pass
                    os.truncate(filler, max(filler.stat().st_size - 4096 * free, 0))
                    code = forked(lambda folder=folder, save=save: save.action(folder))
                    filler.unlink()
                    assert code in (0, 2), code
                    _judge(save, folder)
                yield f"a disk without space at {save.name}", code == 2
            with _prepared(save, disk / "place") as folder:
                subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
                code = forked(lambda folder=folder, save=save: save.action(folder))
                subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
                assert code == 2, code
                _judge(save, folder)
            yield f"a disk for reading at {save.name}", True
    finally:
        subprocess.run(["umount", disk], check=True)
