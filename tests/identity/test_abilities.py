"""Abilities of learners: what a joint density is, what a wrapper passes on, and what a stranger's learner gets by them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CLASSES, FEATURES, MODEL, fixed_tasks, is_one_sentence, jit, labelled, task

from bmaml.data import Data
from bmaml.evaluation.evaluate import evaluate
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.inference.priors import AroundInit
from bmaml.learners import ConjugateLearner, GradientLearner, Laplace, RecalibratedLearner, Sgd
from bmaml.learners.base import AbstractIterativeLearner, AbstractLearner, AbstractWrapper
from bmaml.learners.predictor import Predictor
from bmaml.learners.wrappers import with_steps
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel
from bmaml.objectives import ChaserLoss, EvidenceLoss, PooledLoss, QueryLoss

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(4)


def loss_of(learner, objective):
    """The loss and its gradient at fresh meta-parameters, on one task."""
    meta, one = jit(learner.init)(KEY), task(4, 3)
    return jit(jax.value_and_grad(lambda m: objective(learner, m, one, key=KEY)[0]))(meta)


def test_the_joint_of_an_exact_head_is_the_product_of_what_it_predicts_one_after_another():
    """By the chain rule: each target given the support and the targets before. No particle is needed for that."""
    learner, one = ConjugateLearner(FEATURES, particles=2), task(4, 3)
    meta = jit(learner.init)(KEY)

    @jit
    def chain(meta):
        given, total = one.support, 0.0
        for i in range(3):
            row = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], one.query)
            total += learner.adapt(meta, given).predict(row.x).log_prob(row.y)[0]
            given = given | row
        return -total / 3

    found = jit(lambda m: QueryLoss("joint")(learner, m, one, key=KEY)[0])(meta)
    np.testing.assert_allclose(found, chain(meta), rtol=1e-5)  # The jitter grows with the kernel's trace.


def test_the_joint_of_laplace_on_a_line_is_the_exact_gaussian():
    """A linear model climbed to its mode: the query's joint density given the support, by conditioning one big Gaussian."""
    line = GaussianModel(MLP((1, 1)), precision=4.0)
    climb = GradientLearner(line, AroundInit(2.0), Sgd(0.02), 1500, adapt_noise=False)
    learner, one = Laplace(climb, precision=2.0), task(4, 3)
    meta = jit(learner.init)(KEY)
    start = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(line.weights(meta.particles.params))])
    x, y = (np.concatenate(pair)[:, 0] for pair in ((one.support.x, one.query.x), (one.support.y, one.query.y)))
    design = np.stack([np.ones(7), x], 1)
    mean, covariance = design @ start, design @ design.T / 2.0 + np.eye(7) / 4.0

    def log_density(count):
        return np.asarray(jax.scipy.stats.multivariate_normal.logpdf(y[:count], mean[:count], covariance[:count, :count]))

    found = jit(lambda m: QueryLoss("joint")(learner, m, one, key=KEY)[0])(meta)
    np.testing.assert_allclose(found, -(log_density(7) - log_density(4)) / 3, rtol=1e-7)


