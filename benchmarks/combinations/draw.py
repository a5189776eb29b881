"""Random methods: a learner with its prior, step rule, direction, adjoint and curvature, and an objective that fits it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import optax

from bmaml.errors import BmamlError
from bmaml.inference.adjoints import FirstOrder, Implicit, Unrolled
from bmaml.inference.curvature import Diagonal, ExactHessian, GaussNewton, Kronecker, LastLayer
from bmaml.inference.directions import Independent, Langevin, Stein
from bmaml.inference.priors import AroundInit, FlatPrior, GammaPrior, GaussianPrior
from bmaml.learners import (
    AbmlLearner,
    AbstractLearner,
    AmortisedLearner,
    ConjugateLearner,
    FeatureLearner,
    GradientLearner,
    Laplace,
    LearnedRates,
    MatchingLearner,
    Optax,
    PlatipusLearner,
    PrototypeLearner,
    RidgeLearner,
    Sgd,
)
from bmaml.learners.exact_heads import InverseGammaHead, RelativeHead
from bmaml.learners.linear import LinearLearner
from bmaml.methods import Method
from bmaml.models import (
    MLP,
    AbstractModel,
    CategoricalHead,
    CategoricalModel,
    DeepSets,
    GaussianModel,
    MLPFeatures,
    NormalHead,
    Recurrent,
    Transformer,
)
from bmaml.objectives import ChaserLoss, Elbo, EvidenceLoss, LaplaceLoss, PooledLoss, QueryLoss

WIDTH, OUTPUTS, CLASSES = 2, 2, 3
_ADAM = optax.adam(1e-2, eps_root=1e-8)


@dataclass(frozen=True)
class Drawn:
    """A method, whether it tells classes apart, and how many pairs were refused before it by a sentence."""

    method: Method
    classes: bool
    refused: int


def draw_method(rng: np.random.Generator) -> Drawn:
    """Return the next method that fits. Pairs that do not fit are refused when they are built, and drawn again."""
    refused = 0
    while True:
        classes = bool(rng.random() < 0.3)
        try:
            return Drawn(Method(_learner(rng, classes), _objective(rng)), classes, refused)
        except BmamlError:
            refused += 1


def described(method: Method) -> str:
    """Return a method in one line: enough to build it again."""
    return " ".join(f"{method.learner!r} + {method.objective!r}".split())


def _pick(rng: np.random.Generator, *choices):
    return choices[int(rng.integers(len(choices)))]


def _objective(rng: np.random.Generator):
    scoring = _pick(rng, "points", "joint", "each", "squared_error")
    return _pick(
        rng,
        QueryLoss(scoring),
        QueryLoss(scoring, evidence=0.01),
        PooledLoss(scoring),
        ChaserLoss(int(rng.integers(3)), bool(rng.integers(2)), bool(rng.integers(2))),
        Elbo(samples=int(rng.integers(1, 3))),
        LaplaceLoss(float(_pick(rng, 1e-6, 0.5))),
        EvidenceLoss(),
    )


def _model(rng: np.random.Generator, classes: bool) -> AbstractModel:
    activation = _pick(rng, "relu", "silu", "tanh", "gelu", "sin")
    network = MLP((WIDTH, *_pick(rng, (4,), (8, 8)), CLASSES if classes else OUTPUTS), activation)
    return (
        CategoricalModel(network) if classes else GaussianModel(network, float(_pick(rng, 1.0, 100.0)), bool(rng.integers(2)))
    )


def _gradient(rng: np.random.Generator, classes: bool) -> GradientLearner:
    rate = float(_pick(rng, 1e-3, 1e-2, 1e-1))
    direction = _pick(rng, Independent(), Stein(), Langevin(rate))
    return GradientLearner(
        _model(rng, classes),
        _pick(rng, FlatPrior(), GaussianPrior(), AroundInit(), GammaPrior()),
        _pick(rng, Sgd(rate), LearnedRates(rate), Optax(_ADAM)),
        steps=int(_pick(rng, 1, 2, 5)),
        particles=int(_pick(rng, 1, 3)),
        direction=direction,
        adjoint=_pick(rng, Unrolled(), Unrolled(checkpoint=True), FirstOrder(), Implicit()),
        fit=_pick(rng, "sum", "mean", "squared_error"),
        clip=None if isinstance(direction, Langevin) else _pick(rng, None, 1.0),
        adapt_noise=bool(rng.integers(2)),
    )


def _learner(rng: np.random.Generator, classes: bool) -> AbstractLearner:
    kind = _pick(rng, "gradient", "gradient", "laplace", "latent", "closed", "amortised")
    if kind == "gradient":
        return _gradient(rng, classes)
    if kind == "laplace":
        curvature = _pick(rng, GaussNewton(), Kronecker(), Diagonal(), LastLayer(), ExactHessian())
        return Laplace(_gradient(rng, classes), curvature, predictive=_pick(rng, "linear", "sample"))
    if kind == "latent":
        return _pick(rng, PlatipusLearner, AbmlLearner)(_gradient(rng, classes), particles=2)
    if kind == "amortised":
        network = _pick(rng, DeepSets(WIDTH, 8), Recurrent(WIDTH, 8), Transformer(WIDTH, 8, 1, 2))
        return AmortisedLearner(network, CategoricalHead(CLASSES) if classes else NormalHead(OUTPUTS))
    if classes:
        heads = PrototypeLearner(CLASSES), MatchingLearner(CLASSES), RidgeLearner(4, CLASSES, particles=int(_pick(rng, 1, 2)))
        return FeatureLearner(MLP((WIDTH, 8, 4)), _pick(rng, *heads))
    head = _pick(rng, InverseGammaHead(), InverseGammaHead(3), RelativeHead())
    codes = _pick(rng, "learned", "drawn")
    features = MLPFeatures(WIDTH, learned=4, hidden=(8,), code=2, heteroscedastic=bool(rng.integers(2)))
    experts = ConjugateLearner(features, OUTPUTS, 4, codes=codes, head=head, kept=float(_pick(rng, 0.5, 1.0)))
    return _pick(rng, LinearLearner(WIDTH, OUTPUTS), experts, experts)
