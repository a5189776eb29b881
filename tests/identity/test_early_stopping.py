"""Gradient descent on linear least squares as the MAP under a Gaussian prior (Santos, 1996)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit
from jax.flatten_util import ravel_pytree

from bmaml.data import Data
from bmaml.experiments import early_stopping
from bmaml.inference.priors import early_stopping_precision
from bmaml.learners import GradientLearner, Sgd
from bmaml.models import MLP, GaussianModel

pytestmark = pytest.mark.usefixtures("x64")
GAMMA, RATE = 3.0, 0.004


@pytest.mark.parametrize("steps", [1, 3, 20, 300])
def test_descent_equals_the_map_under_the_implied_prior(steps):
    """To 1e-10, in three weights, from a random start: the learner against a linear solve."""
    rng = np.random.default_rng(steps)
    x, y = rng.normal(size=(12, 2)), rng.normal(size=(12, 1))
    learner = GradientLearner(GaussianModel(MLP((2, 1)), precision=GAMMA), rule=Sgd(RATE), steps=steps, adapt_noise=False)
    meta = jit(learner.init)(jax.random.key(0))
    support = Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(12))
    adapted = jit(learner.adapt)(meta, support, key=jax.random.key(0)).params["weights"]
    start, found = (np.asarray(ravel_pytree(weights)[0]) for weights in (meta.particles.params["weights"], adapted))
    design = np.column_stack([np.ones(12), x])
    hessian = GAMMA * design.T @ design
    prior = np.asarray(early_stopping_precision(jnp.asarray(hessian), RATE, steps))
    wanted = np.linalg.solve(hessian + prior, GAMMA * design.T @ y[:, 0] + prior @ start)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)
    assert np.abs(found - start).max() > 1e-2
    # Santos' form of the same prior: covariance Q = H^-1 ((I - rate H)^-k - I).
    if steps < 100:
        power = np.linalg.matrix_power(np.linalg.inv(np.eye(3) - RATE * hessian), steps)
        np.testing.assert_allclose(np.linalg.inv(hessian) @ (power - np.eye(3)) @ prior, np.eye(3), atol=1e-9)


def test_the_figures_numbers_hold_the_identity_and_the_shrinkage(monkeypatch):
    """Each eigendirection has gone 1 - (1 - rate l)^k of the way, which is l / (l + q) under the prior's precision q."""
    monkeypatch.setattr(early_stopping, "STEPS", (1, 16, 512))
    paths, shares = early_stopping.run()
    assert max(paths.values("gap")) < 1e-10
    for value in shares.distinct("eigenvalue"):
        for row in shares.where(eigenvalue=value):
            prior = float(early_stopping_precision(jnp.asarray([[value]]), early_stopping.RATE, row["steps"])[0, 0])
            np.testing.assert_allclose(row["descent"], value / (value + prior), rtol=1e-12)


@pytest.mark.parametrize(
    ("rate", "steps", "hessian"), [(0.1, 0, 1.0), (1.5, 1, 1.0), (0.1, 1, 0.0), (-0.1, 1, 1.0), (0.0, 1, 1.0)]
)
def test_what_no_prior_does_is_refused(rate, steps, hessian):
    with pytest.raises(ValueError, match="give") as error:
        early_stopping_precision(jnp.asarray([[hessian]]), rate, steps)
    assert is_one_sentence(error.value)
