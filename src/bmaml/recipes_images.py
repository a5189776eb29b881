"""Few-shot methods on images by name, with settings that work: networks, training episodes and plans."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import equinox as eqx

from bmaml.errors import InputError
from bmaml.image_methods import for_classes, image_network
from bmaml.images import ImageSet
from bmaml.methods import CLOSED_FORM, METHODS, SHARED, Method
from bmaml.models import MLP, AbstractNetwork, CategoricalModel
from bmaml.outer import AbstractOuter, Muon
from bmaml.plan import Plan
from bmaml.recipes import pick
from bmaml.tasks.episodes import Episodes


class ImageRecipe(eqx.Module):
    """How a method is trained on images.

    `way` is the number of classes of a training episode (None: as many as it is judged by) and `queries` of each to tell
    apart; a meta-batch has `batch` episodes, worked off in `groups`, for `steps` meta-steps. `settings` are the method's own.
    """

    settings: dict[str, Any] = eqx.field(static=True, default_factory=dict)
    filters: int = eqx.field(static=True, default=64)
    way: int | None = eqx.field(static=True, default=None)
    queries: int = eqx.field(static=True, default=5)
    batch: int = eqx.field(static=True, default=1)
    groups: int = eqx.field(static=True, default=1)
    steps: int = eqx.field(static=True, default=2_000)
    outer: AbstractOuter = Muon(2e-2, clip=10.0)


# More classes in training than are judged by make better features (Snell et al., 2017). After 200 meta-steps of 20 classes on
# Omniglot, prototypes of Conv-4 with 32 filters, max-pooled, told 20 new ones apart in 83.1% with Muon and 79.2% with Adam, in
# 75.1% without a norm and in 55.0% with instance norm for layer norm, and strided, of 64 filters, in 56.3% with Muon.
_MANY = ImageRecipe(way=30, queries=4)
_HEADS = ImageRecipe({"rate": 0.1, "steps": 5}, queries=5, batch=8, groups=8, outer=Muon(1e-2, clip=10.0))
_STEIN = dataclasses.replace(_HEADS, settings={"rate": 0.03, "steps": 5})
_WHOLE = ImageRecipe({"rate": 0.4, "steps": 1}, filters=32, queries=5, batch=8, groups=8, outer=Muon(1e-2, clip=10.0))
RECIPES: dict[str, ImageRecipe] = {
    "protonet": _MANY,
    "matching": _MANY,
    "ridge": dataclasses.replace(_MANY, settings={"noise": 0.1}),
    "anil": _HEADS,
    "shared-emaml": _HEADS,
    "shared-bfa": _STEIN,
    "shared-bmaml": _STEIN,
    "maml": _WHOLE,
    "fomaml": _WHOLE,
}


def image_extractor(shape: tuple[int, ...], filters: int, outputs: int | None = None) -> tuple[AbstractNetwork, int]:
    """Return a network of flat images and its width: Conv-4, or an MLP where a side is below 16 pixels."""
    height, width, channels = shape
    return image_network("auto", (height, width, channels), outputs, filters)


def build_image_method(name: str, shape: tuple[int, ...], way: int, **settings: Any) -> Method:
    """Return a method for episodes of `way` classes, its recipe changed by those of `settings` that are not None.

    Train it on `build_image_tasks` of the same way and `for_way` it before it is judged. `filters` is a setting, too.
    Raises: InputError for an unknown name or a setting that the method does not have.
    """
    recipe, make = pick("method of images", name, RECIPES), METHODS[name]
    chosen = {k: v for k, v in settings.items() if v is not None}
    filters = chosen.pop("filters", recipe.filters)
    unknown = sorted(set(chosen) - set(inspect.signature(make).parameters))
    if unknown:
        raise InputError(f"method {name} has no setting {unknown[0]!r}: leave it out or choose another method.")
    chosen = {**recipe.settings, **chosen}
    if name in CLOSED_FORM:
        extractor, width = image_extractor(shape, filters)
        classes = recipe.way or way
        return make(extractor, width, classes, **chosen) if name == "ridge" else make(extractor, classes, **chosen)
    if name in SHARED:
        extractor, width = image_extractor(shape, filters)
        return make(extractor, CategoricalModel(MLP((width, way))), **chosen)
    return make(CategoricalModel(image_extractor(shape, filters, way)[0]), **chosen)


def for_way(name: str, method: Method, way: int) -> Method:
    """Return a trained method as it tells `way` classes apart: those of closed form take any number.

    Raises: InputError for an unknown name.
    """
    pick("method of images", name, RECIPES)
    if name not in CLOSED_FORM:
        return method
    return dataclasses.replace(method, learner=for_classes(method.learner, way, way))


def build_image_tasks(
    name: str, images: ImageSet, way: int, shots: tuple[int, ...] = (1,), rotations: bool = False
) -> Episodes:
    """Return the episodes that a method is trained on, so that it is good at `way` classes of `shots` images each.

    Raises: InputError for an unknown name, or images too few for the episodes.
    """
    recipe = pick("method of images", name, RECIPES)
    return images.episodes(recipe.way or way, shots, recipe.queries, rotations=rotations)


def build_image_plan(name: str, *, steps: int | None = None, seed: int = 0) -> Plan:
    """Return how a method is trained on images.

    Raises: InputError for an unknown name.
    """
    recipe = pick("method of images", name, RECIPES)
    return Plan(steps or recipe.steps, recipe.batch, recipe.outer, seed, recipe.groups)
