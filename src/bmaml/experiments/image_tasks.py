"""Images that experiments train on and are judged by: scikit-learn's digits, Omniglot, or a folder of class folders."""

from __future__ import annotations

from pathlib import Path

from bmaml.errors import InputError
from bmaml.images import Split, digits, read_images, split_images
from bmaml.rows import pick

IMAGES = ("digits", "omniglot", "folder")
# Height and width of the photographs of papers on few-shot learning.
_PHOTOGRAPHS = 84


def image_classes(name: str, data: Path | None = None) -> Split:
    """Return images by name, split by class.

    - `name`: `"digits"`: five of the ten digits train and the others test. `"omniglot"`: the alphabets sorted by name, the last
      five test. `"folder"`: classes train and test as the files say (miniImagenet's CSVs or its folders train, val and test);
      if they say nothing, a random 30% of the classes test. Photographs are resized to 84x84.
    - `data`: folder or zip of the images.

    Raises: InputError for an unknown name, or if the file is not given or not there.
    """
    pick("set of images", name, dict.fromkeys(IMAGES))
    if name == "digits":
        return split_images(digits(), "random", held_out=0.5)
    if data is None:
        what = "Omniglot's images_background" if name == "omniglot" else "class folders"
        raise InputError(f"the images are not in the library: give the folder or zip of {what} with --data.")
    if name == "omniglot":
        return split_images(read_images(data), "alphabets")
    images = read_images(data, size=_PHOTOGRAPHS)
    return split_images(images, "parts" if set(images.parts) >= {"train", "test"} else "random")
