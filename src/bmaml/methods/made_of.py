"""What a method is made from, besides its settings."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from bmaml.errors import InputError
from bmaml.learners import AbstractLearner
from bmaml.methods.arguments import explained
from bmaml.methods.base import Method
from bmaml.methods.classes import shared
from bmaml.models import AbstractFeatures, AbstractModel, AbstractNetwork
from bmaml.objectives import AbstractObjective
from bmaml.training.method import AbstractMethod

Preset = Callable[..., AbstractMethod]
Settings = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a kind of tasks offers to make a method from.

    - `inputs`, `outputs`: widths of a row of inputs and of targets; with `classes` there are `outputs` classes.
    - `model`: makes a network with its likelihood. Its argument is the start of the noise precision (None: the offer's own).
    - `features`: makes features for exact heads.
    - `extractor`: makes a network that tasks share, and its width.
    - `head`: makes a model on so many features.
    - `settings`: settings of these tasks; a method takes those that it has.
    """

    inputs: int
    outputs: int
    model: Callable[[float | None], AbstractModel]
    features: Callable[[], AbstractFeatures] | None = None
    extractor: Callable[[], tuple[AbstractNetwork, int]] | None = None
    head: Callable[[int], AbstractModel] | None = None
    classes: bool = False
    settings: Settings = dataclasses.field(default_factory=dict)

    def shared_network(self) -> tuple[AbstractNetwork, int]:
        """Return the extractor and its width.

        Raises: InputError if these tasks have none.
        """
        if self.extractor is None:
            raise InputError("these tasks come with no extractor to share: use a method that is made from a model.")
        return self.extractor()


@dataclasses.dataclass(frozen=True)
class AbstractIngredients(ABC):
    """Says which parts of an offer a preset is called with."""

    @abstractmethod
    def build(self, preset: Preset, offer: Offer, precision: float | None, settings: Settings) -> AbstractMethod:
        """Return the method.

        - `preset`: the function that builds it.
        - `offer`: what the tasks offer.
        - `precision`: start of a model's noise precision (None: the offer's own).
        - `settings`: keyword arguments of the preset.
        """


@dataclasses.dataclass(frozen=True)
class OfModel(AbstractIngredients):
    """A network with its likelihood: `preset(model, **settings)`."""

    def build(self, preset, offer, precision, settings):
        return preset(offer.model(precision), **settings)


@dataclasses.dataclass(frozen=True)
class OfFeatures(AbstractIngredients):
    """Features for exact heads, and the width of the targets: `preset(features, outputs=outputs, **settings)`."""

    def build(self, preset, offer, precision, settings):
        if offer.features is None:
            raise InputError("these tasks come with no features for exact heads: use a method that is made from a model.")
        return preset(offer.features(), outputs=offer.outputs, **settings)


@dataclasses.dataclass(frozen=True)
class OfWidths(AbstractIngredients):
    """The widths of inputs and targets: `preset(inputs, outputs, **settings)`.

    For classes, the inputs are an extractor's features: `preset(width, classes, classes=True, **settings)`.
    """

    def build(self, preset, offer, precision, settings):
        if not offer.classes:
            return preset(offer.inputs, offer.outputs, **settings)
        extractor, width = offer.shared_network()
        method: Any = preset(width, offer.outputs, classes=True, **settings)
        return shared(extractor, method)


@dataclasses.dataclass(frozen=True)
class OfClasses(AbstractIngredients):
    """An extractor and the number of classes: `preset(extractor, classes, **settings)`.

    With `sized` the preset also gets the extractor's width: `preset(extractor, width, classes, **settings)`.
    """

    sized: bool = False

    def build(self, preset, offer, precision, settings):
        extractor, width = offer.shared_network()
        counts = (width, offer.outputs) if self.sized else (offer.outputs,)
        return preset(extractor, *counts, **settings)


@dataclasses.dataclass(frozen=True)
class OfHead(AbstractIngredients):
    """An extractor and a model on its features: `preset(extractor, model, **settings)`."""

    def build(self, preset, offer, precision, settings):
        extractor, width = offer.shared_network()
        if offer.head is None:
            raise InputError("these tasks come with no model on features: use a method that is made from a model.")
        return preset(extractor, offer.head(width), **settings)


@dataclasses.dataclass(frozen=True)
class OfNothing(AbstractIngredients):
    """Nothing: `preset(**settings)` brings its own network."""

    def build(self, preset, offer, precision, settings):
        return preset(**settings)


def pair(learner: type[AbstractLearner], objective: AbstractObjective) -> Preset:
    """Return the preset of a learner's class with an objective: a row then needs no function of its own.

    The learner's arguments without a default are what the method is made from, in order. Those with one are its settings.
    """

    def preset(*made_of: Any, **settings: Any) -> Method:
        return Method(learner(*made_of, **settings), objective)

    every = inspect.signature(learner).parameters.values()
    kinds = {True: inspect.Parameter.POSITIONAL_OR_KEYWORD, False: inspect.Parameter.KEYWORD_ONLY}
    own = [one.replace(kind=kinds[one.default is inspect.Parameter.empty]) for one in every]
    preset.__name__, preset.__doc__ = learner.__name__, learner.__doc__
    preset.__signature__ = inspect.Signature(own)  # pyright: ignore[reportFunctionMemberAccess]
    return explained(preset)
