"""Few-shot methods on images by name, with tuned settings: networks, training episodes and plans.

This is the one place for them. The classifier, the command line, leaderboards, figures and benchmarks read them here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from bmaml.images import ImageSet
from bmaml.learners.wrappers import with_steps
from bmaml.methods import METHODS, Method, Tuned, TunedImages, choose, fitting
from bmaml.methods.made_of import Offer
from bmaml.models import MLP, CategoricalModel
from bmaml.models.by_name import ImageShape, Network, image_network
from bmaml.recipes.tables import as_pair
from bmaml.tasks.episodes import Episodes
from bmaml.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class ImageRecipe:
    """How a method is trained on images: its `tuned` settings, adjusted to the images at hand."""

    tuned: TunedImages = dataclasses.field(default_factory=TunedImages)

    def answering(self, method: Method) -> Method:
        """Return the method with the inner steps that its trained runs answer with."""
        steps = self.tuned.answering_steps
        return method if steps is None else dataclasses.replace(method, answering=with_steps(method.learner, steps))

    def training_way(self, images: ImageSet, way: int, *, rotations: bool = False, within: bool = False) -> int:
        """Return the number of classes of a training episode, for a method that must tell `way` classes apart.

        The recipe's number is used if it is larger and `images` has enough classes (with `rotations` four times as many). With
        `within`, where classes come from one superclass, the result is `way`.
        """
        available = len(images.classes) * (4 if rotations else 1)
        return way if within else max(way, min(self.tuned.way or way, available))

    def episodes(
        self,
        images: ImageSet,
        way: int,
        shots: tuple[int, ...] = (1,),
        *,
        queries: int | None = None,
        rotations: bool = False,
        within: bool = False,
        distort: float = 0.0,
    ) -> Episodes:
        """Return the episodes that train a method for `way` classes with `shots` images each.

        - `images`: the training images.
        - `queries`: query images of each class; None takes the recipe's number if the classes allow it.
        - `rotations`, `within`, `distort`: as in `Episodes`.

        Raises: InputError if there are too few images or classes.
        """
        way = self.training_way(images, way, rotations=rotations, within=within)
        queries = queries or self.fitting(images.sizes, shots)
        return images.episodes(way, shots, queries, rotations=rotations, within=within, distort=distort)

    def fitting(self, sizes: Sequence[int], shots: tuple[int, ...]) -> int:
        """Return the number of query images of each class: the recipe's, or what the smallest class leaves after `shots`.

        `sizes` are the numbers of images of the classes.
        """
        return max(1, min(self.tuned.queries, min(sizes) - max(shots, default=1)))

    def plan(
        self, *, steps: int | None = None, batch: int | None = None, learning_rate: float | None = None, seed: int = 0
    ) -> Plan:
        """Return how the method is trained, with other meta-steps (`steps`), meta-batches (`batch`) or outer rates
        (`learning_rate`).
        """
        return self.tuned.trained(steps=steps, batch=batch, learning_rate=learning_rate, seed=seed)


def image_recipe(name: str) -> ImageRecipe:
    """Return how the method `name` is trained on images.

    Raises: InputError for an unknown name, or a method that does not tell classes apart.
    """
    return ImageRecipe(choose(name, "classes").images)


def compared() -> tuple[str, ...]:
    """Return the names of the methods that a leaderboard of images has by default."""
    return tuple(name for name in fitting("classes") if METHODS[name].images.compared)


def build_image_method(
    name: str, shape: ImageShape, way: int, *, network: Network = "auto", filters: int | None = None, **settings: Any
) -> Method:
    """Return a method for episodes of `way` classes, with its recipe.

    Prototypes, matching, ridge and networks that read their support use the features of the network. `"anil"` and
    `"shared-..."` adapt a linear head on these features. All others adapt the network itself.

    - `name`: the method.
    - `shape`: height, width and channels of an image.
    - `way`: number of classes.
    - `network`, `filters`: as in `image_network`.
    - `settings`: changes of the recipe; None keeps the recipe's value.

    Raises: InputError for an unknown name, or a setting that the method does not have.
    """
    row = choose(name, "classes")
    width = filters or row.images.filters
    offer = Offer(
        inputs=math.prod(shape),
        outputs=way,
        model=lambda _: CategoricalModel(image_network(network, shape, way, width)[0]),
        extractor=lambda: image_network(network, shape, None, width),
        head=lambda features: CategoricalModel(MLP((features, way))),
        classes=True,
    )
    method = as_pair(row.build(offer, Tuned(row.images.settings), **settings), name)
    return ImageRecipe(row.images).answering(method)
