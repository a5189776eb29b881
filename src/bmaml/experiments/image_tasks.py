"""Images that experiments train on and are judged by: scikit-learn's digits, Omniglot, or a folder of class folders."""

from __future__ import annotations

from pathlib import Path

from bmaml.errors import InputError
from bmaml.images import ImageSet, Split, digits, read_images, split_images
from bmaml.rows import pick

IMAGES = ("digits", "omniglot", "folder")
# Height and width of the photographs of papers on few-shot learning.
_PHOTOGRAPHS = 84


def image_classes(name: str, data: Path | None = None, *, size: int | None = None, superclasses: Path | None = None) -> Split:
    """Return images by name, split by class.

    - `name`: `"digits"`: five of the ten digits train and the others test. `"omniglot"`: the alphabets sorted by name, the last
      five test. `"folder"`: classes train and test as the files say (miniImagenet's CSVs or its folders train, val and test);
      if they say nothing, a random 30% of the superclasses test, or of the classes if there are no superclasses.
    - `data`: folder or zip of the images; digits have none.
    - `size`: side in pixels that images of files are resized to; None takes 28 for Omniglot and 84 for a folder, as papers do.
    - `superclasses`: a CSV of the classes of `"folder"` and their superclasses.

    Raises: InputError for an unknown name, for what the images do not take, or if the file is not given or not there.
    """
    pick("set of images", name, dict.fromkeys(IMAGES))
    if name == "digits" and size is not None:
        raise InputError(f"the size is {size} and digits have 8x8 pixels: leave it out.")
    if name == "digits" and data is not None:
        raise InputError(f"the images are digits, which the library has, and data are {data}: leave the data out.")
    if name != "folder" and superclasses is not None:
        raise InputError(f"superclasses are those of {superclasses} and {name} has its own classes: leave them out.")
    if name == "digits":
        return split_images(digits(), "random", held_out=0.5)
    if data is None:
        what = "Omniglot's images_background" if name == "omniglot" else "class folders"
        raise InputError(f"the images are not in the library: give the folder or zip of {what} with --data.")
    if name == "omniglot":
        return split_images(read_images(data, size=size), "alphabets")
    images = read_images(data, size=size or _PHOTOGRAPHS, superclasses=superclasses)
    if set(images.parts) >= {"train", "test"}:
        return split_images(images, "parts")
    return split_images(images, "superclasses" if any(images.superclasses) else "random")


def are_drawings(images: ImageSet) -> bool:
    """Return whether `images` are drawings, of which turned copies make further classes, and not photographs in colour."""
    return images.shape[-1] == 1
