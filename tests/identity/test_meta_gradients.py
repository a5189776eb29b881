"""The meta-gradient of the MAML family against formulas with explicit Hessians, finite differences, and each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit, task
from jax.flatten_util import ravel_pytree

from bmaml import methods
from bmaml.inference.adjoints import FirstOrder, Unrolled
from bmaml.learners import GradientLearner, LearnedRates, Sgd
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel, log_likelihood
from bmaml.objectives import PooledLoss, QueryLoss

# A noise precision of 4 keeps the inner steps small enough for finite differences.
MODEL = GaussianModel(MLP((1, 4, 1), "tanh"), precision=4.0)
RATE = 0.02
PLAIN, UNROLLED = Sgd(RATE), Unrolled()
KEY = jax.random.key(3)
pytestmark = pytest.mark.usefixtures("x64")


def method_of(steps=1, adjoint=UNROLLED, rule=PLAIN):
    """A point method whose inner fit is the summed log-likelihood and whose loss is the query's mean NLL."""
    return Method(GradientLearner(MODEL, rule=rule, steps=steps, adjoint=adjoint), QueryLoss("each"))


@functools.cache
def flat_meta(learner):
    """Fresh meta-parameters as one vector, and the way back."""
    return ravel_pytree(jit(learner.init)(KEY))


@functools.cache
def meta_gradient(method):
    """The meta-gradient at fresh meta-parameters, as a vector."""
    vector, unravel = flat_meta(method.learner)
    return jit(jax.grad(lambda v: method.objective(method.learner, unravel(v), task(), key=KEY)[0]))(vector)


def losses(learner):
    """Minus the log posterior on the support and the mean NLL of the query, of one particle as a vector."""
    unravel, one = flat_meta(learner)[1], task()

    def params(v):
        return jax.tree.map(lambda leaf: leaf[0], unravel(v).particles.params)

    def inner(v):
        return -log_likelihood(learner.model, params(v), one.support)

    def outer(v):
        return -log_likelihood(learner.model, params(v), one.query, "mean")

    return inner, outer


@pytest.mark.parametrize("steps", [1, 2])
def test_maml_gradient_is_the_product_of_i_minus_alpha_hessian(steps):
    method = method_of(steps)
    vector, inner, outer = flat_meta(method.learner)[0], *losses(method.learner)

    @jit
    def formula(v):
        product = jnp.eye(len(v))
        for _ in range(steps):
            product = product @ (jnp.eye(len(v)) - RATE * jax.hessian(inner)(v))
            v = v - RATE * jax.grad(inner)(v)
        return product @ jax.grad(outer)(v)

    wanted = formula(vector)
    np.testing.assert_allclose(meta_gradient(method), wanted, rtol=1e-10, atol=1e-11)


def test_first_order_gradient_is_the_query_gradient_at_the_adapted_parameters():
    steps = 2
    method = method_of(steps, FirstOrder())
    vector, inner, outer = flat_meta(method.learner)[0], *losses(method.learner)

    @jit
    def formula(v):
        for _ in range(steps):
            v = v - RATE * jax.grad(inner)(v)
        return jax.grad(outer)(v)

    np.testing.assert_allclose(meta_gradient(method), formula(vector), rtol=1e-10, atol=1e-12)
    second = meta_gradient(method_of(steps))
    assert np.linalg.norm(meta_gradient(method) - second) > 0.05 * np.linalg.norm(second), "the test could not tell them apart"


@pytest.mark.parametrize(("rule", "size"), [(PLAIN, 14), (LearnedRates(RATE), 28)], ids=["maml", "meta-sgd"])
def test_gradient_equals_central_finite_differences(rule, size):
    method, step = method_of(2, rule=rule), 1e-5
    vector, unravel = flat_meta(method.learner)
    assert len(vector) == size

    def loss(v):
        return method.objective(method.learner, unravel(v), task(), key=KEY)[0]

    shifts = jnp.concatenate([jnp.eye(size), -jnp.eye(size)]) * step
    up, down = jnp.split(jit(jax.vmap(lambda shift: loss(vector + shift)))(shifts), 2)
    wanted = (up - down) / (2 * step)
    np.testing.assert_allclose(meta_gradient(method), wanted, rtol=1e-6, atol=1e-7 * np.abs(wanted).max())


