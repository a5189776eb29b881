"""Decoded images in one memory-mapped file, with a manifest that says what they were decoded from.

    NAME.npy    uint8, (images, height, width, channels)
    NAME.json   stamp (names, sizes, times), digest of the files' content, digest of the array, the form, the layout

Each file is written completely or not at all, and the manifest last. A cache is made again, with a warning, if its array
does not match its manifest or if the files have other content than the manifest says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmaml.errors import InputError
from bmaml.images.decode import Form
from bmaml.io.files import digest, file_digest, is_unused, read_plain, replacing, write_atomically
from bmaml.io.programs import cache_folder

FORMAT = 1
_NAME = re.compile(r".+-[0-9a-f]{16}\.npy", re.ASCII | re.DOTALL)
_LEFT = re.compile(r"\..+-[0-9a-f]{16}\.(npy|json)\.[0-9a-f]{8}", re.ASCII | re.DOTALL)
# Bytes of a manifest, which has a dozen fields.
_MOST = 2**20


@dataclass(frozen=True)
class Entry:
    """A cache that lies in the folder of caches.

    - `path`: its array.
    - `source`: the images that it was made from.
    - `images`: number of images.
    - `size`: bytes.
    """

    path: Path
    source: str
    images: int
    size: int


def entries(folder: Path | None = None) -> list[Entry]:
    """Return the caches in `folder` (None: the folder of caches). Files that are no caches are left out."""
    found, folder = [], folder or cache_folder()
    for manifest in sorted(folder.glob("*.json")) if folder else ():
        array = manifest.with_suffix(".npy")
        with contextlib.suppress(Exception):  # Whatever is no cache of this version, or damaged.
            content, shape = json.loads(read_plain(manifest, _MOST)), np.load(array, mmap_mode="r").shape
            if content["format"] == FORMAT and _NAME.fullmatch(array.name):
                found.append(Entry(array, str(content["path"]), shape[0], array.stat().st_size + manifest.stat().st_size))
    return found


def clear(folder: Path | None = None) -> list[Entry]:
    """Remove the caches in `folder` (None: the folder of caches) and what killed processes left of any; return the caches.

    Other files stay. The images are decoded again when they are needed.
    Raises: OSError if a file cannot be removed.
    """
    folder, found = folder or cache_folder(), entries(folder)
    for entry in found:
        entry.path.with_suffix(".json").unlink()
        entry.path.unlink()
    for path in folder.glob(".*") if folder else ():
        if _LEFT.fullmatch(path.name) and is_unused(path):
            path.unlink(missing_ok=True)
    return found


class Cache:
    """The cache of one source, read in one way. `wanted` names the source and the way.

    Nothing is read or kept if BMAML_CACHE is `off` and no `folder` is given.
    """

    def __init__(self, wanted: dict[str, Any], folder: Path | None = None):
        self.folder = folder or cache_folder()
        self.name = f"{Path(wanted['path']).stem}-{digest(json.dumps(wanted, sort_keys=True).encode())[:16]}"
        self.array, self.manifest = ((self.folder or Path()) / f"{self.name}.{kind}" for kind in ("npy", "json"))

    def describe(self) -> dict[str, Any] | None:
        """Return the manifest, or None if there is none that can be read (the cache is then made again)."""
        if self.folder is None:
            return None
        try:
            content = json.loads(read_plain(self.manifest, _MOST))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or content.get("format") != FORMAT or not {"stamp", "content"} <= set(content):
            self._say("is damaged or of another version")
            return None
        return content

    def load(self, described: dict[str, Any]) -> np.ndarray | None:
        """Return the memory-mapped array, or None, with a warning, if it differs from the manifest `described`."""
        try:
            if file_digest(self.array) == described["array"]:
                return np.load(self.array, mmap_mode="r")
        except Exception:  # A damaged header raises any error of Python's parser.
            pass
        self._say("is damaged")
        return None

    def stale(self) -> None:
        """Warn that the source has changed."""
        self._say("is of other content than the files have now")

    def touch(self, described: dict[str, Any], stamp: str) -> None:
        """Write into the manifest `described` that the files have a new `stamp` and the same content.

        If that fails, the files are read again next time.
        """
        with contextlib.suppress(InputError):
            self._write_manifest(described | {"stamp": stamp})

    def build(self, rows: Iterable[np.ndarray], count: int, form: Form, described: dict[str, Any]) -> np.ndarray:
        """Decode into a new cache and return its array. If the cache cannot be written, the array stays in memory, with a
        warning.

        - `rows`: the decoded images in order.
        - `count`: number of images.
        - `form`: height, width and channels.
        - `described`: the manifest to write.
        """
        if self.folder is None:
            return _in_memory(rows, count, form)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))
        except OSError as error:
            warnings.warn(
                f"the cache folder {self.folder} cannot be written ({error.strerror or error}), so images are decoded again "
                "each time: set BMAML_CACHE to another folder.",
                stacklevel=2,
            )
            return _in_memory(rows, count, form)
        head = {"descr": "|u1", "fortran_order": False, "shape": (count, *form.shape)}
        try:
            # Written like any file, because a full disk ends a process that writes into mapped memory.
            with replacing(self.array) as file:
                np.lib.format.write_array_header_1_0(file, head)
                for row in rows:
                    file.write(np.ascontiguousarray(row, np.uint8).tobytes())
                file.seek(0)
                found = hashlib.file_digest(file, "sha256").hexdigest()
            self._write_manifest(described | {"format": FORMAT, "array": found, "form": asdict(form)})
        except OSError as error:
            raise InputError(
                f"cannot write the cache {self.array} ({error.strerror or error}): free some space, or set BMAML_CACHE to "
                "another folder."
            ) from error
        return np.load(self.array, mmap_mode="r")

    def _write_manifest(self, described: dict[str, Any]) -> None:
        try:
            write_atomically(self.manifest, json.dumps(described))
        except OSError as error:
            raise InputError(f"cannot write {self.manifest} ({error.strerror or error}): free some space.") from error

    def _say(self, what: str) -> None:
        warnings.warn(f"the cache {self.array} {what}: it is made again from the images.", stacklevel=2)


def _in_memory(rows: Iterable[np.ndarray], count: int, form: Form) -> np.ndarray:
    target = np.empty((count, *form.shape), np.uint8)
    for place, row in enumerate(rows):
        target[place] = row
    return target
