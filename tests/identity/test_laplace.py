"""Laplace on linear-Gaussian tasks against the exact posterior and evidence, and its losses against their formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CLASSES, MODEL, is_one_sentence, jit, labelled, points, task
from jax.flatten_util import ravel_pytree

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.inference.curvature import Diagonal, ExactHessian, GaussNewton, IndefiniteError, Kronecker, LastLayer
from bmaml.inference.priors import AroundInit
from bmaml.learners import AbstractParticleLearner, GradientLearner, Laplace, Sgd
from bmaml.learners.linear import LinearLearner
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel, log_likelihood
from bmaml.objectives import EvidenceLoss, LaplaceLoss, QueryLoss

KEY, TAU, GAMMA = jax.random.key(4), 2.0, 5.0
LINE = GaussianModel(MLP((2, 1)), precision=GAMMA)
# Every step shrinks the distance to the mode: 1,500 of them leave rounding.
CLIMB = GradientLearner(LINE, AroundInit(TAU), Sgd(0.01), 1500, adapt_noise=False)
EXACT_FORMS = {"full": GaussNewton(), "kronecker": Kronecker(), "last layer": LastLayer(), "exact": ExactHessian()}
pytestmark = pytest.mark.usefixtures("x64")


def linear(count, seed=0):
    """Noisy points of a plane, not centred."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)) + 0.5
    y = x @ [[1.0], [-2.0]] + 0.7 + rng.normal(size=(count, 1)) / np.sqrt(GAMMA)
    return Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(count))


def exact(start, data):
    """Mean, covariance and log evidence of Bayesian linear regression, weights in the order (bias, weight)."""
    design, y = np.column_stack([np.ones(len(data.x)), data.x]), np.asarray(data.y)[:, 0]
    covariance = np.linalg.inv(TAU * np.eye(3) + GAMMA * design.T @ design)
    mean = covariance @ (TAU * start + GAMMA * design.T @ y)
    marginal, gap = np.eye(len(y)) / GAMMA + design @ design.T / TAU, y - design @ start
    evidence = -0.5 * (gap @ np.linalg.solve(marginal, gap) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    return mean, covariance, evidence


@pytest.mark.parametrize("form", EXACT_FORMS)
def test_posterior_and_evidence_of_a_linear_task_are_exact(form):
    learner, support, new = Laplace(CLIMB, EXACT_FORMS[form], TAU), linear(4), linear(3, 1)

    @jit
    def everything(meta):
        posterior = learner.adapt(meta, support, key=KEY)
        predictive = posterior.predict(new.x)
        eye = jax.vmap(ravel_pytree(LINE.weights(jax.tree.map(lambda leaf: leaf[0], posterior.params)))[1])(jnp.eye(3))
        one = jax.tree.map(lambda leaf: leaf[0], posterior.precision)
        covariance = jax.vmap(lambda v: ravel_pytree(one.solve(v))[0])(eye)
        evidence = learner.weigh(meta, support, key=KEY)[1]
        return ravel_pytree(LINE.weights(posterior.params))[0], covariance, evidence, predictive.mean, predictive.variance

    meta = jit(learner.init)(KEY)
    mean, covariance, evidence, predicted, variance = everything(meta)
    wanted_mean, wanted_covariance, wanted_evidence = exact(ravel_pytree(LINE.weights(meta.particles.params))[0], support)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-8)
    np.testing.assert_allclose(covariance, wanted_covariance, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(evidence, wanted_evidence, rtol=1e-8)
    design = np.column_stack([np.ones(3), new.x])
    np.testing.assert_allclose(predicted[:, 0], design @ wanted_mean, rtol=1e-8)
    np.testing.assert_allclose(variance[:, 0], np.diag(design @ wanted_covariance @ design.T) + 1 / GAMMA, rtol=1e-8)


def test_evidence_loss_is_minus_the_exact_log_marginal_likelihood_a_point():
    """Its gradient, too, in the start and in the noise precision: hierarchical Bayes by type-II maximum likelihood."""
    method, both = Method(Laplace(CLIMB, GaussNewton(), TAU), EvidenceLoss()), task(4, 3, kind=lambda n, seed: linear(n, seed))
    meta = jit(method.learner.init)(KEY)
    loss, gradient = jit(jax.value_and_grad(lambda m: method.objective(method.learner, m, both, key=KEY)[0]))(meta)
    everything = both.support | both.query

    def marginal(params):
        design, start = jnp.column_stack([jnp.ones(7), everything.x]), ravel_pytree(LINE.weights(params))[0]
        covariance = jnp.eye(7) * jnp.exp(-params["log_precision"][0]) + design @ design.T / TAU
        log_density = jax.scipy.stats.multivariate_normal.logpdf(everything.y[:, 0], design @ start, covariance)
        return -jnp.asarray(log_density) / 7

    wanted_loss, wanted = jit(jax.value_and_grad(marginal))(meta.particles.params)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-8)
    np.testing.assert_allclose(ravel_pytree(gradient)[0], ravel_pytree(wanted)[0], rtol=1e-7, atol=1e-9)


def test_laplace_loss_is_the_query_nll_plus_eta_log_det_of_the_querys_curvature():
    eta, one = 0.3, task()
    learner = Laplace(GradientLearner(MODEL, rule=Sgd(1e-3), steps=2), GaussNewton(), TAU)
    meta = jit(learner.init)(KEY)

    @jit
    def both(meta):
        params = jax.tree.map(lambda leaf: leaf[0], learner.base.adapt(meta, one.support, key=KEY).params)
        by_hand = -log_likelihood(MODEL, params, one.query) + eta * GaussNewton()(MODEL, params, one.query, TAU).logdet()
        return by_hand / 6, LaplaceLoss(eta)(learner, meta, one, key=KEY)[0], LaplaceLoss(0.0)(learner, meta, one, key=KEY)[0]

    wanted, found, plain = both(meta)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    point = QueryLoss("each")
    np.testing.assert_allclose(plain, jit(lambda m: point(learner.base, m, one, key=KEY)[0])(meta), rtol=1e-12)


