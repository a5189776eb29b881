"""Each form of curvature against explicit matrices: Gauss-Newton by definition, Hessians, and each other where they meet."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit, labelled, points
from jax.flatten_util import ravel_pytree

from bmaml.data import Data
from bmaml.inference.curvature import (
    Diagonal,
    ExactHessian,
    GaussNewton,
    IndefiniteError,
    Kronecker,
    LastLayer,
    require_definite,
)
from bmaml.inference.curvature.full import DensePrecision, LowRankPrecision
from bmaml.models import MLP, CategoricalModel, Functional, GaussianModel, log_likelihood
from bmaml.models.base import replace_weights

KEY, PRIOR = jax.random.key(7), 0.3
FORMS = {
    "full": GaussNewton(),
    "diagonal": Diagonal(),
    "kronecker": Kronecker(),
    "last layer": LastLayer(),
    "exact": ExactHessian(),
}
MODELS = {
    "normal": (GaussianModel(MLP((1, 3, 2), "tanh"), precision=4.0), lambda n, seed=0: points(n, seed, outputs=2)),
    "classes": (CategoricalModel(MLP((1, 3, 3), "tanh")), lambda n, seed=0: labelled(n, seed)),
}
ONE_LAYER = {
    "normal": (GaussianModel(MLP((2, 2)), precision=4.0), 2),
    "classes": (CategoricalModel(MLP((2, 3))), 3),
}
pytestmark = pytest.mark.usefixtures("x64")


@functools.cache
def started(model):
    """Parameters of a model: it is made by one program, whatever the test."""
    return jit(model.init)(KEY)


def wide(model, n, seed=0):
    """Data of two inputs for the models of one layer."""
    data = points(n, seed, outputs=2) if isinstance(model, GaussianModel) else labelled(n, seed)
    return Data(jnp.concatenate([data.x, jnp.cos(3 * data.x)], 1), data.y, data.mask)


def dense(form, model, params, data, prior=PRIOR):
    """H^-1 of a form by its `solve`, H by inverting that, its log det, and M with M M^T = H^-1."""

    @jit
    def columns(params, data):
        precision, weights = form(model, params, data, prior), model.weights(params)
        flat, unravel = ravel_pytree(weights)

        def column(function):
            return jax.vmap(lambda v: ravel_pytree(function(unravel(v)))[0], out_axes=1)(jnp.eye(len(flat)))

        return column(precision.solve), precision.logdet(), column(precision.inverse_sqrt)

    return (np.asarray(leaf) for leaf in columns(params, data))


def _normal_outputs(weights, x):
    first, last = weights
    return jnp.tanh(x @ first["weight"] + first["bias"][None]) @ last["weight"] + last["bias"][None]


def by_hand(name, model, params, data):
    """The Gauss-Newton matrix + prior, point by point from its definition, the outputs' curvature by `jax.hessian`."""
    flat, unravel = ravel_pytree(params["weights"])

    def one(row, target):
        def outputs(v):
            return _normal_outputs(unravel(v), row[None])[0]

        def loss(out):
            if name == "normal":
                return 0.5 * 4.0 * ((out - target) ** 2).sum()
            return -jax.nn.log_softmax(out)[target]

        j = jax.jacfwd(outputs)(flat)
        return j.T @ jax.hessian(loss)(outputs(flat)) @ j

    return np.asarray(jit(lambda x, y: jax.vmap(one)(x, y).sum(0))(data.x, data.y)) + PRIOR * np.eye(len(flat))


@pytest.mark.parametrize("count", [3, 9], ids=["fewer outputs than weights", "more"])
@pytest.mark.parametrize("name", MODELS)
def test_full_form_is_gauss_newton_by_its_definition(name, count):
    model, make = MODELS[name]
    params, data = started(model), make(count)
    precision = eqx.filter_eval_shape(GaussNewton(), model, params, data, PRIOR)
    assert isinstance(precision, LowRankPrecision if count == 3 else DensePrecision)
    wanted = by_hand(name, model, params, data)
    inverse, logdet, root = dense(GaussNewton(), model, params, data)
    np.testing.assert_allclose(inverse @ wanted, np.eye(len(wanted)), atol=1e-10)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(wanted)[1], rtol=1e-10)
    np.testing.assert_allclose(root @ root.T @ wanted, np.eye(len(wanted)), atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_logdet_solve_and_spread_are_of_one_positive_definite_matrix(name, form):
    """Whatever the form: H^-1 is symmetric and positive, M M^T = H^-1, and log det H is its own."""
    model, make = MODELS[name]
    inverse, logdet, root = dense(FORMS[form], model, started(model), make(4), prior=40.0)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-12)
    np.testing.assert_allclose(root @ root, inverse, atol=1e-11)
    np.testing.assert_allclose(root, root.T, atol=1e-11)
    kept = np.flatnonzero(np.diagonal(inverse) > 0)
    assert len(kept) == (inverse.shape[0] if form != "last layer" else 4 * (2 if name == "normal" else 3))
    inside = inverse[np.ix_(kept, kept)]
    np.testing.assert_allclose(logdet, -np.linalg.slogdet(inside)[1], rtol=1e-9)


