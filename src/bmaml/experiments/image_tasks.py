"""Images that experiments train on and are judged by: scikit-learn's digits, or Omniglot where the user has it."""

from __future__ import annotations

from pathlib import Path

from bmaml.errors import InputError
from bmaml.images import Split, digits, read_images, split_images
from bmaml.rows import pick

IMAGES = ("digits", "omniglot")


def image_classes(name: str, data: Path | None = None) -> Split:
    """Return images by name, split by class.

    `"digits"`: five of the ten digits train and the others test. `"omniglot"`: the file or folder `data`, the alphabets sorted
    by name, the last five test.
    Raises: InputError for an unknown name, or where Omniglot's file is not given or not there.
    """
    pick("set of images", name, dict.fromkeys(IMAGES))
    if name == "digits":
        return split_images(digits(), "random", held_out=0.5)
    if data is None:
        raise InputError("Omniglot's images are not in the library: give the folder or zip of images_background with --data.")
    return split_images(read_images(data), "alphabets")
