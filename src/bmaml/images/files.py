"""Images from files: read through the cache now, and read again for a saved run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import numpy as np

from bmaml.errors import InputError
from bmaml.images.cache import Cache
from bmaml.images.decode import Form, common_form, decode
from bmaml.images.image_set import AbstractImageSource, ImageSet
from bmaml.images.layout import Layout, lay_out, read_superclasses
from bmaml.images.listing import Listing, list_files
from bmaml.io.files import digest, read_plain
from bmaml.io.registry import register
from bmaml.tasks.episodes import Bank

_OMNIGLOT_SIZE = (28, 28)
# Of a side in pixels. Images of this size are far beyond what the networks here are made for.
_LARGEST = 1024


@register("images/files")
class ImageFiles(AbstractImageSource):
    """Where images lie, how they were read, and what was found.

    - `path`: folder or zip.
    - `content`: digest of what was found.
    - `size`, `channels`, `invert`, `superclasses`: as in `read_images`.
    - `classes`: the classes in use (None: all).
    """

    path: str = eqx.field(static=True)
    content: str = eqx.field(static=True)
    size: tuple[int, int] | None = eqx.field(static=True, default=None)
    channels: int | None = eqx.field(static=True, default=None)
    invert: bool | None = eqx.field(static=True, default=None)
    superclasses: str | None = eqx.field(static=True, default=None)
    classes: tuple[str, ...] | None = eqx.field(static=True, default=None)

    def of(self, classes):
        return replace(self, classes=classes)

    def read(self) -> Bank:
        if not Path(self.path).exists():
            raise InputError(f"the images of this run were at {self.path} and are gone: restore them there, or pass tasks.")
        found = read_images(
            self.path, size=self.size, channels=self.channels, invert=self.invert, superclasses=self.superclasses
        )
        assert found.source is not None
        if found.source.content != self.content:
            raise InputError(
                f"the images at {self.path} are not those that this run was trained on: restore them, or pass tasks."
            )
        return found.take(self.classes or found.classes).bank()


def read_images(
    path: str | Path,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    invert: bool | None = None,
    superclasses: str | Path | None = None,
    cache: str | Path | None = None,
) -> ImageSet:
    """Return the images of a folder (or zip) of class folders. They are decoded once, and memory-mapped afterwards.

    A class is a folder of images, and the folder above it is its superclass (Omniglot's alphabets). Top folders train, val and
    test, and split files beside the images (miniImagenet's CSVs, CIFAR-FS's lists), are parts of the classes. Omniglot
    (images_background, images_evaluation) is by default 28x28 and inverted.

    - `path`: folder or zip.
    - `size`: side, or height and width, to resize to. Without it all images must have one size.
    - `channels`: 1 or 3; None takes 1 if all images are grey.
    - `invert`: whether dark ink becomes bright.
    - `superclasses`: a CSV of classes and superclasses, instead of the folders.
    - `cache`: the folder of caches; None takes BMAML_CACHE, or the user's cache folder.

    Raises: InputError that names the file or class that cannot be used.
    """
    path = Path(path)
    listing = list_files(path)
    superclass_table = None if superclasses is None else _bytes(Path(superclasses))
    layout = lay_out(listing, None if superclass_table is None else read_superclasses(str(superclasses), superclass_table))
    sides = _sides(size) or (_OMNIGLOT_SIZE if layout.omniglot else None)
    if channels not in (None, 1, 3):
        raise InputError(f"channels is {channels}: give 1 for grey or 3 for colour.")
    ink = layout.omniglot if invert is None else invert
    pixels, content = _pixels(listing, layout, sides, channels, ink, None if cache is None else Path(cache))
    if superclass_table is not None:
        content = digest(f"{content}:{digest(superclass_table)}".encode())
    where = None if superclasses is None else str(Path(superclasses).absolute())
    read = {"size": sides, "channels": channels, "invert": ink, "superclasses": where}
    source = ImageFiles(path=str(path.absolute()), content=content, **read)
    return replace(_by_class(pixels, layout, source), inverted=ink)


def _by_class(pixels: np.ndarray, layout: Layout, source: ImageFiles) -> ImageSet:
    """Return the images by class. Classes are sorted by part, superclass and name."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    for row, image in enumerate(layout.images):
        rows.setdefault((image.part, image.superclass, image.kind), []).append(row)
    keys = sorted(rows)
    parts, superclasses, classes = zip(*keys, strict=True)
    return ImageSet(pixels, classes, tuple(np.array(rows[key]) for key in keys), superclasses, parts, source, layout.omniglot)


def _sides(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(int(s) for s in size)
    if len(sides) != 2 or not 1 <= min(sides) <= max(sides) <= _LARGEST:
        raise InputError(f"size is {size}: give the side of square images, or height and width, from 1 to {_LARGEST} pixels.")
    return sides[0], sides[1]


def _bytes(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{path} cannot be read ({why}): give a CSV of classes and superclasses.") from error


def _pixels(
    listing: Listing, layout: Layout, size: tuple[int, int] | None, channels: int | None, invert: bool, folder: Path | None
) -> tuple[np.ndarray, str]:
    """Return the decoded images in the order of their names, and the digest of their classes and contents."""
    wanted = {"path": str(listing.root.absolute()), "size": size, "channels": channels, "invert": invert}
    cache = Cache(wanted, folder)
    described = cache.describe()
    fresh: tuple[Form, str] | None = None
    if described is not None and described["stamp"] != listing.stamp:
        fresh = common_form(_contents(listing, layout), size, channels, invert)
        if described["content"] == fresh[1]:
            cache.touch(described, listing.stamp)
        else:
            cache.stale()
            described = None
    if described is not None and (array := cache.load(described)) is not None:
        return array, described["content"]
    form, content = fresh or common_form(_contents(listing, layout), size, channels, invert)
    images = (decode(name, content, form) for name, _, content in _contents(listing, layout))
    return cache.build(images, len(layout.images), form, {"stamp": listing.stamp, "content": content, **wanted}), content


def _contents(listing: Listing, layout: Layout) -> Iterator[tuple[str, str, bytes]]:
    for image in layout.images:
        yield str(listing.root / image.listed.name), f"{image.kind}:{image.listed.name}", image.listed.read()
