"""Pools of different distributions and shifted log-normals, against numbers from a fine grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy import stats

from bmaml.distributions import (
    Categorical,
    Mixture,
    NoisyGamma,
    NoisyStudentT,
    Normal,
    Pool,
    Shape,
    ShiftedLogNormal,
    StudentT,
    exponentiated,
    has_shape,
    shaped,
    widened,
)
from bmaml.errors import PairError

LOG = ShiftedLogNormal(jnp.array([[0.5]]), jnp.array([[0.4]]), jnp.array([[1.0]]))
NORMAL = Mixture(jnp.log(jnp.array([0.3, 0.7])), Normal(jnp.array([[[-1.0]], [[2.0]]]), jnp.array([[[0.5]], [[1.0]]])))
NOISY = (
    NoisyStudentT(*(jnp.array([[part]]) for part in (1.0, 0.5, 7.0, 0.6))),
    NoisyGamma(*(jnp.array([[part]]) for part in (0.4, 0.3, 0.5))),
)
POOL = Pool(jnp.log(jnp.array([0.2, 0.4, 0.2, 0.2])), (LOG, NORMAL, *NOISY))
SKEWED = Shape(*(jnp.array(part) for part in ([-0.4, -1.2], [-0.3, 0.7], [0.6, 1.3])))
BOTH = Pool(jnp.zeros(2), (LOG, NORMAL))
GRID = np.linspace(-8, 14, 4001)
PLACES, LEVELS = (-0.5, 0.7, 3.0), (0.05, 0.5, 0.95)


def density(distribution):
    log_prob = jit(lambda made, grid: jax.vmap(lambda y: made.log_prob(y[None, None])[0])(grid))
    return np.exp(np.asarray(log_prob(distribution, jnp.asarray(GRID, jnp.float32))))


@jit
def everything(distribution):
    """All that a distribution says, in one program."""
    each = [distribution.mean, distribution.variance, distribution.entropy()[None]]
    tails = jax.vmap(lambda y: (distribution.cdf(y[None, None])[0, 0], distribution.survival(y[None, None])[0, 0]))(
        jnp.array(PLACES)
    )
    levels = jax.vmap(lambda q: distribution.cdf(distribution.quantile(q))[0, 0])(jnp.array(LEVELS))
    drawn = distribution.sample(jax.random.key(0), (4000,))
    return [part[0, 0] for part in each], tails, levels, drawn[:, 0, 0].mean()


@pytest.mark.parametrize("distribution", [POOL, widened(POOL, jnp.asarray(1.5)), shaped(BOTH, SKEWED)])
def test_moments_cdf_and_quantiles_are_those_of_the_density(distribution):
    p = density(distribution)
    step = GRID[1] - GRID[0]
    assert p.sum() * step == pytest.approx(1, abs=2e-3)
    mean = (p * GRID).sum() * step
    moments, tails, levels, drawn = everything(distribution)
    assert float(moments[0]) == pytest.approx(mean, abs=5e-3)
    assert float(moments[1]) == pytest.approx((p * (GRID - mean) ** 2).sum() * step, rel=2e-2)
    assert float(moments[2]) == pytest.approx(-(p * np.log(np.maximum(p, 1e-30))).sum() * step, abs=0.12)
    for y, cdf, survival in zip(PLACES, *tails, strict=True):
        below = p[y >= GRID].sum() * step
        assert float(cdf) == pytest.approx(below, abs=3e-3)
        assert float(survival) == pytest.approx(1 - below, abs=3e-3)
    np.testing.assert_allclose(levels, LEVELS, atol=1e-4)
    assert float(drawn) == pytest.approx(mean, abs=0.1)


def test_errors_in_deviations_have_the_shape_that_is_wanted():
    error = jnp.linspace(-3.0, 3.0, 7)[:, None]

    @jit
    def said(error, grid):
        wide = jnp.full((7, 1), 0.5)
        both = Normal(wide + 2, wide), StudentT(wide * 2e5, wide + 2, wide)
        made = [shaped(normal, SKEWED).log_prob(2.5 + 0.5 * error) for normal in both]
        return SKEWED.log_prob(error[:, 0]), made, SKEWED.log_prob(grid), SKEWED.entropy()

    told, both, log_prob, entropy = said(error, jnp.asarray(GRID, jnp.float32))
    for made in both:
        np.testing.assert_allclose(made, np.asarray(told) - np.log(0.5), rtol=1e-3, atol=1e-3)
    p, step = np.exp(np.asarray(log_prob)), GRID[1] - GRID[0]
    assert float(entropy) == pytest.approx(-(p * np.log(np.maximum(p, 1e-30))).sum() * step, abs=1e-3)
    assert has_shape(BOTH)
    assert not has_shape(POOL)


def test_a_log_normal_is_that_of_scipy_and_ends_at_its_shift():
    y = jnp.array([[-0.9], [0.3], [4.0]])
    wide = ShiftedLogNormal(*(jnp.tile(leaf, (3, 1)) for leaf in (LOG.loc, LOG.scale, LOG.shift)))
    known = stats.lognorm(0.4, loc=-1.0, scale=np.exp(0.5))
    np.testing.assert_allclose(wide.log_prob(y), known.logpdf(np.asarray(y)[:, 0]), rtol=1e-4)
    assert float(LOG.log_prob(jnp.array([[-1.5]]))[0]) == -np.inf
    assert float(LOG.cdf(jnp.array([[-1.5]]))[0, 0]) == 0


def test_a_logarithm_changes_variables():
    """The density of y is that of z times dz/dy."""
    centre, spread, shift = jnp.array([0.2]), jnp.array([0.7]), jnp.array([2.0])
    made = exponentiated(NORMAL, centre, spread, shift)
    y = jnp.array([[1.3]])
    z = (jnp.log(y + 2.0) - 0.2) / 0.7
    expected = NORMAL.log_prob(z) - jnp.log(0.7 * (y[:, 0] + 2.0))
    np.testing.assert_allclose(made.log_prob(y), expected, rtol=1e-5)


def test_a_part_without_weight_and_without_variance_does_not_count():
    none = StudentT(jnp.array([[1.5]]), jnp.array([[0.0]]), jnp.array([[1.0]]))
    pool = Pool(jnp.log(jnp.array([1.0, 0.0])), (NORMAL, none))
    np.testing.assert_allclose(pool.variance, NORMAL.variance, rtol=1e-6)


def test_what_cannot_be_widened_or_exponentiated_is_said():
    classes = Categorical(jnp.zeros((1, 2)))
    with pytest.raises(PairError, match="cannot widen Categorical"):
        widened(classes, jnp.asarray(1.0))
    with pytest.raises(PairError, match="no logarithm of Categorical"):
        exponentiated(classes, jnp.zeros(1), jnp.ones(1), jnp.zeros(1))
    with pytest.raises(PairError, match="no other shape for Categorical"):
        shaped(classes, SKEWED)