def test_the_chaser_on_laplace_is_the_chaser_on_what_it_wraps():
    """Laplace hands its base's steps on; the curvature at their end moves nothing."""
    base = GradientLearner(MODEL, rule=Sgd(1e-3), steps=2, particles=2)
    for a, b in zip(*map(jax.tree.leaves, (loss_of(base, ChaserLoss(1)), loss_of(Laplace(base), ChaserLoss(1)))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_evidence_of_experts_is_that_of_their_posterior():
    learner, one = ConjugateLearner(FEATURES, particles=2), task(4, 3)
    meta = jit(learner.init)(KEY)
    found = jit(lambda m: EvidenceLoss()(learner, m, one, key=KEY)[0])(meta)
    wanted = jit(lambda m: learner.adapt(m, one.support | one.query).log_evidence)(meta)
    np.testing.assert_allclose(found, -wanted / 7, rtol=1e-12)


class Mean(AbstractIterativeLearner):
    """A stranger's learner: one number, the mean of the targets, approached by halves; its noise is 1."""

    steps: int = eqx.field(static=True, default=2)

    def init(self, key):
        return jnp.asarray(0.5)

    def start(self, meta, support, *, key):
        return meta

    def advance(self, meta, state, support, steps, *, key):
        mean = (support.y[:, 0] * support.mask).sum() / jnp.maximum(support.count, 1.0)
        return mean + (state - mean) * 0.5**steps

    def position(self, state, hyper):
        return state[None]

    def with_steps(self, steps):
        return dataclasses.replace(self, steps=steps)

    def finish(self, meta, state, support, *, key):
        network = MLP((1, 1))
        weights = [{"weight": jnp.zeros((1, 1, 1)), "bias": state[None, None]}]
        return ParticlePosterior(GaussianModel(network, 1.0, known=True), {"weights": weights}, jnp.zeros(1))

    def adapt(self, meta, support, *, key):
        return self.finish(meta, self.advance(meta, meta, support, self.steps, key=key), support, key=key)


class Shifted(AbstractWrapper):
    """A stranger's wrapper: targets are shifted before the learner within sees them."""

    inner: AbstractLearner

    def init(self, key):
        return self.inner.init(key)

    def within(self, meta, task):
        return meta, eqx.tree_at(lambda t: t.support.y, task, task.support.y + 1.0)

    def adapt(self, meta, support, *, key):
        return self.inner.adapt(meta, Data(support.x, support.y + 1.0, support.mask), key=key)


def test_a_strangers_learner_gets_every_objective_that_its_abilities_allow():
    """Reptile's gradient is 2 (start - end) by hand, and scores after more steps come nearer to the mean."""
    one = task(4, 3)
    mean = float(np.mean(one.support.y))
    loss, slope = loss_of(Mean(), ChaserLoss(0))
    np.testing.assert_allclose(loss, (0.75 * (0.5 - mean)) ** 2, rtol=1e-12)
    np.testing.assert_allclose(slope, 2 * 0.75 * (0.5 - mean), rtol=1e-12)
    for objective in (QueryLoss("each"), QueryLoss("joint"), QueryLoss("squared_error"), PooledLoss("points")):
        assert np.isfinite(loss_of(Mean(), objective)[0])
    found = evaluate(Predictor(Mean(), jnp.asarray(9.0)), fixed_tasks(), shots=[5], steps=[1, 5, 10], count=4, queries=4)
    errors = [found.get("mse_noisy", 5, steps).mean for steps in (1, 5, 10)]
    assert errors[0] > 2 * errors[1] > 0
    assert abs(errors[2] - errors[1]) < 0.5


def test_a_wrapper_has_what_is_within():
    """Chaser, steps and scores go through a stranger's wrapper and through a recalibration alike."""
    for learner in (Shifted(Mean()), RecalibratedLearner(Mean(), 2), Shifted(RecalibratedLearner(Mean(), 2))):
        Method(learner, ChaserLoss(1))
        assert np.isfinite(loss_of(learner, ChaserLoss(1))[0])
        longer = with_steps(learner, 7)
        while isinstance(longer, AbstractWrapper):
            longer = longer.inner
        assert longer.steps == 7


def test_a_pair_that_nobody_foresaw_is_refused_when_it_is_traced():
    """A stranger's learner does not say that its targets are classes: the sentence comes with the first trace."""

    class Labels(AbstractLearner):
        """Hands on another learner, and none of what it knows of itself."""

        hidden: AbstractLearner

        def init(self, key):
            return self.hidden.init(key)

        def adapt(self, meta, support, *, key):
            return self.hidden.adapt(meta, support, key=key)

    learner, one = Labels(GradientLearner(CLASSES)), task(kind=labelled)
    method = Method(learner, QueryLoss("squared_error"))
    with pytest.raises(TypeError) as error:
        jit(lambda: method.objective(learner, learner.init(KEY), one, key=KEY))()
    assert is_one_sentence(error.value), error.value
