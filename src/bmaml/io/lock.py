"""A lock on a folder, so that two trainings never write into one."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from bmaml.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None

LOCK = ".lock"
# A folder from somebody else may hold a link, which must not be followed to a place outside the folder.
_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made if it is not there. A lock ends with its process, however that ends.

    The lock file is removed at the end, and so is a folder that was made and stayed empty. On file systems without locks a
    warning is given instead.
    Raises: InputError if another training holds the lock; OSError if the folder cannot be made or written.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    handle = _acquired(path)
    try:
        yield
    finally:
        # Whoever opened the same file before it is removed sees that it has no name any more, and opens another.
        path.unlink(missing_ok=True)
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_unlocked(folder: Path) -> None:
    """Check that no other training holds the lock of `folder` now.

    Raises: InputError if one does.
    """
    path = folder / LOCK
    if path.exists():
        with contextlib.suppress(OSError):
            handle = os.open(path, _OPEN)
            try:
                _lock(handle, path)
            finally:
                os.close(handle)


def _acquired(path: Path) -> int:
    while True:
        handle = os.open(path, _OPEN | os.O_CREAT, 0o666)
        try:
            _lock(handle, path)
            if os.path.samestat(os.fstat(handle), os.lstat(path)):
                return handle
        except FileNotFoundError:  # removed by the training that held it
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{path.parent} is being written by another training: wait for its end, or give another folder."
        ) from None
    except OSError as error:
        text = f"{path.parent} cannot be locked ({error.strerror or error}): let only one training at a time write there."
        warnings.warn(text, stacklevel=4)
