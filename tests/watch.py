"""What code does besides computing: an audit hook that tells which files it opens and writes and what it starts."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REFUSED = (
    *("subprocess.", "socket.", "shutil.", "tempfile.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "pty."),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "os.kill", "pickle.find_class"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("os.utime", "os.putenv", "os.unsetenv", "os.setxattr", "os.removexattr", "signal.pthread_kill"),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_WATCHING: list[tuple[list[str], list[str]]] = []


def _hook(event: str, arguments: tuple) -> None:
    for roots, seen in _WATCHING:
        if event.startswith(_REFUSED):
            seen.append(f"{event}{arguments}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, _, flags = arguments
            place = os.path.realpath(os.fsdecode(path))
            if isinstance(flags, int) and flags & _WRITES:
                seen.append(f"open for writing {place}")
            elif not any(place == root or place.startswith(root + os.sep) for root in roots):
                seen.append(f"open {place}")


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """A list of what is done meanwhile besides reading files of `folder`, of Python and of installed packages."""
    package = Path(__file__).parents[1]
    code = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(package / "src"), str(package / "tests")]
    roots = [os.path.realpath(root) for root in (folder, *code, *filter(None, sys.path))]
    # A folder on the path may hold anything, but the folder of temporary files is no place for code.
    roots = [root for root in roots if root not in (os.path.realpath(tempfile.gettempdir()), "/")]
    seen: list[str] = []
    _WATCHING.append((roots, seen))
    try:
        yield seen
    finally:
        _WATCHING.remove((roots, seen))
