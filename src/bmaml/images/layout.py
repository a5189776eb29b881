"""The class, superclass and part of each image, from its folders and from the split files beside it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bmaml.errors import InputError
from bmaml.images.listing import Listed, Listing

# Names of top folders and of split files that stand for a part of the classes.
PARTS = {
    "train": "train",
    "base": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "novel": "test",
    "images_background": "background",
    "images_evaluation": "evaluation",
}
_OMNIGLOT = {"images_background", "images_evaluation"}


@dataclass(frozen=True)
class Placed:
    """One image file and its place: `kind` is its class, `superclass` an alphabet or "", and `part` a part of the classes or
    "".

    `listed` is the file.
    """

    listed: Listed
    kind: str
    superclass: str
    part: str


@dataclass(frozen=True)
class Layout:
    """The place of every image (`images`), in the order of the listing. `omniglot` is True if the official names were found."""

    images: tuple[Placed, ...]
    omniglot: bool


def lay_out(listing: Listing, superclasses: dict[str, str] | None = None) -> Layout:
    """Return the class of each image in `listing`: the folder in which it lies. Folders above are superclasses.

    `superclasses`, if given, names the superclass of each class instead. Top folders called train, val, test (or Omniglot's
    names) are parts. Split files `train.csv` (filename, label) give class and part if all images lie in one folder. They give
    the part alone if classes have folders, and so does a `train.txt` of class names. Top folders that hold everything are
    skipped.
    Raises: InputError for images at different depths, a class in two parts, or a split file that does not fit.
    """
    parts, labels = _split_files(listing)
    flat = len({image.folders for image in listing.images}) == 1
    if flat and labels:
        placed = _by_file(listing, labels)
    else:
        placed = _by_folder(listing, {} if flat else parts)
    placed = _with_superclasses(listing, placed, superclasses) if superclasses is not None else placed
    _check_parts(listing, placed)
    names = {image.folders[depth] for image in listing.images for depth in range(len(image.folders))}
    return Layout(tuple(placed), bool(names & _OMNIGLOT))


def _by_folder(listing: Listing, parts: dict[str, str]) -> list[Placed]:
    folders = {image.folders for image in listing.images}
    shared = passed_over(folders)
    trimmed = {folder: folder[shared:] for folder in folders}
    top = all(len(f) > 1 and f[0].lower() in PARTS for f in trimmed.values())
    depths = {len(f) for f in trimmed.values()}
    if len(depths) > 1 or 0 in depths:
        short = min(listing.images, key=lambda image: len(image.folders))
        raise InputError(
            f"{listing.root / short.name} lies outside the class folders or at another depth than other images: "
            "give each class one folder, all at the same depth."
        )
    placed = []
    for image in listing.images:
        rest = trimmed[image.folders]
        part, rest = (PARTS[rest[0].lower()], rest[1:]) if top else ("", rest)
        placed.append(Placed(image, "/".join(rest), "/".join(rest[:-1]), part))
    return [_with_part(image, parts) for image in placed] if parts and not top else placed


def passed_over(folders: set[tuple[str, ...]]) -> int:
    """Return how many outer folders of `folders` all images share without a meaning. Omniglot's folders and parts have
    a meaning.
    """
    shared = 0
    first = min(folders)
    while all(len(f) > shared + 1 and f[shared] == first[shared] for f in folders) and first[shared].lower() not in PARTS:
        shared += 1
    return shared


def _with_part(image: Placed, parts: dict[str, str]) -> Placed:
    name = PurePosixPath(image.kind).name
    return Placed(image.listed, image.kind, image.superclass, parts.get(image.kind, parts.get(name, "")))


def _by_file(listing: Listing, labels: dict[str, tuple[str, str]]) -> list[Placed]:
    found = {image.file for image in listing.images}
    for name, (kind, part) in labels.items():
        if name not in found:
            raise InputError(f"the {part} split names {name!r} of {kind!r}, which {listing.root} lacks: restore the image.")
    for image in listing.images:
        if image.file not in labels:
            raise InputError(f"{listing.root / image.name} is in no split file: remove it, or give it a row (filename, label).")
    return [Placed(image, labels[image.file][0], "", labels[image.file][1]) for image in listing.images]


def _split_files(listing: Listing) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Return the part of each class, and the class and part of each file, from the split files."""
    parts: dict[str, str] = {}
    labels: dict[str, tuple[str, str]] = {}
    for file in listing.texts:
        part = PARTS.get(PurePosixPath(file.file).stem.lower())
        if part is None:
            continue
        rows = _rows(listing, file)
        header = [cell.strip().lower() for cell in rows[0]] if rows else []
        if file.file.lower().endswith(".csv") and "label" in header and "filename" in header:
            name, label = header.index("filename"), header.index("label")
            for row in rows[1:]:
                labels[row[name].strip()] = (row[label].strip(), part)
                parts[row[label].strip()] = part
        else:
            parts |= {row[0].strip(): part for row in rows if row[0].strip()}
    return parts, labels


def _rows(listing: Listing, file: Listed) -> list[list[str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(file.read().decode("utf-8-sig"))) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{listing.root / file.name} is not a text file of a split ({error}): give it as UTF-8.") from error
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(
                f"{listing.root / file.name}, row {number} has {len(row)} cells and the first has {len(rows[0])}: "
                "give each the same."
            )
    return rows


def _with_superclasses(listing: Listing, placed: list[Placed], superclasses: dict[str, str]) -> list[Placed]:
    for image in placed:
        if image.kind not in superclasses:
            raise InputError(f"class {image.kind!r} of {listing.root} has no row in the superclasses' file: give it one.")
    return [Placed(image.listed, image.kind, superclasses[image.kind], image.part) for image in placed]


def read_superclasses(path: str | PurePosixPath, content: bytes) -> dict[str, str]:
    """Return each class's superclass from a CSV: a header, then class and superclass as the first two columns.

    `path` names the file in messages, and `content` holds its bytes.
    Raises: InputError for a file that is no such CSV, or a class with two superclasses.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV of classes and superclasses ({error}): give it as UTF-8 text.") from error
    bad = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if len(rows) < 2 or bad is not None:
        raise InputError(f"{path}, row {bad or 1} is not a class and its superclass: give two columns with a header.")
    pairs = {(row[0].strip(), row[1].strip()) for row in rows[1:]}
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise InputError(f"{path} puts class {twice[0]!r} into several superclasses: give it one.")
    return dict(pairs)


def _check_parts(listing: Listing, placed: Sequence[Placed]) -> None:
    parts: dict[str, str] = {}
    for image in placed:
        if parts.setdefault(image.kind, image.part) != image.part:
            raise InputError(
                f"class {image.kind!r} of {listing.root} lies in {parts[image.kind]} and in {image.part}, and parts must not "
                "share classes: give one of the folders."
            )
