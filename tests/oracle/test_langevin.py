"""The Langevin direction samples: its stationary law on a normal is known, its error in the step size included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit

from bmaml.inference.directions import Langevin
from bmaml.learners import Sgd

MEAN, DEVIATION, COUNT = 2.0, 0.5, 20_000


def stationary(rate, temperature, steps):
    """Particles after many steps on N(MEAN, DEVIATION^2), from a start of their own."""
    direction, rule = Langevin(rate, temperature), Sgd(rate)

    @jit
    def run(key):
        def step(x, key):
            move, _ = rule.step(None, None, direction(x, -(x - MEAN) / DEVIATION**2, key=key))
            return x + move, None

        return jax.lax.scan(step, jnp.full(COUNT, -1.0), jax.random.split(key, steps))[0]

    return np.asarray(run(jax.random.key(0)), np.float64)


@pytest.mark.parametrize(("rate", "temperature"), [(0.02, 1.0), (0.1, 1.0), (0.02, 0.25)])
def test_particles_reach_the_mean_and_the_variance_that_the_step_size_allows(rate, temperature):
    """Unadjusted steps of size r on variance v settle at temperature v / (1 - r / 2 v): an error of order r.

    The mean of n draws is off by 1 / sqrt(n) deviations and their variance by sqrt(2 / n) of itself; four of each are
    allowed. Steps contract by 1 - r / v, so 200 leave nothing of the start.
    """
    x = stationary(rate, temperature, steps=200)
    variance = temperature * DEVIATION**2 / (1 - rate / (2 * DEVIATION**2))
    assert abs(x.mean() - MEAN) < 4 * np.sqrt(variance / COUNT)
    assert abs(x.var() / variance - 1) < 4 * np.sqrt(2 / COUNT)


def test_without_temperature_it_is_gradient_ascent():
    np.testing.assert_allclose(stationary(0.02, 0.0, steps=200), MEAN, atol=1e-5)


@pytest.mark.parametrize(("rate", "temperature"), [(0.0, 1.0), (-1.0, 1.0), (0.1, -1.0)])
def test_impossible_settings_are_refused(rate, temperature):
    with pytest.raises(ValueError, match="give a rate above 0"):
        Langevin(rate, temperature)
