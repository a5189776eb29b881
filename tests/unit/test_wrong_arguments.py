"""What a newcomer hands over first and wrongly, in Python: one sentence that says what to write."""

import numpy as np
import pytest
from cases import FEATURES, MODEL, is_one_sentence

import bmaml
from bmaml import methods
from bmaml.errors import BmamlError
from bmaml.learners import ConjugateLearner, GradientLearner
from bmaml.models import MLP, DeepSets, GaussianModel, MLPFeatures
from bmaml.objectives import QueryLoss
from bmaml.tasks import Sinusoids

LEARNER = GradientLearner(MODEL)
WRONG = {
    "experts": (lambda: methods.experts(MODEL), "experts.features. needs features .* MLPFeatures"),
    "cnp": (lambda: methods.cnp(MODEL), "inputs of cnp.inputs, outputs. is a GaussianModel: give a whole number"),
    "tnp": (lambda: methods.tnp(MODEL), "inputs of tnp"),
    "linear": (lambda: methods.linear(MODEL, 1), "inputs of LinearLearner.inputs, outputs. is a GaussianModel"),
    "protonet": (lambda: methods.protonet(MODEL, 5), "needs a network"),
    "missing": (lambda: methods.protonet(MLP((4, 3))), "classes is missing: give all of protonet.extractor, classes."),  # pyright: ignore[reportCallIssue]
    "no model": (lambda: methods.maml(), "model is missing: give all of maml.model."),  # pyright: ignore[reportCallIssue]
    "misspelt": (lambda: methods.maml(MODEL, inner_step=3), "no setting 'inner_step': use inner_steps"),  # pyright: ignore[reportCallIssue]
    "by position": (lambda: methods.maml(MODEL, 3), "by its name"),  # pyright: ignore[reportCallIssue]
    "network": (lambda: methods.maml(MLP((1, 4, 1))), r"give one such as GaussianModel\(MLP"),
    "swapped": (lambda: bmaml.Method(QueryLoss(), LEARNER), "before the learner GradientLearner"),
    "no learner": (lambda: bmaml.Method(MODEL, QueryLoss()), "a GaussianModel as its learner"),
    "no objective": (lambda: bmaml.Method(LEARNER, FEATURES), "as its objective"),
    "features": (lambda: ConjugateLearner(MODEL), "needs features"),
    "sizes": (lambda: MLP(1, 8, 1), r"MLP's sizes were given as 1: .* such as \(1, 40, 1\)"),
    "text": (lambda: MLP("1,8,1"), "MLP's sizes were given as '1,8,1'"),
    "hidden": (lambda: MLPFeatures(1, hidden=64), "hidden widths were given as 64"),
    "class": (lambda: GaussianModel(MLP), "the class MLP, not an object of it"),
    "half a step": (lambda: GradientLearner(MODEL, steps=2.5), "steps of GradientLearner is 2.5: give a whole number"),
    "text for a count": (lambda: methods.bmaml(MODEL, particles="3"), "particles of GradientLearner is '3'"),
    "text for a rate": (lambda: bmaml.Adam("1e-3"), "learning_rate of Adam is '1e-3': give a finite number"),
    "truth": (lambda: DeepSets(True), "inputs of DeepSets is True"),
    "a range": (lambda: Sinusoids(amplitude=3.0), "amplitude of Sinusoids is 3.0: give 2 finite numbers"),
    "an outer rate": (lambda: _train(learning_rate=0.01), r"give outer=bmaml.Adam\(learning_rate=0.01\)"),
    "shots": (lambda: _train(shots=5), r"give it to the tasks, as in bmaml.tasks.Sinusoids\(shots=5\)"),
    "particles": (lambda: _train(particles=5), "give it to the method"),
    "a learner": (lambda: bmaml.train(LEARNER, Sinusoids()), r"give a method, such as bmaml.methods.maml"),
    "tasks by name": (lambda: bmaml.train(methods.maml(MODEL), "sinusoid"), "give a source of tasks"),
    "a method to score": (lambda: bmaml.evaluate(methods.maml(MODEL), Sinusoids()), "give a run, as bmaml.train"),
    "a learner to cite": (lambda: bmaml.cite(LEARNER), "what to cite is a GradientLearner"),
    "several densities": (lambda: bmaml.svgd(lambda x: x, np.zeros((3, 2))), r"has shape \(2,\): give a function"),
    "a plan's": (lambda: _train(step=5), "use steps"),
    "an option": (lambda: _train(callback=None), "use callbacks"),
}


def _train(**options):
    return bmaml.train(methods.maml(MODEL), Sinusoids(), **options)


@pytest.mark.unchecked
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_explained_in_one_sentence(case):
    made, says = WRONG[case]
    with pytest.raises(BmamlError, match=says) as caught:
        made()
    assert is_one_sentence(caught.value)