def test_sampled_weights_have_the_posteriors_mean_and_variance():
    """40,000 draws on a linear task, within 5 standard errors; and `functions` of the linearised posterior likewise."""
    draws = 40_000
    learner, support, new = Laplace(CLIMB, GaussNewton(), TAU, "sample", draws), linear(4), linear(3, 1)
    linearised = dataclasses.replace(learner, predictive="linear")

    @jit
    def both(meta):
        predictive = learner.adapt(meta, support, key=KEY).predict(new.x)
        functions = linearised.adapt(meta, support, key=KEY).sample_functions(new.x, key=KEY, count=draws)
        return predictive.mean[:, 0], predictive.variance[:, 0] - 1 / GAMMA, functions[..., 0]

    meta = jit(learner.init)(KEY)
    mean, covariance, _ = exact(ravel_pytree(LINE.weights(meta.particles.params))[0], support)
    design = np.column_stack([np.ones(3), new.x])
    wanted, variance = design @ mean, np.diag(design @ covariance @ design.T)
    found, spread, functions = both(meta)
    for centre, around in ((found, spread), (functions.mean(0), functions.var(0))):
        np.testing.assert_array_less(np.abs(centre - wanted), 5 * np.sqrt(variance / draws))
        np.testing.assert_array_less(np.abs(around - variance), 5 * variance * np.sqrt(2 / draws))


def test_classes_are_predicted_less_surely_far_from_the_support():
    """The probit form leaves the winner and pulls towards even odds; more where the support says less."""
    learner = Laplace(GradientLearner(CLASSES, AroundInit(1.0), Sgd(0.1), 20), GaussNewton(), 1.0)
    support, x = labelled(8, 0), jnp.asarray([[0.0], [8.0]])

    @jit
    def both(meta):
        return learner.adapt(meta, support, key=KEY).predict(x).mean, learner.base.adapt(meta, support, key=KEY).predict(x).mean

    unsure, sure = both(jit(learner.init)(KEY))
    np.testing.assert_allclose(unsure.sum(1), 1.0, rtol=1e-12)
    drop = np.log(sure.max(1)) - np.log(unsure.max(1))
    assert (drop > 0).all()
    assert drop[1] > drop[0]


def test_an_indefinite_hessian_says_so_on_adapting():
    start = GradientLearner(MODEL, steps=0)
    learner = Laplace(start, ExactHessian(), 1e-3)
    meta = jit(learner.init)(KEY)
    far = points(5, 0)
    with pytest.raises(IndefiniteError):
        learner.adapt(meta, Data(far.x, far.y + 20.0, far.mask), key=KEY)


@pytest.mark.parametrize("objective", [LaplaceLoss(), EvidenceLoss()])
@pytest.mark.parametrize("learner", [CLIMB, Laplace(CLIMB, LastLayer())], ids=["no curvature", "last layer"])
def test_losses_refuse_what_does_not_fit(learner, objective):
    if isinstance(objective, LaplaceLoss) and isinstance(learner, Laplace):
        Method(learner, objective)
        return
    with pytest.raises(TypeError) as error:
        Method(learner, objective)
    assert is_one_sentence(error.value)


@pytest.mark.unchecked
@pytest.mark.parametrize("wrong", [{"precision": 0.0}, {"draws": 0}, {"predictive": "no"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"give|use") as error:
        Laplace(CLIMB, Diagonal(), **wrong)
    assert is_one_sentence(error.value)


class Climber(AbstractParticleLearner):
    """A stranger's learner with states of its own, which are pairs of the particles' and a count."""

    inner: GradientLearner

    @property
    def model(self):
        return self.inner.model

    @property
    def steps(self):
        return self.inner.steps

    def init(self, key):
        return {"start": self.inner.init(key)}

    def start(self, meta, support, *, key):
        return self.inner.start(meta["start"], support), jnp.zeros(())

    def advance(self, meta, state, support, steps, *, key):
        return self.inner.advance(meta["start"], state[0], support, steps, key=key), state[1] + steps

    def finish(self, meta, state, support, *, key):
        return self.inner.finish(meta["start"], state[0], support)

    def position(self, state, hyper):
        return self.inner.position(state[0], hyper)

    def with_steps(self, steps):
        return dataclasses.replace(self, inner=self.inner.with_steps(steps))

    def adapt(self, meta, support, *, key):
        return self.inner.adapt(meta["start"], support, key=key)


def test_a_gaussian_is_put_about_whatever_moves_parameters():
    ours, support = dataclasses.replace(CLIMB, steps=3), linear(4)
    meta = ours.init(KEY)
    (one, evidence), (other, same) = (
        jit(lambda meta, learner=learner: learner.weigh(meta, support, key=KEY))(given)
        for learner, given in ((Laplace(ours), meta), (Laplace(Climber(ours)), {"start": meta}))
    )
    np.testing.assert_allclose(one.predict(support.x).variance, other.predict(support.x).variance, rtol=1e-10)
    np.testing.assert_allclose(evidence, same, rtol=1e-10)
    assert Method(Laplace(Climber(ours)), EvidenceLoss()).objective.check(Laplace(Climber(ours))) is None


@pytest.mark.unchecked
def test_a_gaussian_needs_parameters_that_move():
    with pytest.raises(
        InputError, match="base of Laplace is a LinearLearner: give an object of the class AbstractParticleLearner"
    ) as caught:
        Laplace(LinearLearner(2, 1))
    assert is_one_sentence(caught.value)
