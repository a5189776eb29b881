"""Files that are complete or absent, and reading that ends.

Everything that the library reads goes through `open_plain` or `read_plain`, and everything that it writes as a whole through
`replacing`. A file that is being written has a name of its own beside its target. A process that is killed leaves such a file
behind, and the next one that writes the same target removes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from io import BufferedRandom, BufferedReader
from pathlib import Path
from tempfile import SpooledTemporaryFile

try:
    import fcntl
except ImportError:  # Windows, where open files cannot be removed anyway
    fcntl = None

# Up to this size the free memory is not asked for.
_SMALL = 2**28
# Bytes of waiting texts that are held in memory.
_SPOOLED = 2**24
# Seconds after which a file that nobody writes any more is removed. A new one may be about to be locked.
_AGE = 60.0


def open_plain(path: str | Path, *, links: bool = True) -> BufferedReader:
    """Return the plain file at `path`, open for reading bytes.

    `links` says whether the file may be a link. In a folder from somebody else a link could lead to any file.
    Raises: OSError as the system does, and for a pipe, a socket or a device, of which a read may never end.
    """
    path = Path(path)
    _check_plain(path, (path.stat() if links else path.lstat()).st_mode)
    flags = (
        os.O_RDONLY
        | (0 if links else getattr(os, "O_NOFOLLOW", 0))
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
        | getattr(os, "O_BINARY", 0)
    )
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_plain(path, os.fstat(file.fileno()).st_mode)  # The file may have been exchanged since.
    except OSError:
        file.close()
        raise
    return file


def _check_plain(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
        raise OSError(errno.EINVAL, f"it is {kinds.get(stat.S_IFMT(mode), 'a device')} and no plain file", str(path))


def read_plain(path: str | Path, most: int | None = None, growth: int = 1, *, links: bool = True) -> bytes:
    """Return the content of the plain file at `path`.

    - `most`: bytes that are read at most; None takes what memory is free.
    - `growth`: bytes of memory that a byte of the file takes once it is understood.
    - `links`: as in `open_plain`.

    Raises: OSError as `open_plain` does, and for a larger file.
    """
    with open_plain(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        most = _room(size * growth) // growth if most is None else most
        content = file.read(most + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return content


def _room(wanted: int) -> int:
    """Return how many bytes of memory may be taken, if that is less than `wanted`."""
    return _SMALL if wanted <= _SMALL else free_memory()


def free_memory() -> int:
    """Return the bytes of memory that are free, or a small amount if fewer are."""
    import psutil

    return max(_SMALL, psutil.virtual_memory().available)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BufferedRandom]:
    """Open a new file for writing, which takes the name `path` at the end. After an error nothing of it is left.

    A reader, or a crash, sees the old content or the new one and nothing in between. The user's umask gives the permissions.
    Raises: OSError as the system does (no space, no permission), with `path` as its file name. The old file is then unchanged.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _remove_left(path)
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "w+b") as file:
            hold(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(part), str(path.parent)):
            error.filename, error.filename2 = str(path), None
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def waiting() -> Iterator[SpooledTemporaryFile[str]]:
    """Open a nameless file for texts that wait until all of them are there. Few of them stay in memory."""
    with SpooledTemporaryFile(_SPOOLED, "w+", encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield file


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to the file `path`, whole or not at all.

    Names of files that are not UTF-8 are written with the bytes that they have.
    Raises: OSError as `replacing` does.
    """
    with replacing(path) as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)


def _remove_left(path: Path) -> None:
    """Remove what killed processes left behind of this file."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}", re.ASCII)
    for entry in os.scandir(str(path.parent)):
        if left.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _AGE and is_unused(entry.path):
                    os.unlink(entry.path)


def is_unused(path: str | Path) -> bool:
    """Return whether no process is writing the half-written file `path`."""
    try:
        with open_plain(path) as file:
            return hold(file.fileno())
    except OSError:
        return False


def hold(handle: int) -> bool:
    """Lock the open file `handle` for this process, which ends with the process; return whether nobody else had locked it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of the plain file at `path`, in hexadecimal, as `digest` of its content would be.

    Raises: OSError as `open_plain` does.
    """
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: bytes | str) -> str:
    """Return the SHA-256 of `content`, in hexadecimal. Text is taken as UTF-8, with names of files that are not as they are."""
    content = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()
