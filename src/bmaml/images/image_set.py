"""Images by class on the host, before they become episodes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.images.decode import Form
from bmaml.io.reference import AbstractReference
from bmaml.tables.table import as_text, is_missing, listed
from bmaml.tasks.episodes import Bank, Episodes
from bmaml.tasks.shots import Shots, shot_counts

# Of how many images the brightness is measured.
_LOOKED_AT = 1000


class AbstractImageSource(AbstractReference):
    """Where images can be read again. `content` is the digest of what was found there."""

    content: eqx.AbstractVar[str]

    @abstractmethod
    def of(self, classes: tuple[str, ...]) -> AbstractImageSource:
        """Return the reference to some of the `classes`."""


@dataclass(frozen=True)
class ImageSet:
    """Images of some classes.

    - `pixels`: uint8 of shape (images, height, width, channels), memory-mapped or in memory.
    - `classes`: name of each class.
    - `rows`: for each class, which rows of `pixels` are its images.
    - `superclasses`: superclass of each class (an alphabet, a coarse label, or "").
    - `parts`: part of each class (train, validation, test, background, evaluation, or "" if the files do not say).
    - `source`: where the images can be read again, or None.
    - `omniglot`: whether the files have Omniglot's official names.
    - `inverted`: whether ink is bright.
    """

    pixels: np.ndarray
    classes: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    superclasses: tuple[str, ...]
    parts: tuple[str, ...]
    source: AbstractImageSource | None = None
    omniglot: bool = False
    inverted: bool = False

    def __len__(self) -> int:
        """Number of images."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of images of each class."""
        return tuple(len(rows) for rows in self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return tuple(self.pixels.shape[1:])  # pyright: ignore[reportReturnType]

    @property
    def form(self) -> Form:
        """The form that files must take to match these images."""
        return Form(*self.shape, self.inverted)

    def brightness(self) -> tuple[float, float]:
        """Return the least and the greatest mean brightness, from 0 to 1, of up to 1,000 of the images."""
        rows = np.concatenate(self.rows)
        means = [float(self.pixels[row].mean()) / 255 for row in rows[:: max(len(rows) // _LOOKED_AT, 1)]]
        return min(means), max(means)

    def take(self, classes: Iterable[str]) -> ImageSet:
        """Return the images of some `classes`.

        Raises: InputError for an unknown class, or for no class.
        """
        wanted = set(classes)
        unknown = sorted(wanted - set(self.classes))
        if unknown or not wanted:
            what = f"no class {unknown[0]!r}" if unknown else "nothing left where no class is chosen"
            raise InputError(f"there is {what}: use some of {listed(self.classes, 6)}.")
        kept = [i for i, name in enumerate(self.classes) if name in wanted]
        columns = ("classes", "rows", "superclasses", "parts")
        return replace(self, **{name: tuple(getattr(self, name)[i] for i in kept) for name in columns})

    def bank(self) -> Bank:
        """Return the images on the device, the classes of a superclass side by side. A bank read from files is saved by
        name.
        """
        order = sorted(range(len(self.classes)), key=lambda i: (self.superclasses[i], self.classes[i]))
        pixels = self.pixels[np.concatenate([self.rows[i] for i in order])]
        names = [self.superclasses[i] for i in order]
        superclasses = tuple(names.count(name) for name in dict.fromkeys(names))
        classes = tuple(self.classes[i] for i in order)
        origin = None if self.source is None else self.source.of(classes)
        return Bank(jnp.asarray(pixels), tuple(self.sizes[i] for i in order), superclasses, classes, origin)

    def episodes(
        self,
        way: int = 5,
        shots: Shots = 1,
        queries: int = 15,
        *,
        rotations: bool = False,
        within: bool = False,
        distort: float = 0.0,
    ) -> Episodes:
        """Return the task source of these classes; see `Episodes`.

        - `way`: classes of an episode.
        - `shots`: support images of each class, one count or several.
        - `queries`: query images of each class.
        - `rotations`: whether images turned by 90, 180 and 270 degrees are classes of their own.
        - `within`: whether all classes of an episode come from one superclass.
        - `distort`: strength of random distortions of each image.

        Raises: InputError that names a class with too few images, or if there are fewer classes than `way`.
        """
        return Episodes(self.bank(), way, shot_counts(shots), queries, rotations, within, distort)


def from_arrays(
    x: ArrayLike, y: ArrayLike, *, superclasses: ArrayLike | None = None, shape: Sequence[int] | None = None
) -> ImageSet:
    """Return images in memory by class.

    - `x`: pixels of shape (n, height, width), (n, height, width, channels), or rows with a `shape`. They are uint8, or numbers
      from 0 to 1, which are stored in 256 steps.
    - `y`: a label of any kind for each image.
    - `superclasses`: a coarser label of each image.
    - `shape`: height and width (and channels) of flat rows.

    Raises: InputError for shapes that do not agree, or values outside these ranges.
    """
    pixels = as_pixels(x, shape)
    labels = _texts(y, len(pixels), "y")
    none = np.full(len(pixels), "", dtype=object)
    coarse = none if superclasses is None else _texts(superclasses, len(pixels), "superclasses")
    pairs = sorted(set(zip(coarse.tolist(), labels.tolist(), strict=True)))
    names = [name for _, name in pairs]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(f"class {twice!r} has images of several superclasses: give all images of a class one superclass.")
    rows = tuple(np.flatnonzero(labels == name) for name in names)
    return ImageSet(pixels, tuple(names), rows, tuple(superclass for superclass, _ in pairs), ("",) * len(names))


def as_pixels(x: ArrayLike, shape: Sequence[int] | None = None) -> np.ndarray:
    """Return images `x` as uint8 of shape (n, height, width, channels); flat rows need their `shape`.

    Raises: InputError for another shape, or values that are neither bytes nor from 0 to 1.
    """
    array = np.asarray(x)
    wanted = None if shape is None else tuple(int(s) for s in shape)
    wanted = (*wanted, 1) if wanted is not None and len(wanted) == 2 else wanted
    if wanted is not None and array.ndim > 1 and np.prod(array.shape[1:]) == np.prod(wanted):
        array = array.reshape(len(array), *wanted)
    array = array[..., None] if array.ndim == 3 and wanted is None else array
    if array.ndim != 4 or not len(array) or (wanted is not None and array.shape[1:] != wanted):
        raise InputError(
            f"images have shape {np.shape(x)}: give (n, height, width), (n, height, width, channels), "
            "or rows of pixels with shape=(height, width, channels)."
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise InputError(
            f"images are {array.dtype} with values outside 0 to 1: give uint8 from 0 to 255, or divide by their largest value."
        )
    return np.round(array.astype(np.float64) * 255).astype(np.uint8)


def _texts(labels: ArrayLike, count: int, name: str) -> np.ndarray:
    cells = np.asarray(labels)
    if cells.shape != (count,):
        raise InputError(f"{name} has shape {cells.shape} and there are {count} images: give one label for each.")
    missing = [row for row, cell in enumerate(cells.tolist()) if is_missing(cell)]
    if missing:
        raise InputError(f"{name} has no label for image {missing[0]} (counted from 0): give one to each image.")
    return np.array([as_text(cell) for cell in cells.tolist()], dtype=object)


def digits() -> ImageSet:
    """Return scikit-learn's handwritten digits (1,797 images of 8x8, ten classes): real images that need no download.

    Raises: InputError if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("the digits come with scikit-learn: pip install 'bmaml[digits]' installs it.") from error
    pixels, labels = load_digits(return_X_y=True)
    return from_arrays(np.asarray(pixels) / 16.0, labels, shape=(8, 8))
