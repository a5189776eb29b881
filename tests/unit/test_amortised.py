"""Neural processes and the recurrent learner: what their answers may and may not depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit, labelled, points, preset

import bmaml
from bmaml.data import Data, pad
from bmaml.errors import InputError
from bmaml.learners import AmortisedLearner
from bmaml.models import CategoricalHead, DeepSets, NormalHead, Recurrent, Transformer
from bmaml.recipes.families import build_method, build_plan
from bmaml.recipes.tables import regression_method
from bmaml.tasks import Sinusoids

KEY = jax.random.key(4)
NETWORKS = {"cnp": DeepSets(2, 8, 1), "tnp": Transformer(2, 8, 2, 2), "rnn": Recurrent(2, 8, 1)}


def two_inputs(count, seed, outputs=3):
    rng = np.random.default_rng(seed)
    return Data(*(jnp.asarray(rng.normal(size=(count, n))) for n in (2, outputs)), mask=jnp.ones(count))


@functools.cache
def trained_a_little(learner, seed=0):
    """Meta-parameters off their start, where some are zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.2 * rng.normal(size=leaf.shape), jit(learner.init)(KEY))


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_depend_on_the_support_alone(name, x64):
    """Not on padding (even of nan), not on other queries, and on the support's order only where the network says so."""
    learner = AmortisedLearner(NETWORKS[name], NormalHead(3))
    meta, support, x = trained_a_little(learner), two_inputs(5, 0), two_inputs(7, 1).x

    @jit
    def answers(support, x):
        predictive = learner.adapt(meta, support).predict(x)
        return jnp.concatenate([predictive.mean, predictive.std], 1)

    plain = answers(support, x)
    assert plain.shape == (7, 6)
    padded = pad(support, 9)
    padded = Data(padded.x.at[5:].set(jnp.nan), padded.y.at[5:].set(jnp.inf), padded.mask)
    np.testing.assert_allclose(answers(padded, x), plain, rtol=1e-9)
    np.testing.assert_allclose(answers(support, x[2:3]), plain[2:3], rtol=1e-9)
    turned = jax.tree.map(lambda leaf: leaf[::-1], support)
    same = np.allclose(answers(turned, x), plain, rtol=1e-9)
    assert same != learner.network.ordered
    other = Data(support.x, support.y + 1.0, support.mask)
    assert not np.allclose(answers(other, x), plain, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_support_gives_the_prior_and_repeats_count(name, x64):
    """Zero rows, or rows that are all masked, are one and the same prior; a point given twice says more than once."""
    learner = AmortisedLearner(NETWORKS[name], NormalHead(3))
    meta, support, x = trained_a_little(learner), two_inputs(4, 0), two_inputs(6, 1).x

    @jit
    def mean(support):
        return learner.adapt(meta, support).predict(x).mean

    none = jax.tree.map(lambda leaf: leaf[:0], support)
    masked = Data(support.x, support.y, jnp.zeros(4))
    assert np.isfinite(mean(none)).all()
    np.testing.assert_allclose(mean(masked), mean(none), rtol=1e-9)
    assert not np.allclose(mean(support | support), mean(support), rtol=1e-4)


@pytest.mark.parametrize("name", ["cnp", "tnp"])
def test_a_mask_weight_counts_a_row_that_often(name, x64):
    learner = AmortisedLearner(NETWORKS[name], NormalHead(3))
    meta, support, x = trained_a_little(learner), two_inputs(4, 0), two_inputs(6, 1).x

    @jit
    def mean(support):
        return learner.adapt(meta, support).predict(x).mean

    weighted = Data(support.x, support.y, 2 * support.mask)
    np.testing.assert_allclose(mean(weighted), mean(support | support), rtol=1e-9)


def test_functions_are_draws_of_the_right_shape():
    """Draws differ between keys and repeat for one; of classes they are probabilities."""
    learner, given, x = preset("tnp").learner, points(3, 0), jnp.linspace(-2, 2, 15)[:, None]

    @jit
    def draw(key):
        return learner.adapt(learner.init(KEY), given, key=key).sample_functions(x, key=key, count=4)

    drawn = draw(KEY)
    assert drawn.shape == (4, 15, 1)
    assert np.isfinite(drawn).all()
    assert float(drawn.std(0).min()) > 0, "draws of the function are all the same"
    np.testing.assert_array_equal(drawn, draw(KEY))
    classes = AmortisedLearner(DeepSets(1, 8, 1), CategoricalHead(3))
    posterior = classes.adapt(classes.init(KEY), labelled(3, 0))
    probabilities = jit(lambda key: posterior.sample_functions(x[:4], key=key, count=2))(KEY)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["cnp", "tnp", "rnn"])
def test_front_doors_know_the_names(name):
    """The command line's recipe, and tables of several inputs and outputs (shapes alone: nothing is computed)."""
    assert build_plan(name).steps >= 10_000
    assert isinstance(build_method(name).learner, AmortisedLearner)
    with pytest.raises(InputError, match="no particles to set"):
        build_method(name, particles=3)
    learner = regression_method(name, 4, 2).learner
    x, y, mask = jnp.zeros((3, 4)), jnp.zeros((3, 2)), jnp.ones(3)

    def adapted(key):
        return learner.adapt(learner.init(key), Data(x, y, mask), key=key).predict(jnp.zeros((5, 4))).mean

    assert jax.eval_shape(adapted, KEY).shape == (5, 2)


def test_a_run_is_loaded_by_name_and_predicts_the_same(tmp_path):
    method, tasks = build_method("cnp", width=8, depth=1), Sinusoids((2, 4), 3)
    run = bmaml.train(method, tasks, build_plan("cnp", steps=2, batch=2), directory=tmp_path / "run")
    back = bmaml.load(tmp_path / "run")
    x, y = np.array([0.5, 1.0]), np.array([0.1, 0.7])
    means = [r.adapt(x, y).predict(jnp.ones((2, 1))).mean for r in (run, back)]
    np.testing.assert_array_equal(*means)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Transformer(heads=3),
        lambda: Transformer(layers=0),
        lambda: DeepSets(width=0),
        lambda: Recurrent(depth=0),
        lambda: NormalHead(0),
        lambda: NormalHead(floor=0.0),
        lambda: CategoricalHead(1),
    ],
)
def test_settings_that_make_no_sense_are_refused(build):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the sentence is checked below
        build()
    assert is_one_sentence(error.value), error.value
