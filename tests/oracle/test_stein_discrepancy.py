"""The kernelised Stein discrepancy against automatic derivatives, a closed value, and exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate

from bmaml.inference.stein_discrepancy import stein_discrepancy, stein_kernel


def log_normal(x):
    return -0.5 * jnp.sum(x**2)


def test_the_stein_kernel_is_the_operator_applied_to_both_sides(x64):
    precision = jnp.asarray([[2.0, 0.3], [0.3, 1.0]])

    def score(x):
        return -precision @ x

    def k(a, b):
        return (1.5**2 + jnp.sum((a - b) ** 2)) ** -0.5

    def k0(a, b):
        cross = jax.jacfwd(jax.grad(k), 1)(a, b)
        return score(a) @ score(b) * k(a, b) + score(a) @ jax.grad(k, 1)(a, b) + score(b) @ jax.grad(k)(a, b) + jnp.trace(cross)

    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    wanted = jax.vmap(lambda a: jax.vmap(lambda b: k0(a, b))(x))(x)
    np.testing.assert_allclose(stein_kernel(x, jax.vmap(score)(x), scale=1.5), wanted, atol=1e-12)


def test_one_particle(x64):
    """k0(x, x) = |score|^2 + d for the kernel of length 1."""
    np.testing.assert_allclose(stein_discrepancy(log_normal, jnp.asarray([[3.0, 4.0]])), np.sqrt(25 + 2), rtol=1e-12)


def test_a_shifted_normal_has_the_closed_discrepancy(x64):
    """Against N(0, 1), N(m, 1) has KSD^2 = m^2 E (c^2 + (x - x')^2)^(-1/2), as the scores differ by m everywhere.

    The particles are the nodes of a Gauss-Hermite rule, weighted; x - x' is N(0, 2).
    """
    shift, scale = 0.7, 2.0
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    found = stein_discrepancy(log_normal, jnp.asarray(nodes + shift)[:, None], log_weights=jnp.log(weights), scale=scale)
    pair = integrate.quad(lambda z: (scale**2 + 2 * z**2) ** -0.5 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -12, 12)[0]
    np.testing.assert_allclose(found**2, shift**2 * pair, rtol=1e-6)


def test_exact_draws_come_nearer_as_they_grow_and_beat_a_shift(x64):
    draws = jnp.asarray(np.random.default_rng(1).normal(size=(1600, 3)))
    few, many = (float(stein_discrepancy(log_normal, draws[:n])) for n in (100, 1600))
    # E k0(x, x) = E |score|^2 + d = 6 here, so a sample of n has about sqrt(6 / n).
    np.testing.assert_allclose([few, many], np.sqrt(6 / np.array([100, 1600])), rtol=0.3)
    assert float(stein_discrepancy(log_normal, draws + 0.5)) > 5 * many


def test_weights_count_particles_and_pytrees_are_flattened(x64):
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(5, 2)))
    twice = stein_discrepancy(log_normal, jnp.concatenate([x, x[:1]]))
    weighted = stein_discrepancy(log_normal, x, log_weights=jnp.log(jnp.asarray([2.0, 1, 1, 1, 1])))
    np.testing.assert_allclose(twice, weighted, rtol=1e-12)
    tree = stein_discrepancy(lambda p: log_normal(p["a"]) + log_normal(p["b"]), {"a": x[:, 0], "b": x[:, 1:]})
    np.testing.assert_allclose(tree, stein_discrepancy(log_normal, x), rtol=1e-12)
