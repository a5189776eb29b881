"""Images that experiments train on and are judged by: scikit-learn's digits, or Omniglot where the user has it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bmaml.errors import InputError
from bmaml.images import Split, digits, read_images, split_images
from bmaml.methods import CLOSED_FORM, METHODS, SHARED, Method
from bmaml.models import MLP, AbstractNetwork, CategoricalModel, Conv4
from bmaml.outer import Adam
from bmaml.plan import Plan
from bmaml.recipes import pick
from bmaml.tasks.episodes import Episodes

IMAGES = ("digits", "omniglot")
_RATES = {"anil": 0.1, "shared-emaml": 0.1, "shared-bfa": 0.03, "shared-bmaml": 0.03}
_WIDTH = 64


class ImageTasks(NamedTuple):
    """Episodes of classes to train on, and episodes of other classes to be judged by."""

    train: Episodes
    test: Episodes


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


def image_tasks(
    name: str, data: Path | None = None, *, way: int = 5, shots: tuple[int, ...] = (1,), queries: int = 5
) -> ImageTasks:
    """Return episodes of images by name, turned ones as classes of their own.

    Raises: InputError as `image_classes`.
    """
    split = image_classes(name, data)
    parts = (part.episodes(way, shots, queries, rotations=True) for part in (split.train, split.test))
    return ImageTasks(*parts)


def extractor(shape: tuple[int, int, int]) -> tuple[AbstractNetwork, int]:
    """Return a small network of images and its width: Conv-4 of 32 filters with strides, or an MLP for tiny images."""
    if min(shape[:2]) < 16:
        return MLP((shape[0] * shape[1] * shape[2], 128, _WIDTH)), _WIDTH
    network = Conv4(shape, 32, pool="stride")
    return network, network.features


def image_method(name: str, tasks: Episodes, particles: int | None = None) -> Method:
    """Return a method with a shared extractor at its settings for episodes of images.

    Raises: InputError for a method of another kind.
    """
    pick("method", name, dict.fromkeys(CLOSED_FORM + SHARED))
    network, width = extractor(tasks.shape)
    options = {} if particles is None else {"particles": particles}
    if name in SHARED:
        head = CategoricalModel(MLP((width, tasks.way)))
        return METHODS[name](network, head, rate=_RATES[name], steps=5, **options)
    widths = (width, tasks.way) if name == "ridge" else (tasks.way,)
    return METHODS[name](network, *widths, **options)


def image_plan(steps: int, seed: int = 0) -> Plan:
    """Return how methods with a shared extractor are trained on images."""
    return Plan(steps, 8, Adam(2e-3, clip=10.0), seed)
