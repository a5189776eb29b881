"""Distributions against scipy, against numerical integration and against their own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from bmaml.distributions import Categorical, CategoricalMixture, Mixture, Normal, Shape, StudentT, mixture, shaped, widened
from bmaml.learners.recalibrated import stretched
from bmaml.likelihoods import KnownErrorLikelihood

LEVELS = (0.001, 0.05, 0.5, 0.7, 0.999)
LOC = np.array([[0.3, -2.0], [1.5, 10.0], [-0.7, 0.0]])
SCALE = np.array([[0.5, 2.0], [0.1, 3.0], [1.0, 0.01]])
DF = np.array([[4.0, 2.5], [3.0, 30.0], [7.0, 5.0]])


def normal():
    return Normal(jnp.asarray(LOC), jnp.asarray(SCALE))


def student():
    return StudentT(jnp.asarray(DF), jnp.asarray(LOC), jnp.asarray(SCALE))


def mixed(kind=Normal):
    """Three components of unlike weight over three points and two outputs."""
    loc, scale = (jnp.stack([jnp.asarray(a + shift) for shift in (0.0, 1.0, 4.0)]) for a in (LOC, SCALE))
    parts = Normal(loc, scale) if kind is Normal else StudentT(jnp.full_like(loc, 5.0), loc, scale)
    return Mixture(jnp.log(jnp.asarray([0.2, 0.5, 0.3])) + 7.0, parts)


@jax.jit
def student_cdf(df, t):
    return StudentT(df, jnp.zeros_like(t), jnp.ones((1, 1))).cdf(t)


CONTINUOUS = {"normal": normal, "student": student, "mixture": mixed, "t-mixture": lambda: mixed(StudentT)}


@pytest.fixture(params=CONTINUOUS)
def continuous(request, x64):
    return CONTINUOUS[request.param]()


def test_log_prob_is_scipys_summed_over_outputs(x64):
    y = LOC + 0.7
    np.testing.assert_allclose(normal().log_prob(y), stats.norm.logpdf(y, LOC, SCALE).sum(-1), rtol=1e-10)
    np.testing.assert_allclose(student().log_prob(y), stats.t.logpdf(y, DF, LOC, SCALE).sum(-1), rtol=1e-10)


def test_entropy_and_variance_are_scipys(x64):
    np.testing.assert_allclose(normal().entropy(), stats.norm.entropy(LOC, SCALE).sum(-1), rtol=1e-10)
    np.testing.assert_allclose(student().entropy(), stats.t.entropy(DF, LOC, SCALE).sum(-1), rtol=1e-7)
    np.testing.assert_allclose(student().variance, stats.t.var(DF, LOC, SCALE), rtol=1e-10)
    assert jnp.isinf(StudentT(jnp.full((1, 1), 2.0), jnp.zeros((1, 1)), jnp.ones((1, 1))).variance).all()


@pytest.mark.parametrize("df", [1.0, 2.1, 5.0, 50.0, 200.0])
def test_student_cdf_is_scipys_in_the_tails_too(df, x64):
    t = np.concatenate([-np.logspace(4, -8, 40), [0.0], np.logspace(-8, 4, 40)])[:, None]
    np.testing.assert_allclose(student_cdf(np.full((1, 1), df), t), stats.t.cdf(t, df), atol=1e-9)


def test_student_cdf_holds_in_float32():
    t = np.linspace(-30, 30, 121, dtype=np.float32)[:, None]
    ours = student_cdf(np.full((1, 1), 2.3, "f"), t)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, stats.t.cdf(t, 2.3), atol=2e-6)


def test_student_density_holds_in_float32_however_many_degrees_of_freedom():
    t = np.linspace(-6, 6, 121, dtype=np.float32)[:, None]
    for df in (1.0, 2.3, 50.0, 2002.0, 1e4):
        ours = StudentT(jnp.full((1, 1), df), jnp.zeros_like(t), jnp.full((1, 1), 2.0)).log_prob(t)
        np.testing.assert_allclose(ours, stats.t.logpdf(t.astype(float), df, 0, 2)[:, 0], atol=6e-6)


def test_a_level_that_is_no_probability_has_no_quantile():
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        Normal(jnp.zeros((1, 1)), jnp.ones((1, 1))).quantile(1.2)


def test_without_more_tails_a_student_keeps_its_own():
    for df in (2.02, 7.0):
        one = StudentT(jnp.full((1, 1), df), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        np.testing.assert_allclose(stretched(one, 1.0, 0.0).df, df, rtol=1e-6)


def test_quantile_inverts_cdf(continuous):
    through = jax.jit(jax.vmap(lambda q: continuous.cdf(continuous.quantile(q))))(jnp.asarray(LEVELS))
    np.testing.assert_allclose(through, np.broadcast_to(np.reshape(LEVELS, (-1, 1, 1)), through.shape), rtol=1e-8)


# To single precision. A quantile near 0 is compared in units of the scale.
@pytest.mark.parametrize("df", [2.1, 5.0, 80.0, 1e4, None])
def test_quantiles_are_scipys_from_1e_30_to_the_same_above(df):
    one, two, shape = np.float32([0.3, -40.0]), np.float32([1.0, 3.0]), (2, 1, 1)
    loc, scale = (jnp.asarray(values).reshape(shape) for values in (one, two))
    part = Normal(loc, scale) if df is None else StudentT(jnp.full(shape, df), loc, scale)
    both, weights = Mixture(jnp.log(jnp.asarray([0.9, 0.1])), part), (0.9, 0.1)
    exact = [stats.norm(m, s) if df is None else stats.t(df, m, s) for m, s in zip(one, two, strict=True)]
    for tail in (1e-30, 1e-12, 1e-9, 1e-4, 0.05, 0.4):
        for upper in (False, True):
            level = jnp.asarray(tail, jnp.float32), jnp.asarray(upper)
            single = exact[0].isf(tail) if upper else exact[0].ppf(tail)
            ours = jax.tree.map(lambda leaf: leaf[0], part).tail_quantile(*level).item()
            np.testing.assert_allclose(ours, single, rtol=2e-5, atol=2e-5)
            place = both.tail_quantile(*level).item()
            mass = sum(w * (d.sf(place) if upper else d.cdf(place)) for w, d in zip(weights, exact, strict=True))
            # A step of single precision at the place, as a share of the tail.
            density = sum(w * d.pdf(place) for w, d in zip(weights, exact, strict=True))
            np.testing.assert_allclose(mass, tail, rtol=1e-4 + 3e-7 * abs(place) * density / tail)


def test_interval_is_central_and_checks_its_level(x64):
    low, high = jax.jit(lambda: mixed().interval(0.8))()
    np.testing.assert_allclose(mixed().cdf(low), 0.1, rtol=1e-8)
    np.testing.assert_allclose(mixed().cdf(high), 0.9, rtol=1e-8)
    for level in (0.0, 1.0, 90.0):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            mixed().interval(level)


def test_draws_have_the_mean_and_follow_the_cdf(continuous):
    count = 3_000

    @jax.jit
    def said(key):
        draws = continuous.sample(key, (count,))
        return draws, jax.vmap(continuous.cdf)(draws), continuous.mean, continuous.std

    draws, level, mean, std = (np.asarray(part) for part in said(jax.random.key(3)))
    assert draws.shape == (count, *LOC.shape)
    # 4.5 standard errors of the mean; and Kolmogorov's distance, whose 99.9% point is 1.95 / sqrt(count).
    np.testing.assert_array_less(abs(draws.mean(0) - mean), 4.5 * std / count**0.5)
    distance = abs(np.sort(level, axis=0) - ((np.arange(count) + 0.5) / count)[:, None, None]).max(0)
    np.testing.assert_array_less(distance, 1.95 / count**0.5)


@pytest.mark.parametrize("kind", [Normal, StudentT])
def test_mixture_moments_and_cdf_are_integrals_of_its_density(kind, x64):
    whole = mixed(kind)
    one = Mixture(whole.log_weights, jax.tree.map(lambda leaf: leaf[:, :1, :1], whole.components))
    grid = np.concatenate([np.linspace(-2000, -40, 4_000), np.linspace(-40, 40, 40_001)[1:-1], np.linspace(40, 2000, 4_000)])
    density = np.exp(jax.jit(jax.vmap(lambda y: one.log_prob(y[None, None])[0]))(grid))
    mean = trapezoid(grid * density, grid)
    np.testing.assert_allclose(trapezoid(density, grid), 1.0, rtol=1e-6)
    np.testing.assert_allclose(one.mean.item(), mean, rtol=1e-6)
    np.testing.assert_allclose(one.variance.item(), trapezoid((grid - mean) ** 2 * density, grid), rtol=1e-4)
    below = grid <= 1.0
    np.testing.assert_allclose(one.cdf(jnp.ones((1, 1))).item(), trapezoid(density[below], grid[below]), atol=1e-4)
    entropy = -trapezoid(density * np.log(np.maximum(density, 1e-300)), grid)
    # By 512 draws whose log-densities have a deviation of about 0.8.
    np.testing.assert_allclose(jax.jit(lambda: one.entropy())().item(), entropy, atol=4 * 0.8 / 512**0.5)


def test_order_and_weight_offset_of_particles_do_not_matter(x64):
    one, y = mixed(), LOC + 0.2
    turned = Mixture(one.log_weights[::-1] - 100.0, jax.tree.map(lambda leaf: leaf[::-1], one.components))
    np.testing.assert_allclose(turned.log_prob(y), one.log_prob(y), rtol=1e-12)
    np.testing.assert_allclose(turned.mean, one.mean, rtol=1e-12)
    np.testing.assert_allclose(turned.variance, one.variance, rtol=1e-12)


def test_a_mixture_of_one_is_its_component(x64):
    one, y = Mixture(jnp.zeros(1), jax.tree.map(lambda leaf: leaf[None], normal())), LOC - 0.1
    np.testing.assert_allclose(one.log_prob(y), normal().log_prob(y), rtol=1e-12)
    np.testing.assert_allclose(one.cdf(y), normal().cdf(y), rtol=1e-12)


@jax.jit
def of_classes(one, y, key):
    """All that a distribution of three classes says, and the shares of 20,000 draws."""
    return one.mean, one.log_prob(y), one.entropy(), jax.nn.one_hot(one.sample(key, (20_000,)), 3).mean(0)


def test_categorical_is_the_softmax(x64):
    logits = np.array([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    mean, log_prob, entropy, shares = of_classes(Categorical(jnp.asarray(logits)), jnp.array([1, 2]), jax.random.key(0))
    np.testing.assert_allclose(mean, p, rtol=1e-12)
    np.testing.assert_allclose(log_prob, np.log(p[[0, 1], [1, 2]]), rtol=1e-12)
    np.testing.assert_allclose(entropy, stats.entropy(p, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(shares, p, atol=4 * 0.5 / 20_000**0.5)


def test_categorical_mixture_averages_probabilities(x64):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 3)))
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    one = mixture(jnp.log(jnp.asarray(weights)), Categorical(logits))
    assert isinstance(one, CategoricalMixture)
    p = np.tensordot(weights, np.asarray(jax.nn.softmax(logits)), 1)
    y = np.array([0, 1, 2, 1, 0])
    mean, log_prob, entropy, shares = of_classes(one, y, jax.random.key(1))
    np.testing.assert_allclose(mean, p, rtol=1e-12)
    np.testing.assert_allclose(log_prob, np.log(p[np.arange(5), y]), rtol=1e-12)
    np.testing.assert_allclose(entropy, stats.entropy(p, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(shares, p, atol=4 * 0.5 / 20_000**0.5)


@pytest.mark.unchecked
def test_only_known_components_mix():
    with pytest.raises(TypeError, match="give Normal, StudentT or Categorical"):
        mixture(jnp.zeros(2), object())  # type: ignore[arg-type]


def test_stretched_is_a_density_about_the_same_mean_with_the_scales_it_says(continuous):

    @jax.jit
    def said(continuous):
        wide = stretched(continuous, 1.7, 0.1)
        low, high = wide.interval(0.8)
        return wide, continuous.mean, wide.mean, wide.variance, wide.cdf(high) - wide.cdf(low)

    wide, mean, same, variance, mass = said(continuous)
    np.testing.assert_allclose(same, mean, rtol=1e-12)
    # One output at a time: the marginal's mass, by its quantiles and its CDF.
    np.testing.assert_allclose(mass, 0.8, atol=1e-9)
    parts = wide.components if isinstance(wide, Mixture) else wide
    own = continuous.components if isinstance(continuous, Mixture) else continuous
    np.testing.assert_allclose(parts.scale, 1.7 * np.broadcast_to(own.scale, parts.scale.shape), rtol=1e-12)
    heaviness = 0.1 + (1 / np.asarray(own.df) if isinstance(own, StudentT) else 0.0)
    wanted = np.broadcast_to(np.minimum(heaviness, 0.48), parts.df.shape)
    np.testing.assert_allclose(1 / np.asarray(parts.df), wanted, rtol=1e-12)
    assert np.isfinite(variance).all()


def test_stretching_by_nothing_changes_next_to_nothing(continuous):
    y = jnp.asarray(LOC + 1.5 * SCALE)
    both = jax.jit(lambda own, y: [(one.log_prob(y), one.cdf(y)) for one in (stretched(own, 1.0, 0.0), own)])
    (log_prob, cdf), (own_log_prob, own_cdf) = both(continuous, y)
    np.testing.assert_allclose(log_prob, own_log_prob, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(cdf, own_cdf, atol=1e-3)


def test_the_logits_of_classes_are_divided():
    one, two = Categorical(jnp.array([[2.0, 0.0]])), Categorical(jnp.array([[[2.0, 0.0]], [[0.0, 4.0]]]))
    np.testing.assert_array_equal(stretched(one, 2.0, 0.3).logits, [[1.0, 0.0]])
    mixed = stretched(CategoricalMixture(jnp.zeros(2), two), 2.0, 0.3)
    np.testing.assert_array_equal(mixed.components.logits, [[[1.0, 0.0]], [[0.0, 2.0]]])


def test_a_known_error_is_not_stretched():
    """The deviation of what is not known is 3 and 4: of a row without error, and of one with an error of 1,000."""
    side, zero = jnp.array([0.0, 1000.0]), jnp.zeros(1)
    said = KnownErrorLikelihood().predictive(
        jnp.zeros((1, 2)), jnp.full((1, 2), 9.0), side, {"noise": jnp.log(jnp.array([4.0]))}, zero
    )
    errors = Shape(jnp.log(jnp.array([0.6, 0.4])), jnp.array([-0.2, 0.3]), jnp.array([0.9, 1.1]))
    for wide in (widened(said, jnp.array(2.0)), stretched(said, 2.0, 0.0), stretched(shaped(said, errors), 2.0, 0.0)):
        plain, known = np.sqrt(np.asarray(wide.variance))[:, 0]
        assert plain == pytest.approx(10.0, rel=0.03)
        assert known == pytest.approx(1000.05, rel=0.03)
