"""Neural processes and the recurrent learner: what their answers may and may not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit, labelled, points, preset

import bmaml
from bmaml import methods
from bmaml.data import Data, pad
from bmaml.errors import InputError
from bmaml.estimators import FewShotRegressor
from bmaml.learners import AmortisedLearner
from bmaml.models import CategoricalHead, DeepSets, NormalHead, Recurrent, Transformer
from bmaml.recipes import build_method, build_plan
from bmaml.tasks import Sinusoids

KEY = jax.random.key(4)
NETWORKS = {"cnp": DeepSets(2, 8, 1), "tnp": Transformer(2, 8, 2, 2), "rnn": Recurrent(2, 8, 1)}


def two_inputs(count, seed, outputs=3):
    rng = np.random.default_rng(seed)
    return Data(*(jnp.asarray(rng.normal(size=(count, n))) for n in (2, outputs)), jnp.ones(count))


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
    method = preset("tnp")
    meta = method.learner.init(KEY)
    posterior = method.learner.adapt(meta, points(3, 0))
    x = jnp.linspace(-2, 2, 25)[:, None]
    draw = jit(lambda x, key: posterior.functions(x, key=key, count=6))
    drawn = draw(x, KEY)
    assert drawn.shape == (6, 25, 1)
    assert np.isfinite(drawn).all()
    assert float(drawn.std(0).min()) > 0, "draws of the function are all the same"
    np.testing.assert_array_equal(drawn, draw(x, KEY))
    classes = AmortisedLearner(Transformer(1, 8, 2, 2), CategoricalHead(3))
    posterior = classes.adapt(classes.init(KEY), labelled(3, 0))
    drawn = jit(lambda x, key: posterior.functions(x, key=key, count=2))(x[:4], KEY)
    np.testing.assert_allclose(drawn.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", methods.AMORTISED)
def test_recipes_save_and_load_by_name(name, tmp_path):
    """The command line's method in full, saved and loaded without it, predicts the same."""
    method, tasks = build_method(name, width=8), Sinusoids((2, 4), 3)
    assert build_plan(name).steps >= 10_000
    run = bmaml.train(method, tasks, build_plan(name, steps=2, batch=2), directory=tmp_path / "run")
    back = bmaml.load(tmp_path / "run")
    x, y = np.array([0.5, 1.0]), np.array([0.1, 0.7])
    for a, b in zip(*(jax.tree.leaves(r.adapt(x, y).predict(jnp.ones((2, 1)))) for r in (run, back)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="no setting 'particles'"):
        build_method(name, particles=3)


def test_a_table_of_two_inputs_and_outputs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = np.stack([x[:, 0] * 3, x.sum(1)], 1) + np.repeat(rng.normal(size=(6, 2)), 10, 0)
    model = FewShotRegressor("tnp", steps=3, batch=2, shots=3).fit(x, y, groups=np.repeat(np.arange(6), 10))
    mean, std = model.adapt(x[:3], y[:3]).predict(x[:5], return_std=True)
    assert mean.shape == std.shape == (5, 2)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


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
