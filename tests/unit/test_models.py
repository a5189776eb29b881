"""Networks of other frameworks, and the one place where a log-likelihood is summed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit, labelled, points
from scipy import stats

from bmaml import methods
from bmaml.data import Data, Task
from bmaml.errors import InputError, PairError
from bmaml.inference.directions import RBF, Langevin
from bmaml.inference.priors import AroundInit, GammaPrior, GaussianPrior
from bmaml.learners import ConjugateLearner, GradientLearner, LearnedRates, Sgd
from bmaml.models import (
    MLP,
    CategoricalModel,
    FromEquinox,
    FromFlax,
    FromNnx,
    Functional,
    GaussianModel,
    GaussianPolicy,
    MLPFeatures,
    log_likelihood,
)

KEY = jax.random.key(4)
X = jnp.linspace(-1, 1, 6)[:, None]


def build(key):
    """An Equinox module of one example."""
    return eqx.nn.MLP(1, 2, 3, 1, key=key)


def flax_module():
    linen = pytest.importorskip("flax.linen")

    class Tiny(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(2)(linen.tanh(linen.Dense(3)(x)))

    return Tiny()


def test_a_functional_network_is_its_two_functions():
    network = Functional(lambda key: {"w": jax.random.normal(key, (1, 2))}, lambda params, x: jnp.sin(x @ params["w"]))
    params = network.init(KEY)
    np.testing.assert_array_equal(network.apply(params, X), jnp.sin(X @ params["w"]))


def test_an_equinox_module_gives_its_own_outputs():
    network = FromEquinox(build)
    params = network.init(KEY)
    np.testing.assert_allclose(jit(network.apply)(params, X), jax.vmap(build(KEY))(X), rtol=1e-6)
    assert all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(params))


def test_a_flax_module_gives_its_own_outputs():
    module = flax_module()
    network = FromFlax(module, (1,))
    params = network.init(KEY)
    variables = module.init(KEY, jnp.zeros((1, 1)))
    np.testing.assert_allclose(network.apply(params, X), module.apply(variables, X), rtol=1e-6)


def nnx_module(rngs):
    nnx = pytest.importorskip("flax.nnx")
    return nnx.Sequential(nnx.Linear(1, 3, rngs=rngs), jnp.tanh, nnx.Linear(3, 2, rngs=rngs))


def test_an_nnx_module_gives_its_own_outputs():
    nnx = pytest.importorskip("flax.nnx")
    network = FromNnx(nnx_module)
    params = jit(network.init)(KEY)
    np.testing.assert_allclose(jit(network.apply)(params, X), nnx_module(nnx.Rngs(KEY))(X), rtol=1e-6)
    with pytest.raises(InputError, match="no dropout"):
        FromNnx(lambda rngs: nnx.Dropout(0.1, rngs=rngs)).init(KEY)


def natural_tries():
    """What somebody may write first for a network, and a part of the sentence that says what to write instead."""
    linen, nnx = pytest.importorskip("flax.linen"), pytest.importorskip("flax.nnx")
    layer = nnx.Linear(1, 2, rngs=nnx.Rngs(0))
    yield lambda: FromEquinox(build(KEY)), "FromEquinox(lambda key: MLP(..., key=key))"
    yield lambda: GaussianModel(build(KEY)), "FromEquinox(lambda key: MLP(..., key=key))"
    yield lambda: CategoricalModel(layer), "FromNnx(lambda rngs: Linear(..., rngs=rngs))"
    yield lambda: FromNnx(layer), "FromNnx(lambda rngs: Linear(..., rngs=rngs))"
    yield lambda: FromFlax(layer, (1,)), "FromNnx(lambda rngs: Linear(..., rngs=rngs))"
    yield lambda: GaussianModel(linen.Dense(2)), "FromFlax(Dense(...), (inputs,))"
    yield lambda: FromFlax(linen.Dense, (1,)), "give an instance"
    yield lambda: GaussianModel(jnp.sin), "Functional(init, apply)"
    yield lambda: GaussianPolicy((1, 40, 1), 1), "MLP((1, 40, 1))"
    yield lambda: methods.maml(MLP((1, 4, 1))), "GaussianModel(MLP(...))"
    yield lambda: methods.protonet(build(KEY), 3), "FromEquinox(lambda key: MLP(..., key=key))"


@pytest.mark.unchecked
def test_a_natural_first_try_of_a_network_works_or_is_told_what_to_write():
    for attempt, told in natural_tries():
        with pytest.raises(PairError) as error:
            attempt()
        assert told in str(error.value)
        assert is_one_sentence(error.value)


def test_a_flax_module_with_batch_statistics_is_refused():
    linen = pytest.importorskip("flax.linen")
    with pytest.raises(ValueError, match="keeps state batch_stats") as error:
        FromFlax(linen.BatchNorm(use_running_average=False), (1,)).init(KEY)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("framework", ["equinox", "flax", "nnx"])
def test_adapted_networks_are_meta_trained_like_any_other(framework):
    """A meta-gradient passes through them, and it is not zero."""
    networks = {
        "equinox": lambda: FromEquinox(build),
        "flax": lambda: FromFlax(flax_module(), (1,)),
        "nnx": lambda: FromNnx(nnx_module),
    }
    network = networks[framework]()
    method = methods.maml(GaussianModel(network))
    meta = method.learner.init(KEY)
    one = Task(points(4, 0, outputs=2), points(4, 1, outputs=2))
    gradient = jit(jax.grad(lambda m: method.objective(method.learner, m, one, key=KEY)[0]))(meta)
    leaves = jax.tree.leaves(gradient.particles.params["weights"])
    assert len(leaves) == 4
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in leaves)


def test_log_likelihood_of_regression_is_the_masked_sum_or_mean(x64):
    model = GaussianModel(MLP((1, 3, 2), "silu"), precision=9.0)
    params, data = jit(model.init)(KEY), points(5, 0, outputs=2)
    data = Data(data.x, data.y, jnp.asarray([1.0, 0.0, 1.0, 2.0, 0.0]))
    each = stats.norm.logpdf(data.y, model.network.apply(params["weights"], data.x), 1 / 3).sum(1)
    total = each[0] + each[2] + 2 * each[3]
    np.testing.assert_allclose(log_likelihood(model, params, data), total, rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(model, params, data, "mean"), total / 4, rtol=1e-12)


def test_log_likelihood_of_classes_is_the_masked_sum_or_mean(x64):
    model = CategoricalModel(MLP((1, 3, 3), "gelu"))
    params, data = jit(model.init)(KEY), labelled(4, 0)
    data = Data(data.x, data.y, jnp.asarray([1.0, 1.0, 0.0, 1.0]))
    logits = np.asarray(model.network.apply(params["weights"], data.x))
    each = (logits - np.log(np.exp(logits).sum(1, keepdims=True)))[np.arange(4), np.asarray(data.y)]
    np.testing.assert_allclose(log_likelihood(model, params, data), each[[0, 1, 3]].sum(), rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(model, params, data, "mean"), each[[0, 1, 3]].mean(), rtol=1e-12)


def test_no_rows_have_no_likelihood_and_no_mean_of_it_divides_by_zero():
    model = GaussianModel(MLP((1, 1)))
    nothing = Data(X, X, jnp.zeros(6))
    for scale in ("sum", "mean"):
        assert float(log_likelihood(model, model.init(KEY), nothing, scale)) == 0.0


@pytest.mark.parametrize(
    ("sizes", "activation", "says"),
    [((1,), "relu", "MLP sizes"), ((1, 0, 1), "relu", "MLP sizes"), ((1, 1), "elu", "activation")],
)
@pytest.mark.unchecked
def test_networks_that_cannot_be_are_refused(sizes, activation, says):
    with pytest.raises(ValueError, match=says) as error:
        MLP(sizes, activation)
    assert is_one_sentence(error.value)


NOT_A_NUMBER = float("nan")


@pytest.mark.parametrize(
    "build",
    [
        lambda: MLP((1, 1), initial="he"),
        lambda: MLPFeatures(1, code=0),
        lambda: GaussianModel(MLP((1, 1)), precision=-1.0),
        lambda: GaussianPrior(0.0),
        lambda: AroundInit(NOT_A_NUMBER),
        lambda: GammaPrior(start=-1.0),
        lambda: Sgd(NOT_A_NUMBER),
        lambda: LearnedRates(NOT_A_NUMBER),
        lambda: RBF(NOT_A_NUMBER),
        lambda: RBF(median="distances"),
        lambda: Langevin(NOT_A_NUMBER),
        lambda: ConjugateLearner(MLPFeatures(1), outputs=0),
        lambda: ConjugateLearner(MLPFeatures(1), noise=-1.0),
        lambda: GradientLearner(GaussianModel(MLP((1, 1))), rule=Sgd(0.1), direction=Langevin(0.2)),
    ],
)
@pytest.mark.unchecked
def test_pieces_with_numbers_that_make_no_sense_are_refused(build):
    with pytest.raises(ValueError, match=r"give|use") as error:
        build()
    assert is_one_sentence(error.value)
