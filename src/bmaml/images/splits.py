"""Splits of classes: for training, for choosing settings, and for testing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bmaml.errors import InputError
from bmaml.images.image_set import ImageSet
from bmaml.tables.tasks import split_tasks

# The 1,623 characters of both halves are sorted by half, alphabet and number. The last 423 test, and these alphabets
# validate.
_VINYALS_VALIDATION = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}
_TRAINED, _CHARACTERS = 1200, 1623


class Split(NamedTuple):
    """Images of disjoint classes: `train`, `validation` (may be None) and `test`."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def split_images(images: ImageSet, by: str = "random", *, held_out: float = 0.3, seed: int = 0) -> Split:
    """Return the classes of `images` in disjoint parts, by the name of a split.

    - `by`: the name of the split, below.
    - `held_out`: share of the classes that test in a random split.
    - `seed`: seed of a random split.

    The splits are:

    - `"random"`: a share `held_out` of the classes tests.
    - `"superclasses"`: a share `held_out` of the superclasses tests.
    - `"parts"`: as the files say (train, validation, test; Omniglot's background trains and its evaluation tests).
    - `"alphabets"`: superclasses sorted by name; the last five test.
    - `"omniglot-1200"`: 1,200 random characters of both halves train, and the rest test (Finn et al., 2017).
    - `"vinyals"`: 1,028 / 172 / 423 characters, the published split.

    Raises: InputError if the classes do not allow the split.
    """
    if by not in _SPLITS:
        raise InputError(f"unknown split {by!r}: use one of {', '.join(_SPLITS)}.")
    return _SPLITS[by](images, held_out, seed)


def _chosen(images: ImageSet, names: list[str], what: str) -> ImageSet:
    if not names:
        raise InputError(f"this split leaves no class for {what}: use another split, or give more classes.")
    return images.take(names)


def _shared(images: ImageSet, held_out: float, seed: int, by: tuple[str, ...] | None) -> Split:
    if not 0.0 < held_out < 1.0:
        raise InputError(f"the share of classes held out is {held_out}: give one between 0 and 1, such as 0.3.")
    train, _, test = split_tasks(images.classes, (1 - held_out, 0.0, held_out), seed, by)
    names = np.array(images.classes, dtype=object)
    return Split(_chosen(images, list(names[train]), "training"), None, _chosen(images, list(names[test]), "testing"))


def _random(images: ImageSet, held_out: float, seed: int) -> Split:
    return _shared(images, held_out, seed, None)


def _superclasses(images: ImageSet, held_out: float, seed: int) -> Split:
    if not any(images.superclasses):
        raise InputError("the classes have no superclasses to hold out: give superclasses, or use the split 'random'.")
    return _shared(images, held_out, seed, images.superclasses)


def _parts(images: ImageSet, held_out: float, seed: int) -> Split:
    by_part: dict[str, list[str]] = {}
    for name, part in zip(images.classes, images.parts, strict=True):
        by_part.setdefault(part, []).append(name)
    halves = "background" in by_part
    train, test = by_part.get("background" if halves else "train"), by_part.get("evaluation" if halves else "test")
    if not train or not test:
        known = ", ".join(sorted(by_part)).strip(", ") or "none"
        raise InputError(f"the files name no classes to train and to test on (parts found: {known}): use another split.")
    validation = by_part.get("validation")
    return Split(images.take(train), images.take(validation) if validation else None, images.take(test))


def _alphabets(images: ImageSet, held_out: float, seed: int) -> Split:
    names = sorted(set(images.superclasses) - {""})
    if len(names) < 6:
        raise InputError(f"there are {len(names)} superclasses and the last five by name are to test: use another split.")
    last = set(names[-5:])
    test = [name for name, superclass in zip(images.classes, images.superclasses, strict=True) if superclass in last]
    return Split(images.take(set(images.classes) - set(test)), None, images.take(test))


def _both_halves(images: ImageSet) -> list[str]:
    """Return Omniglot's characters, background first, each half sorted by alphabet and number."""
    if not images.omniglot or len(images.classes) != _CHARACTERS:
        raise InputError(
            f"this split needs the {_CHARACTERS} characters of both of Omniglot's halves and there are "
            f"{len(images.classes)} classes: give the folder that holds images_background and images_evaluation."
        )
    return [name for _, name in sorted(zip(images.parts, images.classes, strict=True))]


def _random_1200(images: ImageSet, held_out: float, seed: int) -> Split:
    names = np.array(_both_halves(images), dtype=object)
    order = np.random.default_rng(seed).permutation(len(names))
    return Split(images.take(names[order[:_TRAINED]]), None, images.take(names[order[_TRAINED:]]))


def _vinyals(images: ImageSet, held_out: float, seed: int) -> Split:
    names = _both_halves(images)
    first, test = names[:_TRAINED], names[_TRAINED:]
    validation = [name for name in first if name.split("/")[0] in _VINYALS_VALIDATION]
    return Split(images.take(set(first) - set(validation)), images.take(validation), images.take(test))


_SPLITS: dict[str, Callable[[ImageSet, float, int], Split]] = {
    "random": _random,
    "superclasses": _superclasses,
    "parts": _parts,
    "alphabets": _alphabets,
    "omniglot-1200": _random_1200,
    "vinyals": _vinyals,
}
SPLITS = tuple(_SPLITS)
"""Names of the ways to hold out classes."""
