"""The user's own cache folder, and the compiled programs in it that the next process need not compile again.

JAX keeps programs (its persistent compilation cache), and this module gives it a folder. A program that is read is run. So
the folder must be one in which only its user writes, and any other is refused. Programs of another jaxlib or another
processor lie in another folder. JAX writes a program in place, so a process marks the folder while it may write, and what a
killed process may have left half-written is removed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import secrets
import stat
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from bmaml.errors import InputError
from bmaml.io.files import digest, hold, is_unused, open_plain

OFF = "off"
"""The value of BMAML_CACHE with which nothing is kept."""
_MOST = 2**30  # Bytes of all programs. Those read longest ago are removed first.
_PROGRAM, _READ, _MARK = "-cache", "-atime", ".writing-"
# Padded rows of a table up to which compiling takes longer than running.
_FEW_ROWS = 4000
# What JAX reads of the environment when it is imported, and its setting in a process that has imported it.
_SETTINGS = {
    "jax_compilation_cache_dir": "",
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


class Kept(NamedTuple):
    """The programs of one processor and one version of jaxlib: `folder`, number of `programs`, and `size` in bytes."""

    folder: Path
    programs: int
    size: int


def cache_folder() -> Path | None:
    """Return the folder of caches: the environment variable BMAML_CACHE, or `bmaml` in the user's cache folder.

    It is None if BMAML_CACHE is `off`.
    """
    chosen = os.environ.get("BMAML_CACHE")
    if chosen == OFF:
        return None
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(chosen) if chosen else (Path(base) if base else Path.home() / ".cache") / "bmaml"


def keep_programs() -> Path | None:
    """Let JAX keep the programs that it compiles from now on, for this process and later ones, and read those kept before.

    The command line does this by itself. A program calls it before it imports JAX, because XLA otherwise logs a wrong warning
    for each program that it reads. Returns the folder, which is `programs` in the cache folder and has a folder in it
    for each processor and version of jaxlib. It is None if BMAML_CACHE is `off`, or JAX was given a folder already
    (JAX_COMPILATION_CACHE_DIR), and nothing is changed then.
    Raises: InputError if somebody else could write into the folder, or it cannot be made.
    """
    base = cache_folder()
    if base is None or _chosen_by_user():
        return None
    folder = base.absolute() / "programs" / f"{version('jaxlib')}-{_processor()}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        for private in (folder.parent, folder):
            private.mkdir(mode=0o700, exist_ok=True)
        _check_private(folder)
        _remove_half_written(folder)
        _remove_oldest(folder.parent)
        _mark(folder)
    except OSError as error:
        raise InputError(
            f"compiled programs cannot be kept in {folder} ({error.strerror or error}): set BMAML_CACHE to a folder of yours, "
            "or to off."
        ) from error
    _tell_jax(folder)
    return folder


def compiler_options(*, runs_once: bool = False) -> dict[str, str | bool]:
    """Return what the compiler is told of a program: on a CPU, to optimise less than it would by itself.

    LLVM's first level compiles a meta-step in about half the time of its third one, and the meta-step is as fast. A program
    that runs once, or for a moment (`runs_once`), is not optimised at all. What the user has told JAX comes first.
    """
    import jax

    if jax.config.read("jax_disable_most_optimizations"):
        return {}
    return {"xla_backend_optimization_level": "0" if runs_once else "1"} if jax.default_backend() == "cpu" else {}


def rows_options(rows: int, *, runs_once: bool = False) -> dict[str, str | bool] | None:
    """Return what the compiler is told of a program that goes over all `rows` of a table.

    With few rows it takes longer to compile than to run. With many, None leaves the compiler to itself. `runs_once` is as in
    `compiler_options`.
    """
    return compiler_options(runs_once=runs_once) if rows <= _FEW_ROWS else None


def kept_programs() -> list[Kept]:
    """Return the programs that are kept, by folder."""
    base = cache_folder()
    folders = [] if base is None else sorted(path for path in (base / "programs").glob("*") if path.is_dir())
    sizes = [[path.stat().st_size for path in _programs(folder)] for folder in folders]
    return [Kept(folder, len(each), sum(each)) for folder, each in zip(folders, sizes, strict=True)]


def clear_programs() -> list[Kept]:
    """Remove all programs that are kept, and return what there was.

    Raises: OSError if a file cannot be removed.
    """
    found = kept_programs()
    for kept in found:
        for path in _programs(kept.folder):
            _remove(path)
    return found


def _chosen_by_user() -> bool:
    jax = sys.modules.get("jax")
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR") if jax is None else jax.config.jax_compilation_cache_dir
    # A command that another one has started finds the folder of that one.
    return bool(chosen) and chosen != os.environ.get("_BMAML_PROGRAMS")


def _processor() -> str:
    """Return a short name of what programs of this machine may ask of a processor."""
    told = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError), open_plain("/proc/cpuinfo") as file:
        lines = file.read().decode("utf-8", "replace").split("\n\n")[0].splitlines()
        told += sorted(line for line in lines if line.lower().startswith(("flags", "features", "model name")))
    return digest("\n".join(told))[:12]


def _check_private(folder: Path) -> None:
    """Check that only this user can write into `folder`, or put another folder in its place.

    Raises: InputError that names the folder that others can write.
    """
    if not hasattr(os, "geteuid"):
        return  # Windows: the user's own folder has its own access list.
    own = (folder, folder.parent)
    for path in (*own, *folder.parent.parents):
        found = path.lstat()
        owners = (os.geteuid(),) if path in own else (os.geteuid(), 0)
        # A user's own group often has no other member. Where anybody may write, as in /tmp, the sticky bit keeps others from
        # exchanging what is not theirs.
        others = 0o022 if path in own or found.st_gid != os.getegid() else 0o002
        shared = found.st_mode & others and (path in own or not found.st_mode & stat.S_ISVTX)
        if found.st_uid not in owners or shared or (path in own and not stat.S_ISDIR(found.st_mode)):
            raise InputError(
                f"compiled programs are not kept in {folder}, since others can write into {path} and a program that is read "
                "is run: set BMAML_CACHE to a folder of yours, or to off."
            )


def _mark(folder: Path) -> None:
    """Say by a locked file that this process may be writing into `folder`. The lock ends with the process."""
    mark = folder / f"{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    handle = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    hold(handle)
    owner = os.getpid()

    def unmark() -> None:
        if os.getpid() == owner:  # A forked process ends in here, too.
            mark.unlink(missing_ok=True)

    atexit.register(unmark)


def _remove_half_written(folder: Path) -> None:
    """Remove the programs that are younger than the mark of a process that was killed."""
    for mark in folder.glob(f"{_MARK}*"):
        if is_unused(mark):
            began = mark.stat().st_mtime
            for path in _programs(folder):
                if path.stat().st_mtime >= began:
                    _remove(path)
            mark.unlink(missing_ok=True)


def _remove_oldest(base: Path) -> None:
    """Remove the programs read longest ago, if all programs below `base` take more than their share of the disk."""
    found = [
        (max(s.st_atime, s.st_mtime), s.st_size, path) for f in base.iterdir() for path in _programs(f) for s in [path.stat()]
    ]
    total = sum(size for _, size, _ in found)
    if total > _MOST:
        for _, size, path in sorted(found):
            if total <= _MOST // 2:
                return
            _remove(path)
            total -= size


def _programs(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_PROGRAM}"))


def _remove(program: Path) -> None:
    program.unlink(missing_ok=True)
    program.with_name(program.name.removesuffix(_PROGRAM) + _READ).unlink(missing_ok=True)


def _tell_jax(folder: Path) -> None:
    settings = _SETTINGS | {"jax_compilation_cache_dir": str(folder)}
    os.environ |= {name.upper(): str(value) for name, value in settings.items()} | {"_BMAML_PROGRAMS": str(folder)}
    jax = sys.modules.get("jax")
    if jax is None:
        # XLA calls each program that it reads one of another processor, because it asks for features that are no features but
        # preferences. The name of the folder holds the processor, so that the warning is wrong here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    else:
        from jax.experimental.compilation_cache import compilation_cache

        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX asks for the folder once, when it first compiles.
