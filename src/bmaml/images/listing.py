"""The files of a folder or a zip, and their bytes. Nothing is ever unpacked."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bmaml.errors import InputError, first_sentence
from bmaml.io.files import digest, open_plain, read_plain

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
# Files that may lie beside images: notes, splits, and what operating systems leave behind.
_BESIDE = (".csv", ".txt", ".md", ".json", ".xml", ".html", ".yaml", ".yml", ".db", ".ini", ".mat", ".py", "")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_LARGEST = 2**28


@dataclass(frozen=True)
class Listed:
    """One file: `name` is its place below the root, `stamp` changes when the file does, and `read` returns its bytes."""

    name: str
    stamp: str
    read: Callable[[], bytes]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the file, outermost first."""
        return PurePosixPath(self.name).parts[:-1]

    @property
    def file(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.name).name


@dataclass(frozen=True)
class Listing:
    """The `images` and the text files `texts` (splits, notes) of a folder or zip at `root`, both sorted by name."""

    root: Path
    images: tuple[Listed, ...]
    texts: tuple[Listed, ...]

    @property
    def stamp(self) -> str:
        """A digest of names, sizes and times. It stays equal if no file was touched, and needs no reading of contents."""
        return digest("\n".join(f"{file.name}:{file.stamp}" for file in (*self.images, *self.texts)))


def list_files(root: str | Path) -> Listing:
    """Return the files of a folder or a zip at `root`. Zips at the top of a folder are read like folders.

    Raises: InputError for a missing path, a zip that is damaged or would write outside its folder, a pickle, a file that is
    neither an image nor a note, a pipe or a device, a folder that cannot be read, or a root without images.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"there is no {root}: give the path of a folder or a zip of images.")
    files = sorted(_folder(root) if root.is_dir() else _zipped(root), key=lambda file: file.name)
    images, texts = [], []
    for file in files:
        kind = PurePosixPath(file.file).suffix.lower()
        if kind in IMAGES:
            images.append(file)
        elif kind in (".csv", ".txt"):
            texts.append(file)
        elif kind not in _BESIDE:
            raise _refused(root, file, kind)
    if not images:
        raise InputError(f"{root} holds no images: give a folder (or a zip) of class folders of images, such as PNG or JPEG.")
    return Listing(root, tuple(images), tuple(texts))


def _refused(root: Path, file: Listed, kind: str) -> InputError:
    if kind in _PICKLES:
        return InputError(
            f"{root / file.name} is a pickle, which could run any code, so it is not opened: give the images as class folders, "
            "or arrays in memory to bmaml.images.from_arrays."
        )
    return InputError(f"{root / file.name} is no image that this reads ({kind}): give it as PNG or JPEG, or remove it.")


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _folder(root: Path) -> Iterator[Listed]:
    seen = set()
    for place, folders, files in os.walk(root, onerror=_unreadable, followlinks=True):
        real = os.path.realpath(place)
        # A link may lead to a folder above it.
        folders[:] = sorted(f for f in folders if not _hidden((f,))) if real not in seen else []
        seen.add(real)
        for file in files:
            path = Path(place, file)
            if _hidden((file,)):
                continue
            if path.parent == root and file.lower().endswith(".zip"):
                yield from _zipped(path)
                continue
            about = _about(path)
            name = path.relative_to(root).as_posix()
            yield Listed(name, f"{about.st_size}:{about.st_mtime_ns}", lambda path=path: _bytes(path))


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror or error}): restore or remove it.") from error


def _about(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:  # Such as a link to nowhere.
        raise InputError(f"{path} cannot be read ({error.strerror or error}): restore or remove it.") from error


def _bytes(path: Path) -> bytes:
    try:
        return read_plain(path, _LARGEST)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): restore or remove it.") from error


def _zipped(path: Path) -> Iterator[Listed]:
    if path.suffix.lower() in _PICKLES:
        raise _refused(path.parent, Listed(path.name, "", bytes), path.suffix.lower())
    try:
        with open_plain(path):
            archive = zipfile.ZipFile(path)
        members = archive.infolist()
    except Exception as error:  # A damaged archive also raises struct.error, UnicodeDecodeError, ...
        raise InputError(
            f"{path} is not a zip that can be read ({_why(error)}): give a folder of images, or a good copy of the zip."
        ) from error
    for member in members:
        _check_member(path, member)
        parts = PurePosixPath(member.filename).parts
        if not member.is_dir() and not _hidden(parts):
            stamp = f"{member.file_size}:{member.CRC}"
            yield Listed("/".join(parts), stamp, lambda member=member: _member(archive, path, member))


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise InputError(f"{path} has a member {name!r} that points outside the zip: it is refused; give a zip that you trust.")
    if member.file_size > _LARGEST:
        raise InputError(f"{path} has a member {name!r} of {member.file_size} bytes: use images of at most {_LARGEST} bytes.")


def _member(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(member)
    except Exception as error:  # A damaged member also raises zlib.error, lzma.LZMAError, ...
        raise InputError(f"{path}, member {member.filename!r} cannot be read ({_why(error)}): give a good copy.") from error


def _why(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else first_sentence(error)
