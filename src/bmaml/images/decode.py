"""Image files to arrays of bytes, all with one size and one number of channels (Pillow, the extra `images`)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bmaml.errors import InputError
from bmaml.io.files import digest

_GREY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
_WIDE = ("I", "F")
# Pillow reads more formats than these, and one of them (EPS) runs a program.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# The largest photographs have fewer pixels. A picture of few pixels a row takes long for its size.
_MOST_PIXELS, _LONGEST_SIDE = 2**26, 2**15


@dataclass(frozen=True)
class Form:
    """The form that every image gets.

    An image of another size is resized as a whole (antialiased, Lanczos), without keeping its proportions, as the papers do.
    Grey becomes colour by repeating it, and colour becomes grey by Rec. 601 luma. Transparent pixels lie on white. A photograph
    is turned upright as its camera noted (not in PNG). Of an animation only the first frame counts.

    - `height`, `width`: pixels.
    - `channels`: 1 for grey, 3 for red-green-blue.
    - `invert`: whether dark ink becomes bright.
    - `brightness`: the least and the greatest mean brightness, from 0 to 1, of the images that a model was fitted on (None:
      unknown). Images given later are compared with it.
    """

    height: int
    width: int
    channels: int
    invert: bool = False
    brightness: tuple[float, float] | None = None

    @staticmethod
    def from_json(values: dict[str, Any]) -> Form:
        """Return the form from `values`, its fields as JSON holds them."""
        brightness = values.get("brightness")
        return Form(**{**values, "brightness": None if brightness is None else tuple(brightness)})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels


def pillow() -> Any:
    """Return Pillow's module `Image`.

    Raises: InputError if Pillow is not installed.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise InputError("reading images needs Pillow: pip install 'bmaml[images]' installs it.") from error
    return PIL.Image


def common_form(
    files: Iterable[tuple[str, str, bytes]], size: tuple[int, int] | None, channels: int | None, invert: bool
) -> tuple[Form, str]:
    """Return the form that all files can take, and the digest of classes, places and contents.

    Only the heads of the files are decoded.

    - `files`: (name, class and place, content) of each file.
    - `size`: height and width; None keeps the size that all files share.
    - `channels`: 1 or 3; None takes 1 if all files are grey, else 3.
    - `invert`: whether dark ink becomes bright.

    Raises: InputError that names a file that is no image, or whose size differs from the first file's when `size` is None.
    """
    grey, first, digests = True, None, []
    for name, place, content in files:
        with _opened(name, content) as image, _named(name, "is damaged"):
            grey = grey and image.mode in _GREY
            first = first or (name, _upright(image))
            if size is None and _upright(image) != first[1]:
                first_size, other = ("x".join(map(str, sides)) for sides in (_upright(image), first[1]))
                raise InputError(
                    f"{name} is {first_size} and {first[0]} is {other} pixels: give a size to resize all images to."
                )
        digests.append(f"{place}:{digest(content)}")
    assert first is not None
    height, width = size or first[1]
    return Form(height, width, channels or (1 if grey else 3), invert), digest("\n".join(sorted(digests)))


def decode(name: str, content: bytes, form: Form) -> np.ndarray:
    """Return the image `content` as `(height, width, channels)` of uint8, in the form `form`.

    Raises: InputError that names the file (`name`) if the file is truncated or no image.
    """
    library = pillow()
    with _opened(name, content) as image, _named(name, "is truncated or damaged"):
        image.load()
        plain = _eight_bit(name, _turned(image), form.channels)
    if plain.size != (form.width, form.height):
        plain = plain.resize((form.width, form.height), library.Resampling.LANCZOS)
    pixels = np.asarray(plain, np.uint8).reshape(form.shape)
    return 255 - pixels if form.invert else pixels


def _opened(name: str, content: bytes) -> Any:
    with _named(name, "is not an image that can be read"):
        image = pillow().open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > _MOST_PIXELS or max(image.size) > _LONGEST_SIDE:
        raise _too_large(name)
    return image


def _too_large(name: str) -> InputError:
    return InputError(f"{name} is larger than {_MOST_PIXELS} pixels, or than {_LONGEST_SIDE} a side: use a smaller image.")


@contextmanager
def _named(name: str, what: str) -> Iterator[None]:
    """Turn any error of a decoder into a sentence that names the file."""
    library = pillow()
    try:
        with warnings.catch_warnings():
            # A file that claims to be huge is refused before it is decoded.
            warnings.simplefilter("error", library.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except (library.DecompressionBombWarning, library.DecompressionBombError) as error:
        raise _too_large(name) from error
    except Exception as error:  # Damaged files also raise struct.error, zlib.error, KeyError, ...
        text = " ".join(str(error).split()).rstrip(".")
        reason = "unknown format" if "cannot identify" in text or not text else text
        raise InputError(f"{name} {what} ({reason}): restore it, or remove it.") from error


def _orientation(image: Any) -> int:
    """Return the camera's orientation note. For PNG we skip it: it may follow the pixels, and finding it would decode
    them all.
    """
    return image.getexif().get(0x0112, 1) if image.format in ("JPEG", "MPO", "TIFF", "WEBP") else 1


def _upright(image: Any) -> tuple[int, int]:
    """Return height and width once the image stands upright."""
    return (image.width, image.height) if _orientation(image) in (5, 6, 7, 8) else (image.height, image.width)


def _turned(image: Any) -> Any:
    from PIL import ImageOps

    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _eight_bit(name: str, image: Any, channels: int) -> Any:
    library = pillow()
    if image.mode.startswith("I;16"):
        image = library.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in _WIDE:
        raise InputError(f"{name} holds {image.mode} pixels of unknown range: use an image of 8 or 16 bits a channel.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = library.alpha_composite(library.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")
