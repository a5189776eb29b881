"""Images as rows of numbers for a model: from arrays, or from files in the model's own form."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.images.decode import Form, decode
from bmaml.images.image_set import ImageSet, as_pixels
from bmaml.images.layout import passed_over
from bmaml.images.listing import list_files

# How far outside of a model's brightness images may lie and still count as alike.
_SLACK = 0.05
# All that is read as images: a folder or a zip, images by class, or an array.
ImagesLike: TypeAlias = ImageSet | ArrayLike | str | PathLike[str]


@dataclass(frozen=True)
class Rows:
    """Images as a model sees them.

    - `x`: float32 (n, pixels) in [0, 1].
    - `names`, `folders`: names and class folders of images from files.
    """

    x: np.ndarray
    names: tuple[str, ...]
    folders: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.x)


def image_rows(source: ImagesLike, form: Form) -> Rows:
    """Return the images of `source` in a model's form `form`.

    `source` is a folder or zip (resized, with the names of folders kept), an `ImageSet`, or an array. Images that look as if
    dark and bright were exchanged give a warning.
    Raises: InputError if a file is no image, or an array has another shape than the form.
    """
    rows = _read(source, form)
    _check_polarity(rows.x, form)
    return rows


def _read(source: ImagesLike, form: Form) -> Rows:
    if isinstance(source, str | PathLike):
        return _files(Path(source), form)
    if isinstance(source, ImageSet):
        rows = np.concatenate(source.rows)
        folders = tuple(np.repeat(np.array(source.classes, dtype=object), source.sizes))
        return Rows(_scaled(_fitting(np.asarray(source.pixels)[rows], form)), tuple(map(str, rows)), folders)
    pixels = _fitting(as_pixels(source, form.shape), form)
    return Rows(_scaled(pixels), tuple(map(str, range(len(pixels)))), ("",) * len(pixels))


def _check_polarity(x: np.ndarray, form: Form) -> None:
    """Warn of images that are as bright as a model's own images would be with dark and bright exchanged."""
    if form.brightness is None:
        return
    mean = float(np.median(x.mean(1)))
    low, high = form.brightness[0] - _SLACK, form.brightness[1] + _SLACK
    if low <= 1 - mean <= high and not low <= mean <= high:
        fitted = f"{form.brightness[0]:.2f} to {form.brightness[1]:.2f}"
        warnings.warn(
            f"images have a mean brightness of {mean:.2f}, and those that the model was fitted on of {fitted}: dark and bright "
            "look exchanged; give 255 - images (or 1 - images from 0 to 1).",
            stacklevel=3,
        )


def _files(path: Path, form: Form) -> Rows:
    listing = list_files(path)
    pixels = np.stack([decode(str(path / image.name), image.read(), form) for image in listing.images])
    shared = passed_over({image.folders for image in listing.images})
    folders = tuple("/".join(image.folders[shared:]) for image in listing.images)
    return Rows(_scaled(pixels), tuple(image.name for image in listing.images), folders)


def _fitting(pixels: np.ndarray, form: Form) -> np.ndarray:
    if pixels.shape[1:] != form.shape:
        shown = "x".join(map(str, form.shape))
        raise InputError(f"images are of shape {pixels.shape[1:]} and the model takes {shown}: give them in that shape.")
    return pixels


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return (pixels.reshape(len(pixels), -1) / np.float32(255)).astype(np.float32)
