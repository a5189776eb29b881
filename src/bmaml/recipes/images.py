"""Few-shot methods on images by name, with settings that work: networks, training episodes and plans.

The one place for them: the classifier, the command line, leaderboards, figures and benchmarks read them here.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import equinox as eqx

from bmaml.errors import InputError
from bmaml.images import ImageSet
from bmaml.learners import AbstractLearner
from bmaml.learners.features import replace_core
from bmaml.methods import AMORTISED, CLASSIFICATION, CLOSED_FORM, METHODS, SHARED, Method, shared
from bmaml.models import MLP, CategoricalModel
from bmaml.models.by_name import ImageShape, Network, image_network
from bmaml.recipes.lookup import check_settings, pick
from bmaml.tasks.episodes import Episodes
from bmaml.training.optimisers import AbstractOuter, Adam, Muon
from bmaml.training.plan import Plan


class ImageRecipe(eqx.Module):
    """How a method is trained on images.

    `way` is the number of classes of a training episode (None: as many as it is judged by) and `queries` of each to tell
    apart; a meta-batch has `batch` episodes, worked off in `accumulation_steps`, for `steps` meta-steps. `settings` are the
    method's own.
    What is trained takes `judged_steps` inner steps (None: as many as in training).
    """

    settings: dict[str, Any] = eqx.field(static=True, default_factory=dict)
    filters: int = eqx.field(static=True, default=32)
    way: int | None = eqx.field(static=True, default=None)
    queries: int = eqx.field(static=True, default=5)
    batch: int = eqx.field(static=True, default=4)
    accumulation_steps: int = eqx.field(static=True, default=1)
    steps: int = eqx.field(static=True, default=1_000)
    outer: AbstractOuter = Adam(2e-3, clip=10.0)
    judged_steps: int | None = eqx.field(static=True, default=None)

    def judged(self, learner: AbstractLearner) -> AbstractLearner:
        """Return a trained learner as it answers."""
        if self.judged_steps is None:
            return learner
        return replace_core(learner, lambda one: dataclasses.replace(one, steps=self.judged_steps))  # pyright: ignore

    def training_way(self, images: ImageSet, way: int, *, rotations: bool = False, within: bool = False) -> int:
        """Return the number of classes of a training episode, for a method that is to be good at `way` of them.

        It is the recipe's where that is more and there are as many; where classes come from one superclass it is `way`.
        """
        there = len(images.classes) * (4 if rotations else 1)
        return way if within else max(way, min(self.way or way, there))

    def episodes(
        self,
        images: ImageSet,
        way: int,
        shots: tuple[int, ...] = (1,),
        *,
        queries: int | None = None,
        rotations: bool = False,
        within: bool = False,
    ) -> Episodes:
        """Return the episodes that a method is trained on to be good at `way` classes of `shots` images each.

        Raises: InputError where there are too few images or classes.
        """
        way = self.training_way(images, way, rotations=rotations, within=within)
        return images.episodes(way, shots, queries or self.fitting(images, shots), rotations=rotations, within=within)

    def fitting(self, images: ImageSet, shots: tuple[int, ...]) -> int:
        """Return how many images of each class to tell apart: the recipe's number, or what the smallest class leaves."""
        return max(1, min(self.queries, min(images.sizes) - max(shots, default=1)))

    def plan(
        self, *, steps: int | None = None, batch: int | None = None, learning_rate: float | None = None, seed: int = 0
    ) -> Plan:
        """Return how the method is trained, with other meta-steps, meta-batches or outer rates where they are given."""
        outer: Any = self.outer
        batch = batch or self.batch
        outer = outer if learning_rate is None else dataclasses.replace(outer, learning_rate=learning_rate)
        return Plan(self.steps if steps is None else steps, batch, outer, seed, math.gcd(self.accumulation_steps, batch))