def test_meta_sgd_gradient_of_a_rate_is_minus_inner_gradient_times_query_gradient():
    method = method_of(rule=LearnedRates(RATE))
    inner, outer = losses(method_of().learner)

    @jit
    def formula(v):
        slope = jax.grad(inner)(v)
        return -jax.grad(outer)(v - RATE * slope) * slope

    wanted = formula(flat_meta(method_of().learner)[0])
    unravel = flat_meta(method.learner)[1]
    found = ravel_pytree(unravel(meta_gradient(method)).rule)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_checkpointing_changes_memory_and_not_the_gradient():
    plain, checkpointed = (meta_gradient(method_of(2, Unrolled(checkpoint))) for checkpoint in (False, True))
    np.testing.assert_allclose(checkpointed, plain, rtol=1e-11, atol=1e-13)


def test_maml_preset_is_plain_squared_error_on_the_weights():
    """Written out by hand, without the library's model, likelihood or learner."""
    one, rate = task(), 0.01
    method = methods.maml(MODEL, inner_learning_rate=rate)
    meta = jit(method.learner.init)(KEY)

    def error(weights, data):
        first, last = weights
        fit = jnp.tanh(data.x @ first["weight"] + first["bias"][None]) @ last["weight"] + last["bias"][None]
        return ((fit - data.y) ** 2).mean()

    def by_hand(weights):
        adapted = jax.tree.map(lambda w, g: w - rate * g, weights, jax.grad(error)(weights, one.support))
        return error(adapted, one.query)

    weights = jax.tree.map(lambda leaf: leaf[0], meta.particles.params["weights"])
    loss, gradient = jit(jax.value_and_grad(lambda m: method.objective(method.learner, m, one, key=KEY)[0]))(meta)
    wanted_loss, wanted = jit(jax.value_and_grad(by_hand))(weights)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-9, atol=1e-12), gradient.particles.params["weights"], wanted
    )
    # The noise precision learns from the residuals of the fit: d/d log gamma of (gamma MSE - log gamma) / 2.
    found = gradient.particles.params["log_precision"]
    np.testing.assert_allclose(found, [0.5 * (MODEL.precision * wanted_loss - 1)], rtol=1e-9)


def test_emaml_is_independent_mamls():
    one, members = task(), 3
    ensemble, alone = methods.emaml(MODEL, particles=members), methods.maml(MODEL)
    meta = jit(ensemble.learner.init)(KEY)

    def value_and_grad(method):
        return jax.value_and_grad(lambda m: method.objective(method.learner, m, one, key=KEY)[0])

    loss, gradient = jit(value_and_grad(ensemble))(meta)
    each = jax.tree.map(lambda leaf: leaf[:, None], meta)
    losses, gradients = jit(jax.vmap(value_and_grad(alone)))(each)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[:, 0] / members, rtol=1e-10, atol=1e-12), gradient, gradients)


def test_pooled_loss_has_no_inner_loop():
    """Its gradient is that of the plain loss on all rows, whatever the learner's steps and rate."""
    short, long = (Method(GradientLearner(MODEL, rule=Sgd(r), steps=k), PooledLoss("each")) for r, k in ((0.01, 1), (0.5, 7)))
    vector, unravel = flat_meta(short.learner)
    everything = task().support | task().query

    def plain(v):
        params = jax.tree.map(lambda leaf: leaf[0], unravel(v).particles.params)
        return -log_likelihood(MODEL, params, everything, "mean")

    np.testing.assert_allclose(meta_gradient(short), jit(jax.grad(plain))(vector), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(meta_gradient(short), meta_gradient(long))
