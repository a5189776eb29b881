"""What goes in and what comes out of a trained model: a wild number is named, or the answer is finite and sensible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CLASSES, FEATURES, MODEL, is_one_sentence

import bmaml
from bmaml import methods
from bmaml.errors import BmamlError, InputError
from bmaml.learners import ConjugateLearner, Sgd
from bmaml.learners.gradient import GradientLearner
from bmaml.models import MLP, CategoricalModel, GaussianModel
from bmaml.objectives import QueryLoss
from bmaml.tasks import Sinusoids

QUICK = {"steps": 2, "batch": 2}


@pytest.fixture(scope="module")
def run():
    return bmaml.train(methods.maml(MODEL), Sinusoids(shots=3), **QUICK)


@pytest.fixture(scope="module")
def fitted():
    """A regressor of networks, which know nothing of inputs that they did not see, fitted on inputs in [0, 1]."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(120, 1)), rng.normal(size=120)
    groups = np.repeat(np.arange(12), 10)
    return bmaml.FewShotRegressor("experts", steps=30, particles=2).fit(x, np.sin(6 * x[:, 0]) + 0.05 * y, groups=groups)


def test_one_wild_row_leaves_sensible_intervals(fitted):
    with pytest.warns(UserWarning, match="row 1 .counted from 0., column 'x0' is .* counts as if it lay at the edge"):
        task = fitted.adapt([[0.1], [300.0], [0.9]], [0.3, 0.2, 0.1])
    (low, high), plain = task.interval([[0.2], [0.8]]), fitted.adapt([[0.1], [0.9]], [0.3, 0.1]).interval([[0.2], [0.8]])
    assert np.isfinite([low, high]).all()
    assert (high - low < 3 * (plain[1] - plain[0])).all()
    with pytest.warns(UserWarning, match="row 0"):
        mean, std = task.predict([[1e5]], return_std=True)
    assert np.isfinite([mean, std]).all()


WRONG = {
    "nan": (lambda run: run.adapt([[0.0], [np.nan]], [[1.0], [2.0]]), "x of the given points, row 1, column 0 .* is nan"),
    "past single precision": (lambda run: run.adapt([[1e39]], [[1.0]]), "is inf in the model's precision"),
    "nan targets": (lambda run: run.adapt([[0.0]], [[np.nan]]), "y of the given points, row 0"),
    "wild": (lambda run: run.adapt([[0.1], [0.3]], [[1.0], [3e38]]).predict([[0.0]]), "row 1 .* the largest numbers, x .0.3"),
    "two outputs": (lambda run: run.adapt([[0.0]], [[1.0, 2.0]]), "a target row has 2 numbers and the model predicts 1"),
    "two inputs": (
        lambda run: run.adapt([[0.0, 1.0]], [[1.0]]),
        r"cannot learn from rows of 2 inputs with targets of 1 number: give rows and targets as wide as the networks",
    ),
    "classes": (lambda run: run.adapt([[0.0]], [1]), "stand for classes"),
    "masked": (lambda run: run.adapt(np.ma.masked_equal([[0.0], [1.0]], 0), [[1.0], [1.0]]), "masked numbers"),
    "a ragged list": (lambda run: run.adapt([[0.0], [1.0, 2.0]], [[1.0], [1.0]]), "rows of equal length"),
    "a seed in words": (lambda run: run.adapt([[0.0]], [[1.0]], seed="a"), "seed of adapt is 'a'"),
    "a wide question": (lambda run: run.adapt([[0.0]], [[1.0]]).predict([[0.0, 1.0]]), "inputs are 1 wide"),
    "a wild question": (lambda run: run.adapt([[0.0]], [[1.0]]).predict([[0.0], [np.inf]]), "x, row 1, column 0"),
    "no level": (lambda run: run.adapt([[0.0]], [[1.0]]).predict([0.0]).interval(None), "interval level is None"),
    "no key": (lambda run: run.adapt([[0.0]], [[1.0]]).predict([0.0]).sample(0), "give a key of JAX"),
    "other targets": (lambda run: run.adapt([[0.0]], [[1.0]]).predict([0.0, 1.0]).log_prob(jnp.zeros(2)), "model predicts"),
    "a wide model": (lambda run: bmaml.train(methods.maml(GaussianModel(MLP((1, 4, 2)))), Sinusoids(), **QUICK), "outputs"),
    "a narrow model": (lambda run: bmaml.train(methods.maml(GaussianModel(MLP((2, 4, 1)))), Sinusoids(), **QUICK), "1 inputs"),
    "wide heads": (
        lambda run: bmaml.train(
            bmaml.Method(ConjugateLearner(FEATURES, outputs=2, particles=2), QueryLoss("points")), Sinusoids(), **QUICK
        ),
        "outputs",
    ),
    "a model of classes": (
        lambda run: bmaml.train(methods.maml(CLASSES), Sinusoids(), **QUICK),
        "classes",
    ),
    "half a task": (lambda run: bmaml.evaluate(run, Sinusoids(), count=1.5), "count of evaluate is 1.5: give a whole number"),
    "a folder by number": (lambda run: bmaml.load(3), "directory of load is 3: give a path"),
    "one class": (lambda run: bmaml.FewShotClassifier(way=1).fit([], []), "way of FewShotClassifier is 1"),
    "half a query": (
        lambda run: bmaml.FewShotRegressor(queries=1.5).fit([], [], groups=[]),
        "queries of FewShot.* is 1.5",
    ),
    "no label": (
        lambda run: bmaml.FewShotClassifier().fit(np.zeros((2, 8, 8), np.uint8), [np.nan, 1.0]),
        "y has no label for image 0",
    ),
}


@pytest.mark.unchecked
@pytest.mark.parametrize("case", WRONG)
def test_nonsense_is_named_in_one_sentence(run, case):
    call, says = WRONG[case]
    with pytest.raises(BmamlError, match=says) as caught:
        call(run)
    assert is_one_sentence(caught.value)


def test_evaluate_names_the_tasks_whose_predictions_are_not_finite():
    steep = bmaml.Predictor(GradientLearner(MODEL, rule=Sgd(1e30), steps=2), GradientLearner(MODEL).init(jax.random.key(0)))
    with pytest.raises(bmaml.NonFiniteError, match="after 5 shots are not finite in 3 of 3 tasks, first in task 0"):
        bmaml.evaluate(steep, Sinusoids(), shots=5, count=3, batch=3, queries=2)


def test_labels_are_those_of_the_classes():
    model = bmaml.Predictor(GradientLearner(CategoricalModel(MLP((1, 3)))), None)
    meta = model.learner.init(jax.random.key(0))
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(InputError, match="tells 3 classes apart"):
            bmaml.Predictor(model.learner, meta).adapt(bmaml.data.data([[0.0], [1.0]], labels), key=jax.random.key(0))
