"""Settings for tables whose columns are standardised."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from bmaml.errors import InputError
from bmaml.learners import ConjugateLearner
from bmaml.methods import AMORTISED, METHODS, REGRESSION, Method
from bmaml.models import MLP, GaussianModel, MLPFeatures
from bmaml.objectives import QueryLoss


def regression_method(name: str, inputs: int, outputs: int, particles: int | None = None) -> Method:
    """Return a named method at its settings for tables with standardised inputs and outputs.

    `"experts"`: 16 exact heads on 8 features of a 64-64-64 network, a prior for each head, noise that depends on the
    input. `"cnp"`, `"tnp"`, `"rnn"`: networks of their own, a noise deviation of at least 0.01. The others: a 64-64
    network, 5 inner steps, 5 particles where the method has any.
    Raises: InputError for an unknown name, or particles where a method has none.
    """
    if particles is not None and particles < 1:
        raise InputError(f"{particles} particles were asked for: give at least 1, or None for the method's own number.")
    if name not in REGRESSION:
        near = difflib.get_close_matches(name, REGRESSION, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown method {name!r}: {hint}the methods are {', '.join(REGRESSION)}.")
    if name == "experts":
        features = MLPFeatures(inputs, heteroscedastic=True)
        learner = ConjugateLearner(features, outputs, particles or 16, own_prior=True)
        return Method(learner, QueryLoss("points"))
    options: dict[str, Any] = {"inner_steps": 5, "clip": 10.0}
    if "particles" in inspect.signature(METHODS[name]).parameters:
        options["particles"] = particles or 5
    elif particles not in (None, 1):
        raise InputError(f"method {name!r} has one particle and {particles} were asked for: use 'bmaml' or 'experts'.")
    if name in AMORTISED:
        return METHODS[name](inputs, outputs, floor=1e-2)
    return METHODS[name](GaussianModel(MLP((inputs, 64, 64, outputs)), precision=4.0), **options)
