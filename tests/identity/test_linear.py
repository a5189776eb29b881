"""The linear learner is Gaussian conditioning written out with covariances, and learns the prior that its tasks come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy.stats import multivariate_normal

from bmaml import train
from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.learners.linear import LinearLearner
from bmaml.methods import linear
from bmaml.tasks import FixedTasks
from bmaml.training.optimisers import Adam

KEY = jax.random.key(0)
LEARNER = LinearLearner(2, 2)


def data(rng, count):
    return Data(*(jnp.asarray(rng.normal(size=(count, 2))) for _ in range(2)), mask=jnp.ones(count))


def test_posterior_evidence_and_joint_density_are_exact(x64):
    rng = np.random.default_rng(0)
    meta = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), jit(LEARNER.init)(KEY))
    given, asked = data(rng, 5), data(rng, 3)

    @jit
    def everything(meta):
        posterior, evidence = LEARNER.weigh(meta, given, key=KEY)
        both = LEARNER.weigh(meta, given | asked, key=KEY)[1]
        return posterior.predict(asked.x), evidence, both, posterior.log_joint(asked)

    predicted, evidence, both, joint = everything(meta)
    total = 0.0
    features, query = (np.c_[one.x, np.ones(len(one.x))] for one in (given, asked))
    for o in range(2):
        root = np.tril(meta["below"][o], -1) + np.diag(np.exp(meta["log_diagonal"][o]))
        prior, mean, noise = root @ root.T, np.asarray(meta["mean"][o]), float(np.exp(2 * meta["log_std"][o]))
        kernel = features @ prior @ features.T + noise * np.eye(5)
        gain = query @ prior @ features.T @ np.linalg.inv(kernel)
        wanted = query @ mean + gain @ (given.y[:, o] - features @ mean)
        spread = query @ prior @ query.T - gain @ features @ prior @ query.T + noise * np.eye(3)
        np.testing.assert_allclose(predicted.mean[:, o], wanted, rtol=1e-9)
        np.testing.assert_allclose(predicted.variance[:, o], np.diag(spread), rtol=1e-9)
        total += multivariate_normal.logpdf(given.y[:, o], features @ mean, kernel)
    np.testing.assert_allclose(evidence, total, rtol=1e-9)
    np.testing.assert_allclose(joint, both - evidence, rtol=1e-9)


@pytest.mark.optimised
def test_the_prior_of_random_slopes_and_intercepts_is_found():
    """400 tasks of 12 points, slopes and intercepts correlated at 0.8, are found within 5 standard errors."""
    rng = np.random.default_rng(1)
    prior, mean = np.array([[1.0, 0.4], [0.4, 0.25]]), np.array([2.0, -1.0])
    weights = rng.multivariate_normal(mean, prior, 400)
    x = rng.uniform(-2, 2, (400, 12, 1))
    y = x * weights[:, None, :1] + weights[:, None, 1:] + 0.2 * rng.normal(size=x.shape)
    rows = Data(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), jnp.ones((400, 12)))
    run = train(linear(1, 1), FixedTasks(rows, (6,), 6), steps=600, batch=50, outer=Adam(0.05))
    learned = run.meta
    root = np.tril(learned["below"][0], -1) + np.diag(np.exp(learned["log_diagonal"][0]))
    np.testing.assert_allclose(learned["mean"][0], mean, atol=5 / np.sqrt(400))
    np.testing.assert_allclose(root @ root.T, prior, atol=5 * np.sqrt(2 / 400))
    np.testing.assert_allclose(np.exp(learned["log_std"]), 0.2, rtol=0.05)


def test_widths_and_scales_that_cannot_be_are_refused():
    for wrong in ((0, 1), (1, 0), (1, 1, 0.0), (1, 1, 0.5, -1.0)):
        with pytest.raises(InputError, match="at least 1 input"):
            LinearLearner(*wrong)
