"""Named methods at their settings for few-shot classes of images."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from typing import Any, Literal

from bmaml.errors import InputError
from bmaml.learners import AbstractLearner, MatchingLearner, PrototypeLearner, RidgeLearner
from bmaml.learners.features import core, replace_core
from bmaml.methods import AMORTISED, CLASSIFICATION, CLOSED_FORM, METHODS, SHARED, Method, shared
from bmaml.models import MLP, AbstractNetwork, CategoricalModel, Conv4, ResNet12

Shape = tuple[int, int, int]
Network = Literal["auto", "conv4", "resnet12", "mlp"]
NETWORKS = ("auto", "conv4", "resnet12", "mlp")
_SMALLEST = 16  # Conv-4 and ResNet-12 halve an image four times.
_HIDDEN, _FEATURES = (256, 128), 64


def image_network(
    name: str, shape: Shape, outputs: int | None = None, filters: int | None = None
) -> tuple[AbstractNetwork, int]:
    """Return a network of flat images and the width of what it gives: features, or `outputs` of a linear head on them.

    `"conv4"` has 32 filters unless said otherwise, `"resnet12"` as many in its first block (and 2, 4, 8 times as many in the
    others), `"mlp"` layers of 256 and 128 on the pixels, then 64 (or `filters`) features. `"auto"` is conv4, or mlp where
    images have a side below 16.
    Raises: InputError for an unknown name, or images too small for it.
    """
    if name not in NETWORKS:
        raise InputError(f"unknown network {name!r}: use one of {', '.join(NETWORKS)}.")
    small = min(shape[:2]) < _SMALLEST
    if name == "mlp" or (name == "auto" and small):
        width = outputs or filters or _FEATURES
        return MLP((math.prod(shape), *_HIDDEN, width)), width
    if small:
        raise InputError(f"{name} needs images of at least 16 pixels a side and these are {shape[0]}x{shape[1]}: use mlp.")
    count = filters or 32
    network = (
        ResNet12(shape, tuple(count * 2**i for i in range(4)), outputs) if name == "resnet12" else Conv4(shape, count, outputs)
    )
    return network, outputs or network.features


def classification_method(
    name: str, shape: Shape, way: int, *, particles: int | None = None, network: Network = "auto", filters: int | None = None
) -> Method:
    """Return a named method for episodes of `way` classes of images.

    Prototypes, matching, ridge, and neural processes work on the features of the network; `"anil"` and `"shared-..."`
    adapt a linear head on them; all others adapt the network itself, by 5 inner steps of 0.1 on the mean log-likelihood (Stein
    particles: of 0.01 on its sum).
    Raises: InputError for an unknown name, or particles where a method has none.
    """
    if name not in CLASSIFICATION:
        near = difflib.get_close_matches(name, CLASSIFICATION, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown method of classes {name!r}: {hint}use one of {', '.join(CLASSIFICATION)}.")
    make = METHODS[name]
    options: dict[str, Any] = {}
    if "particles" in inspect.signature(make).parameters:
        options["particles"] = particles or (1 if name in CLOSED_FORM else 5)
    elif particles not in (None, 1):
        raise InputError(f"method {name!r} has one particle and {particles} were asked for: use 'shared-bmaml' or 'ridge'.")
    if name in CLOSED_FORM + SHARED + AMORTISED:
        extractor, width = image_network(network, shape, None, filters)
        if name in AMORTISED:
            return shared(extractor, make(width, way, classes=True))
        if name in SHARED:
            return make(extractor, CategoricalModel(MLP((width, way))), **options)
        return make(extractor, width, way, **options) if name == "ridge" else make(extractor, way, **options)
    whole, _ = image_network(network, shape, way, filters)
    rate = 0.01 if name in ("bfa", "bmaml", "ml-point", "ml-laplace") else 0.1
    return make(CategoricalModel(whole), rate=rate, steps=5, clip=10.0, **options)


def for_classes(learner: AbstractLearner, way: int, count: int) -> AbstractLearner:
    """Return a learner trained on episodes of `way` classes for a task of `count`; class means fit any number of them.

    Raises: InputError where the learner's network has `way` outputs and more are asked for.
    """
    inner = core(learner)
    if isinstance(inner, PrototypeLearner | MatchingLearner | RidgeLearner):
        return replace_core(learner, lambda one: dataclasses.replace(one, classes=count))  # pyright: ignore[reportArgumentType]
    if count > way:
        raise InputError(
            f"the task has {count} classes and the model tells up to {way} apart: fit with a way of {count}, or use "
            "'protonet', which takes any number."
        )
    return learner


__all__ = ["NETWORKS", "Network", "classification_method", "for_classes", "image_network"]