@pytest.mark.parametrize("name", ONE_LAYER)
def test_one_layer_and_one_point_make_kronecker_full(name):
    model = ONE_LAYER[name][0]
    params, data = started(model), wide(model, 1)
    inverse, logdet, root = dense(Kronecker(), model, params, data)
    wanted, wanted_logdet, _ = dense(GaussNewton(), model, params, data)
    np.testing.assert_allclose(inverse, wanted, atol=1e-11)
    np.testing.assert_allclose(root @ root.T, wanted, atol=1e-11)
    np.testing.assert_allclose(logdet, wanted_logdet, rtol=1e-11)


def test_one_normal_layer_makes_kronecker_full_for_any_number_of_points():
    model = ONE_LAYER["normal"][0]
    params, data = started(model), wide(model, 7)
    inverse, logdet, _ = dense(Kronecker(), model, params, data)
    wanted, wanted_logdet, _ = dense(GaussNewton(), model, params, data)
    np.testing.assert_allclose(inverse, wanted, atol=1e-11)
    np.testing.assert_allclose(logdet, wanted_logdet, rtol=1e-11)


@pytest.mark.parametrize("name", MODELS)
def test_one_point_makes_kronecker_the_blocks_of_full_and_diagonal_its_diagonal(name):
    model, make = MODELS[name]
    params, data = started(model), make(1)
    full = by_hand(name, model, params, data)
    sizes = [ravel_pytree(layer)[0].size for layer in params["weights"]]
    layer = np.repeat(range(len(sizes)), sizes)
    blocks = np.where(layer[:, None] == layer[None, :], full, 0.0)
    inverse, logdet, _ = dense(Kronecker(), model, params, data)
    np.testing.assert_allclose(inverse @ blocks, np.eye(len(blocks)), atol=1e-10)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(blocks)[1], rtol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_diagonal_form_is_the_diagonal_of_the_full_one(name):
    model, make = MODELS[name]
    params, data = started(model), make(5)
    full = by_hand(name, model, params, data)
    inverse, logdet, _ = dense(Diagonal(), model, params, data)
    np.testing.assert_allclose(inverse, np.diag(1 / np.diagonal(full)), atol=1e-12)
    assert logdet >= np.linalg.slogdet(full)[1]


def test_one_weight_and_one_point_make_diagonal_full():
    """A line through the origin's neighbourhood: at x = 0 the weight is not seen, and the bias alone is."""
    model = GaussianModel(MLP((1, 1)), precision=4.0)
    params, data = started(model), Data(jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.ones(1))
    for found, wanted in zip(dense(Diagonal(), model, params, data), dense(GaussNewton(), model, params, data), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_last_layer_is_the_last_block_of_the_hessian(name):
    """The outputs are linear in the last layer, so there Gauss-Newton is exact."""
    model, make = MODELS[name]
    params, data = started(model), make(6)
    flat, unravel = ravel_pytree(params["weights"])
    hessian = jit(jax.hessian(lambda v: -log_likelihood(model, replace_weights(model, params, unravel(v)), data)))(flat)
    last = ravel_pytree(params["weights"][-1])[0].size
    block = np.asarray(hessian)[-last:, -last:] + PRIOR * np.eye(last)
    inverse, logdet, _ = dense(LastLayer(), model, params, data)
    np.testing.assert_allclose(inverse[-last:, -last:] @ block, np.eye(last), atol=1e-10)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(block)[1], rtol=1e-10)
    assert not inverse[:-last].any()