# More classes in training than are judged by make better features (Snell et al., 2017). After 200 meta-steps of 20 classes on
# Omniglot, prototypes of Conv-4 with 32 filters, max-pooled, told 20 new ones apart in 83.1% with Muon and 79.2% with Adam, in
# 75.1% without a norm and in 55.0% with instance norm for layer norm, and strided, of 64 filters, in 56.3% with Muon.
_MANY = ImageRecipe(filters=64, way=30, queries=4, batch=1, steps=600, outer=Muon(2e-2, clip=10.0))
# More queries cost little here: the leader's pass the extractor forwards alone.
_HEADS = ImageRecipe(
    {"inner_learning_rate": 0.1, "inner_steps": 5},
    queries=10,
    batch=8,
    accumulation_steps=8,
    outer=Muon(2e-2, adam_learning_rate=1e-2, clip=10.0),
)
# Steps of Stein particles are shared among them: they are a third as long for five as for one. On five
# of the training alphabets, trained with 5, BMAML's five went from 94.6% to 97.0% by 40 steps and one from 95.6% to 96.2%.
_CHASER = dataclasses.replace(_HEADS, judged_steps=40)
_WHOLE = ImageRecipe(
    {"inner_learning_rate": 0.4, "inner_steps": 1},
    batch=8,
    accumulation_steps=8,
    steps=2_500,
    outer=Muon(2e-2, adam_learning_rate=1e-2, clip=10.0),
)
# Not tuned: by the mean log-likelihood, or (Stein particles, nats) by its sum.
_OTHER = ImageRecipe({"inner_learning_rate": 0.1, "inner_steps": 5, "clip": 10.0})
_SUMMED = ImageRecipe({"inner_learning_rate": 0.01, "inner_steps": 5, "clip": 10.0})
_TUNED: dict[str, ImageRecipe] = {
    "protonet": _MANY,
    "matching": _MANY,
    "ridge": dataclasses.replace(_MANY, settings={"noise": 0.1}),
    "anil": _HEADS,
    "shared-emaml": _HEADS,
    "shared-bfa": _HEADS,
    "shared-bmaml": _CHASER,
    "maml": _WHOLE,
    # At 0.4, which serves MAML, it ends at chance; at 0.03 it has not begun after 400 meta-steps.
    "fomaml": dataclasses.replace(_WHOLE, settings={"inner_learning_rate": 0.1, "inner_steps": 1}),
}
COMPARED = tuple(_TUNED)
RECIPES: dict[str, ImageRecipe] = (
    dict.fromkeys(CLASSIFICATION, _OTHER)
    | dict.fromkeys(AMORTISED, ImageRecipe())
    | dict.fromkeys(("bfa", "bmaml", "ml-point", "ml-laplace"), _SUMMED)
    | _TUNED
)
_PARTICLES = 5


def image_recipe(name: str) -> ImageRecipe:
    """Return how a named method is trained on images.

    Raises: InputError for an unknown name.
    """
    return pick("method of images", name, RECIPES)


def build_image_method(
    name: str, shape: ImageShape, way: int, *, network: Network = "auto", filters: int | None = None, **settings: Any
) -> Method:
    """Return a method for episodes of `way` classes, its recipe changed by those of `settings` that are not None.

    Prototypes, matching, ridge and networks that read work on the features of the network (see `image_network`); `"anil"` and
    `"shared-..."` adapt a linear head on them; all others adapt the network itself.
    Raises: InputError for an unknown name, or a setting that the method does not have.
    """
    recipe, make = image_recipe(name), METHODS[name]
    chosen = recipe.settings | _known(name, settings)
    filters = filters or recipe.filters
    if name not in CLOSED_FORM + SHARED + AMORTISED:
        return make(CategoricalModel(image_network(network, shape, way, filters)[0]), **chosen)
    extractor, width = image_network(network, shape, None, filters)
    if name in AMORTISED:
        return shared(extractor, make(width, way, classes=True, **chosen))
    if name in SHARED:
        return make(extractor, CategoricalModel(MLP((width, way))), **chosen)
    return make(extractor, width, way, **chosen) if name == "ridge" else make(extractor, way, **chosen)


def _known(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are given, with the number of particles where a method has some."""
    has = inspect.signature(METHODS[name]).parameters
    chosen = {k: v for k, v in settings.items() if v is not None}
    if "particles" not in has and chosen.pop("particles", 1) != 1:
        raise InputError(
            f"method {name!r} has one particle and {settings['particles']} were asked for: use 'shared-bmaml' or 'ridge'."
        )
    check_settings(name, chosen, has)
    return {"particles": _PARTICLES} | chosen if "particles" in has and name not in CLOSED_FORM else chosen
