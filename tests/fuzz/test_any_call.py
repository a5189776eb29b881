"""Calls of the Python API with anything: a finite answer, or one sentence of ours."""

import dataclasses

import jax
import numpy as np
import pytest
from cases import EXTRACTOR, FEATURES, MODEL
from hypothesis import given
from hypothesis import strategies as st
from verdict import Refused, judged

import bmaml
from bmaml import methods
from bmaml.inference.directions import Langevin, Stein
from bmaml.inference.priors import GammaPrior, GaussianPrior
from bmaml.learners import AbmlLearner, ConjugateLearner, GradientLearner, Laplace, PlatipusLearner, RidgeLearner, Sgd
from bmaml.models import MLP, Conv4, DeepSets, MLPFeatures, Transformer
from bmaml.objectives import ChaserLoss, Elbo, LaplaceLoss, PooledLoss, QueryLoss
from bmaml.tasks import Sinusoids
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

pytestmark = pytest.mark.unchecked

NUMBERS = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 1e30, -1e30, 1e39, np.nan, np.inf]), st.floats(width=32))
ODD = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 4), st.floats(), st.text(max_size=3), st.complex_numbers()),
    *(st.just(thing) for thing in ((), [], {}, {"x": 1}, object, MODEL, np.float64, "relu", b"1", [[1.0], [1.0, 2.0]])),
    st.lists(st.one_of(st.integers(-2, 3), st.floats(), st.none()), max_size=3),
    st.lists(st.integers(-2, 3), max_size=3).map(tuple),
)
WHOLE = {"min_size": 1, "max_size": 5}
# Few shapes, each of which is compiled once.
ROWS = st.integers(1, 2).flatmap(lambda wide: st.lists(st.lists(NUMBERS, min_size=wide, max_size=wide), **WHOLE))
POINTS = st.one_of(ROWS, st.lists(NUMBERS, **WHOLE), ODD)


@pytest.fixture(scope="module")
def runs():
    """Tiny runs: gradient steps, and exact heads."""
    pair = methods.maml(MODEL), methods.experts(FEATURES, particles=2)
    return [bmaml.train(method, Sinusoids(shots=3), steps=1, batch=1) for method in pair]


@given(x=POINTS, y=POINTS, asked=POINTS, seed=st.one_of(st.integers(0, 9), ODD), level=st.one_of(st.floats(0, 1), ODD))
def test_adapting_to_anything_and_asking_anything(runs, x, y, asked, seed, level):
    for run in runs:
        posterior = judged(lambda run=run: run.adapt(x, y, seed=seed), keeps=lambda answer: None)
        if isinstance(posterior, Refused):
            continue
        predictive = judged(lambda posterior=posterior: posterior.predict(asked), keeps=lambda predictive: None)
        if isinstance(predictive, Refused):
            continue
        assert np.isfinite(predictive.mean).all()
        if len(predictive.mean):
            judged(lambda predictive=predictive: predictive.interval(level))


BUILT = [
    *(MLP((1, 4, 1)), MODEL, FEATURES, MLPFeatures(1), DeepSets(1), Transformer(1), Conv4((16, 16, 1))),
    *(Sgd(), GammaPrior(), GaussianPrior(), Stein(), Langevin(1e-2), GradientLearner(MODEL), Laplace(GradientLearner(MODEL))),
    *(ConjugateLearner(FEATURES), PlatipusLearner(GradientLearner(MODEL)), AbmlLearner(GradientLearner(MODEL))),
    *(RidgeLearner(4, 3), QueryLoss(), PooledLoss(), ChaserLoss(), Elbo(), LaplaceLoss(), Sinusoids(), Adam(), Plan()),
    *(methods.maml(MODEL), methods.protonet(EXTRACTOR, 3)),
]
FIELDS = [(made, field.name) for made in BUILT for field in dataclasses.fields(made) if field.init]


@given(place=st.sampled_from(FIELDS), value=ODD)
def test_a_setting_may_be_anything(place, value):
    made, name = place
    changed = judged(lambda: dataclasses.replace(made, **{name: value}), keeps=lambda answer: None)
    if not isinstance(changed, Refused):
        assert isinstance(hash(type(changed)), int)
        jax.tree.leaves(changed)
