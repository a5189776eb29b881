"""Outer optimisers: Muon orthogonalises weight matrices, and only these."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import FEATURES, fixed_tasks, is_one_sentence, jit, preset

from bmaml.inference.optax_steps import optax_update
from bmaml.training.optimisers import Adam, Muon
from bmaml.training.run import load, train

RATE = 0.1


def random_gradient(params, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), params)


@jit
def first_update(params, gradient) -> Any:
    rule = Muon(RATE, adam_learning_rate=0.01, decay="none").build(10)
    return optax_update(rule, gradient, rule.init(params), params)[0]


def test_muon_steps_along_nearly_orthogonal_matrices():
    """Five Newton-Schulz steps bring singular values of any size near 1, so a step is as long whatever the gradient is."""
    params = {"weight": jnp.zeros((6, 6))}
    gradient = random_gradient(params)
    update = first_update(params, gradient)["weight"]
    assert np.linalg.cond(gradient["weight"]) > 5
    singular = np.linalg.svd(update, compute_uv=False) / RATE
    assert (singular > 0.6).all()
    assert (singular < 1.3).all()
    left, _, right = np.linalg.svd(gradient["weight"])
    assert np.trace(-update.T @ (left @ right)) / RATE > 0.8 * 6, "the step does not descend along the gradient's polar factor"
    np.testing.assert_allclose(
        first_update(params, {"weight": 1e3 * gradient["weight"]})["weight"], update, rtol=1e-3, atol=1e-4
    )


def test_particles_on_a_leading_axis_are_matrices_of_their_own():
    stacked = {"weight": jnp.zeros((3, 4, 5))}
    gradient = random_gradient(stacked)
    together = first_update(stacked, gradient)["weight"]
    for i in range(3):
        alone = first_update({"weight": stacked["weight"][i]}, {"weight": gradient["weight"][i]})["weight"]
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-6)


def test_all_that_is_no_weight_matrix_moves_as_by_adam():
    """Codes and head priors have two axes, too, and are no maps from one layer to the next."""
    meta = jit(preset("experts", features=FEATURES).learner.init)(jax.random.key(0))
    gradient = random_gradient(meta)
    update = first_update(meta, gradient)
    adam = optax.adam(0.01, nesterov=True)
    wanted = jit(lambda gradient, meta: optax_update(adam, gradient, adam.init(meta))[0])(gradient, meta)
    np.testing.assert_allclose(update.codes, wanted.codes, rtol=1e-4)
    np.testing.assert_allclose(update.prior.log_scale, wanted.prior.log_scale, rtol=1e-4)
    for layer, by_adam in zip(update.network, wanted.network, strict=True):
        np.testing.assert_allclose(layer["bias"], by_adam["bias"], rtol=1e-4)
        assert not np.allclose(layer["weight"], by_adam["weight"], rtol=0.1)


def test_a_run_with_muon_is_loaded_by_name_alone(tmp_path):
    options = {"steps": 3, "batch": 4, "outer": Muon(clip=1.0)}
    run = train(preset("pretrain"), fixed_tasks(), directory=tmp_path / "run", **options)
    for found, wanted in zip(jax.tree.leaves(load(tmp_path / "run").meta), jax.tree.leaves(run.meta), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("outer", [Adam, Muon])
@pytest.mark.parametrize(
    "options", [{"learning_rate": 0.0}, {"decay": "linear"}, {"warmup": 1.0}, {"clip": 0.0}, {"weight_decay": -1.0}]
)
@pytest.mark.unchecked
def test_settings_that_make_no_sense_are_refused(outer, options):
    with pytest.raises(ValueError, match=r"give") as error:
        outer(**options)
    assert is_one_sentence(error.value)