def test_exact_hessian_is_the_hessian_and_equals_gauss_newton_for_one_layer():
    model = ONE_LAYER["classes"][0]
    params, data = started(model), wide(model, 5)
    for found, wanted in zip(
        dense(ExactHessian(), model, params, data), dense(GaussNewton(), model, params, data), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_an_indefinite_hessian_is_refused_and_never_silent():
    model, make = MODELS["normal"]
    params, data = started(model), make(5)
    far = Data(data.x, data.y + 30.0, data.mask)
    stacked = jax.tree.map(lambda leaf: leaf[None], params)

    def of(form):
        return jit(jax.vmap(lambda p: form(model, p, far, PRIOR)))(stacked)

    with pytest.raises(IndefiniteError) as error:
        require_definite(of(ExactHessian()))
    assert is_one_sentence(error.value)
    assert np.isnan(of(ExactHessian()).cholesky).any(), "a guard could not see it"
    require_definite(of(GaussNewton()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_pass_through_all_three_also_where_eigenvalues_coincide(name, form):
    """Masked rows and few points make many equal eigenvalues; the gradient is that of central differences."""
    model, make = MODELS[name]
    params, data = started(model), make(4)
    data = Data(data.x, data.y, jnp.asarray([1.0, 0.0, 1.0, 0.0]))
    flat, unravel = ravel_pytree(params)
    noise = jax.tree.map(
        lambda leaf: jnp.sin(1.0 + jnp.arange(leaf.size, dtype=float)).reshape(leaf.shape), model.weights(params)
    )

    def number(v):
        precision = FORMS[form](model, unravel(v), data, 40.0)
        solved, spread = (ravel_pytree(part)[0] for part in (precision.solve(noise), precision.inverse_sqrt(noise)))
        return precision.logdet() + solved @ jnp.cos(jnp.arange(len(solved))) + 3 * spread @ jnp.sin(jnp.arange(len(spread)))

    step, direction = 1e-5, jnp.sin(2.0 + 3.0 * jnp.arange(len(flat), dtype=float))
    places = jnp.asarray([step, 0.0, -step])
    values, slopes = jit(jax.vmap(jax.value_and_grad(lambda t: number(flat + t * direction))))(places)
    np.testing.assert_allclose(slopes[1], (values[0] - values[2]) / (2 * step), rtol=1e-6)
    assert np.abs(slopes[1]) > 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_order_and_padding_change_neither_matrix_nor_draws(form):
    model, make = MODELS["classes"]
    params, data = started(model), make(4)
    order = np.array([2, 0, 3, 1])
    moved = Data(
        jnp.concatenate([data.x[order], jnp.full((2, 1), 9.0)]),
        jnp.concatenate([data.y[order], jnp.ones(2, data.y.dtype)]),
        jnp.asarray([1.0, 1, 1, 1, 0, 0]),
    )
    pairs = zip(*(dense(FORMS[form], model, params, d, prior=40.0) for d in (moved, data)), strict=True)
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_draws_have_the_covariance_of_the_inverse():
    """100,000 draws of the low-rank form, each entry within 5 standard errors; seed fixed."""
    model, make = MODELS["normal"]
    params, data = started(model), make(3)

    @jit
    def draws(keys):
        precision = GaussNewton()(model, params, data, PRIOR)
        return jax.vmap(lambda k: ravel_pytree(precision.sample(params["weights"], key=k))[0])(keys)

    drawn = np.asarray(draws(jax.random.split(KEY, 100_000)))
    wanted, _, _ = dense(GaussNewton(), model, params, data)
    spread = np.sqrt((np.outer(np.diagonal(wanted), np.diagonal(wanted)) + wanted**2) / len(drawn))
    assert (np.abs(drawn.T @ drawn / len(drawn) - wanted) < 5 * spread).all()


@pytest.mark.parametrize("count", [6, 60], ids=["fewer outputs than weights", "more"])
def test_a_weak_prior_is_not_lost_in_single_precision(count):
    """Prior precision 0.001, noise precision 100: log det and deviations by float32 are those by float64."""
    model = GaussianModel(MLP((1, 8, 8, 1), "tanh"), precision=100.0)
    x, fresh, found = np.linspace(-3, 3, count)[:, None], started(model), []
    for size in ("float64", "float32"):
        with jax.enable_x64(size == "float64"):
            params = jax.tree.map(lambda leaf, size=size: jnp.asarray(leaf, size), fresh)
            rows = Data(jnp.asarray(x, size), jnp.asarray(np.sin(x), size), jnp.ones(count, size))

            @jit
            def moments(params, rows):
                precision, weights = GaussNewton()(model, params, rows, 1e-3), model.weights(params)
                jacobian = jax.jacobian(lambda flat: model.network.apply(ravel_pytree(weights)[1](flat), rows.x)[:, 0])
                return precision.logdet(), precision.variance(weights, jacobian(ravel_pytree(weights)[0]))

            found.append([np.asarray(leaf, np.float64) for leaf in moments(params, rows)])
    (logdet, variance), (single, other) = found
    np.testing.assert_allclose(single, logdet, atol=0.05)
    np.testing.assert_allclose(np.sqrt(other + 0.01), np.sqrt(variance + 0.01), rtol=0.005)


@pytest.mark.parametrize("form", ["kronecker", "last layer"])
def test_forms_by_layer_refuse_other_networks(form):
    model = GaussianModel(Functional(lambda key: jnp.zeros((1, 1)), lambda params, x: x @ params))
    with pytest.raises(TypeError) as error:
        FORMS[form].check(model)
    assert is_one_sentence(error.value)
