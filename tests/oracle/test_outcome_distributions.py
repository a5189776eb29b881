"""Distributions of outcomes against scipy's: counts, successes, levels, and numbers known up to a limit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy import stats
from scipy.special import expit

from bmaml.distributions import (
    Bernoulli,
    Binomial,
    DiscreteMixture,
    Limited,
    Mixture,
    NegativeBinomial,
    Normal,
    Ordered,
    around,
    indicators_of,
    less_sure,
    level_shares,
    pit,
    pooled,
)
from bmaml.likelihoods import (
    BinomialLikelihood,
    CensoredLikelihood,
    CensoredLogLikelihood,
    PoissonLikelihood,
)
from bmaml.likelihoods.censored import NOWHERE
from bmaml.likelihoods.ordered import cuts_of

KEY = jax.random.key(0)


@jit
def everything(counts, y):
    """All that a distribution of counts says of targets `y`, in one program for all parameters."""
    ends = [counts.quantile(q)[0, 0] for q in (0.05, 0.5, 0.95)]
    return counts.log_prob(y), counts.cdf(y)[:, 0], counts.survival(y)[:, 0], counts.std[0, 0], *ends


@pytest.mark.parametrize(("size", "mean"), [(0.4, 3.0), (3.0, 90.0), (1e8, 0.3), (1e8, 90.0)])
def test_counts_are_those_of_scipy_and_poisson_for_a_large_size(size, mean):
    known = stats.nbinom(size, size / (size + mean))
    y = np.array([0, 1, 2, 9, 60, 200.0])
    ours = NegativeBinomial(jnp.full((6, 1), np.log(mean)), jnp.full((1, 1), np.log(size)))
    log_prob, cdf, survival, std, *ends = everything(ours, jnp.asarray(y[:, None], jnp.float32))
    np.testing.assert_allclose(log_prob, known.logpmf(y), rtol=2e-5)
    np.testing.assert_allclose(cdf, known.cdf(y), atol=5e-5)
    np.testing.assert_allclose(survival, known.sf(y), atol=5e-5)
    assert [float(end) for end in ends] == known.ppf([0.05, 0.5, 0.95]).tolist()
    assert float(std) == pytest.approx(known.std(), rel=1e-4)
    assert float(ours.log_prob(jnp.full((6, 1), 0.5))[0]) == -np.inf


@jit
def of_counts(log_mean, log_size, y):
    counts = NegativeBinomial(log_mean, log_size)
    poisson = PoissonLikelihood().log_prob(log_mean, y, jnp.zeros(()), {})
    return counts.cdf(y), counts.survival(y), counts.log_prob(y)[:, None], poisson


def test_counts_of_any_size_have_the_probabilities_of_scipy():
    """From a mean of 10 to one of a hundred million, and from rates that vary much to almost Poisson counts."""
    mean, size, level = (
        part.reshape(-1, 1)
        for part in np.meshgrid([10, 1e3, 1e5, 1e6, 1e8], [0.3, 4, 29, 31, 1e3, 1e5], [1e-3, 0.1, 0.6, 0.99], indexing="ij")
    )
    known = stats.nbinom(size, size / (size + mean))
    y = known.ppf(level).astype(np.float32)  # As single precision holds it.
    given = (jnp.asarray(part, jnp.float32) for part in (np.log(mean), np.log(size), y))
    cdf, survival, log_prob, poisson = of_counts(*given)
    np.testing.assert_allclose(cdf, known.cdf(y), atol=5e-4)
    np.testing.assert_allclose(survival, known.sf(y), atol=5e-4)
    np.testing.assert_allclose(log_prob, known.logpmf(y), atol=1e-3)
    near = np.abs(y - mean) < 10 * np.sqrt(mean)
    np.testing.assert_allclose(poisson[near], stats.poisson(mean).logpmf(y)[near], atol=0.1)
    np.testing.assert_allclose(poisson[near & (mean < 1e4)], stats.poisson(mean).logpmf(y)[near & (mean < 1e4)], atol=1e-3)


@jit
def far_quantiles(number, log_number):
    """The 5%, 50% and 95% quantiles of successes among so many trials, and of a count with so large a mean."""
    flat = jnp.zeros((1, 1, 1))
    parts = Binomial(flat - 1, flat + number), NegativeBinomial(flat + log_number, flat + np.log(4.0))
    mixed = [DiscreteMixture(jnp.zeros(1), part) for part in parts]
    return [jnp.stack([one.quantile(level)[0, 0] for level in (0.05, 0.5, 0.95)]) for one in mixed]


@pytest.mark.parametrize("number", [1e6, 1e9, 1e12])
def test_quantiles_of_counts_beyond_the_whole_numbers_of_single_precision(number):
    found = far_quantiles(jnp.asarray(number, jnp.float32), jnp.asarray(np.log(number), jnp.float32))
    for ends, known in zip(found, (stats.binom(int(number), expit(-1)), stats.gamma(4, scale=number / 4)), strict=True):
        np.testing.assert_allclose(ends, known.ppf([0.05, 0.5, 0.95]), rtol=2e-5)


def test_the_transform_of_draws_is_uniform_and_intervals_hold_their_share():
    some = NegativeBinomial(jnp.array([[[0.3]], [[1.5]]]), jnp.array([[[1.0]], [[3.0]]]))
    mixed = pooled(jnp.log(jnp.array([0.4, 0.6])), [DiscreteMixture(jnp.zeros(2), some), DiscreteMixture(jnp.zeros(2), some)])

    @jit
    def said(keys):
        drawn = mixed.sample(KEY, (4000,))
        return drawn, jax.vmap(lambda y, key: pit(mixed, y, key))(drawn, keys), mixed.interval(0.8)

    drawn, u, (low, high) = jax.tree.map(np.asarray, said(jax.random.split(jax.random.key(1), 4000)))
    assert stats.kstest(u.ravel(), "uniform").pvalue > 0.01
    assert 0.8 <= ((drawn >= low) & (drawn <= high)).mean() < 0.95
    np.testing.assert_allclose(drawn.mean(), float(mixed.mean[0, 0]), rtol=0.1)


@pytest.mark.parametrize("log", [False, True])
def test_what_is_known_up_to_a_limit_has_the_probability_of_its_interval(log):
    likelihood = CensoredLogLikelihood() if log else CensoredLikelihood()
    mean, variance = 0.3, 0.4
    wide = np.sqrt(variance + np.exp(-2))
    exact = stats.lognorm(wide, scale=np.exp(mean)) if log else stats.norm(mean, wide)
    y = np.array([0.9, 0.9, 0.9, 0.9, 5.0, 60.0, 0.9, 0.02])
    side = np.array([0.0, -NOWHERE, NOWHERE, 0.4, -NOWHERE, NOWHERE, 1e-5, -NOWHERE])
    low, high = y + np.minimum(side, 0), y + np.maximum(side, 0)
    known = np.where(exact.mean() < low, exact.sf(low) - exact.sf(high), exact.cdf(high) - exact.cdf(low))
    with np.errstate(divide="ignore"):
        known = np.where(side == 0, exact.logpdf(y), np.log(known))

    @jit
    def said(side, column):
        centre, wider = (jnp.full((1, len(y)), part) for part in (mean, variance))
        made = likelihood.predictive(centre, wider, side, {"noise": jnp.full(1, -1.0)}, jnp.zeros(1))
        return made.log_prob(column), made.cdf(column)[:, 0], made.quantile(0.3)[:, 0], around(made, column)

    log_prob, cdf, quantile, (below, above) = said(jnp.asarray(side, "f"), jnp.asarray(y[:, None], "f"))
    # The farthest one lies past single precision.
    np.testing.assert_allclose(log_prob, np.maximum(known, np.log(1e-37)), rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(cdf, exact.cdf(y), atol=1e-5)
    np.testing.assert_allclose(quantile, exact.ppf(0.3), rtol=1e-4)
    np.testing.assert_allclose([below[:, 0], above[:, 0]], [exact.cdf(low), exact.cdf(high)], atol=1e-5)


@functools.partial(jit, static_argnums=0)
def all_slopes(likelihood, at, y, side):
    """Slopes and weights as a likelihood says them; its gradients by the latent numbers and by the noise, and its bends."""

    def density(at, noise):
        return likelihood.log_prob(at, y, side, {"noise": noise}).sum()

    noise = jnp.asarray(-1.0, at.dtype)
    bends = -jnp.diagonal(jax.hessian(density)(at, noise))
    return *likelihood.slopes(at, y, side, {"noise": noise}), *jax.grad(density, (0, 1))(at, noise), bends


@pytest.mark.parametrize("log", [pytest.param(False, marks=pytest.mark.costly), True])
def test_limits_have_the_slopes_that_they_say_however_far_they_are(log):
    likelihood, scales = CensoredLogLikelihood() if log else CensoredLikelihood(), {"noise": jnp.asarray(-1.0)}
    y = jnp.array([0.5, 1.7, 0.5, 1.7, 1.0, 1.0, 1.0, 2.0, 2.0])
    side = jnp.array([0.0, NOWHERE, -NOWHERE, 0.3, 1e-5, NOWHERE, -NOWHERE, NOWHERE, -NOWHERE])
    latent = jnp.array([0.4, 1.0, 1.0, -0.2, 0.3, -9.0, 9.0, 30.0, -30.0])
    for wide, rtol in ((jnp.float64, 1e-4), (jnp.float32, 0.02)):
        with jax.enable_x64(wide == jnp.float64):
            at, seen, ends = (jnp.asarray(np.asarray(part), wide) for part in (latent, y, side))
            slope, weight, exact, by_noise, bend = (np.asarray(part) for part in all_slopes(likelihood, at, seen, ends))
            np.testing.assert_allclose(slope, exact, rtol=rtol, atol=1e-6)
            assert np.isfinite(by_noise)
            if wide == jnp.float64:
                np.testing.assert_allclose(weight[:7], np.maximum(bend[:7], 1e-4 * np.exp(2)), rtol=1e-3)
            assert np.isfinite(weight).all()
            assert (weight > 0).all()
    assert float(likelihood.log_prob(latent[7], y[7], side[7], scales)) == pytest.approx(0, abs=1e-6)


def test_random_transforms_of_limits_are_uniform():
    inner = Normal(jnp.zeros((4000, 1)), jnp.ones((4000, 1)))
    drawn = inner.sample(KEY)
    y = jnp.clip(drawn, -0.5, 1.0)
    reach = jnp.where(drawn < -0.5, -NOWHERE, jnp.where(drawn > 1, NOWHERE, 0.0))
    mixed = pooled(jnp.zeros(1), [Mixture(jnp.zeros(1), jax.tree.map(lambda leaf: leaf[None], Limited(inner, reach)))])
    assert stats.kstest(np.asarray(pit(mixed, y, jax.random.key(1))).ravel(), "uniform").pvalue > 0.01


@pytest.mark.parametrize(("trials", "odds"), [(7, -2.0), (900, 0.8), (90_000, -6.0)])
def test_successes_are_those_of_scipy(trials, odds):
    known = stats.binom(trials, expit(odds))
    y = np.unique([0, trials, *known.ppf([0.001, 0.2, 0.7, 0.999])])
    full = jnp.full((len(y), 1), 1.0)
    ours = Binomial(odds * full, trials * full)
    log_prob, cdf, survival, std, *ends = everything(ours, jnp.asarray(y[:, None], jnp.float32))
    np.testing.assert_allclose(log_prob, known.logpmf(y), rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(cdf, known.cdf(y), atol=1e-4)
    np.testing.assert_allclose(survival, known.sf(y), atol=1e-4)
    np.testing.assert_allclose(ends, known.ppf([0.05, 0.5, 0.95]), atol=0.51 if trials > 1000 else 0)
    assert float(std) == pytest.approx(known.std(), rel=1e-4)


@pytest.mark.parametrize("trials", [12, *(pytest.param(n, marks=pytest.mark.costly) for n in (1, 500))])
def test_rows_of_trials_scatter_as_a_beta_binomial(trials):
    likelihood, scatter = BinomialLikelihood(), 0.6
    scales, side, odds = {"scatter": jnp.asarray(np.log(scatter))}, jnp.full(trials + 1, np.log(trials)), 0.7
    y = jnp.arange(trials + 1.0)
    exact = stats.betabinom(trials, scatter**-2 / expit(-odds), scatter**-2 / expit(odds))
    at = jnp.full(trials + 1, odds)
    log_prob, (slope, weight) = jit(lambda *given: (likelihood.log_prob(*given), likelihood.slopes(*given)))(
        at, y, side, scales
    )
    np.testing.assert_allclose(log_prob, exact.logpmf(np.asarray(y)), rtol=1e-4, atol=2e-3)
    # The predictive is of a normal of the same spread, whose mean is that of the latent number.
    mean, variance = (jnp.full((3, 1), part) for part in (odds, 1e-6))
    levels = exact.ppf([0.1, 0.5, 0.9])

    @jit
    def predicted(mean, variance, places):
        drawn = likelihood.predictive(mean, variance, side[:1], {"scatter": jnp.full(3, np.log(scatter))}, jnp.zeros(3))
        return drawn.mean[0, 0], drawn.std[0, 0], jax.vmap(drawn.cdf)(places[:, None, None])[:, 0, 0]

    centre, spread, found = predicted(mean, variance, jnp.asarray(levels, jnp.float32))
    assert float(centre) == pytest.approx(exact.mean(), rel=0.01)
    assert float(spread) == pytest.approx(exact.std(), rel=0.06)
    np.testing.assert_allclose(found, exact.cdf(levels), atol=0.03)
    # The variance of the slope over outcomes is the information.
    share = np.exp(np.asarray(log_prob))
    assert float(weight[0]) == pytest.approx(float((share * np.asarray(slope) ** 2).sum()), rel=0.15)


def test_levels_are_the_differences_of_a_logistic_distribution():
    cuts = jnp.array([[-1.0, 0.5, 2.0], [3.0, 4.0, 5.0]])

    @jit
    def said(cuts):
        levels = Ordered(cuts)
        columns = [jnp.full((2, 1), float(y)) for y in range(4)]
        each = [(levels.log_prob(y), levels.cdf(y)[:, 0], levels.survival(y)[:, 0]) for y in columns]
        mixed = DiscreteMixture(jnp.zeros(2), Ordered(jnp.stack([cuts, cuts + 1])))
        moments = levels.probabilities, levels.mean[:, 0], levels.variance[:, 0]
        return moments, each, levels.log_prob(jnp.array([[0.5], [4.0]])), mixed.sample(KEY, (4000,)), level_shares(mixed)

    (probabilities, mean, variance), each, none, drawn, shares = jax.tree.map(np.asarray, said(cuts))
    known = np.diff(expit(np.array([[-np.inf, -1.0, 0.5, 2.0, np.inf], [-np.inf, 3.0, 4.0, 5.0, np.inf]])), axis=1)
    np.testing.assert_allclose(probabilities, known, rtol=1e-4)
    np.testing.assert_allclose(mean, known @ np.arange(4), rtol=1e-4)
    np.testing.assert_allclose(variance, known @ np.arange(4) ** 2 - (known @ np.arange(4)) ** 2, rtol=1e-3)
    for y, (log_prob, cdf, survival) in enumerate(each):
        np.testing.assert_allclose(log_prob, np.log(known[:, y]), rtol=1e-4)
        np.testing.assert_allclose(cdf, known[:, : y + 1].sum(1), rtol=1e-4)
        np.testing.assert_allclose(survival, known[:, y + 1 :].sum(1), atol=1e-6)
    assert (none == -np.inf).all()
    np.testing.assert_allclose([(drawn == level).mean(0)[:, 0] for level in range(4)], shares.T, atol=0.03)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)


def test_levels_have_the_slopes_that_they_say_and_the_cuts_of_all_outcomes():
    likelihood = cuts_of(np.array([0, 0, 1, 2, 3, 3, 3]), 4)
    scales = {"gaps": jnp.asarray(likelihood.priors["gaps"][0], jnp.float32)}
    latent, y = jnp.array([-1.0, 0.3, 2.0, 0.0]), jnp.array([0.0, 1.0, 2.0, 3.0])

    @jit
    def said(latent):
        of = lambda at: likelihood.log_prob(at, y, 0.0, scales).sum()  # noqa: E731
        every = [likelihood.log_prob(latent, jnp.full(4, float(level)), 0.0, scales) for level in range(4)]
        return likelihood.slopes(latent, y, 0.0, scales), jax.grad(of)(latent), jax.hessian(of)(latent), jnp.stack(every)

    (slope, weight), gradient, hessian, every = said(latent)
    np.testing.assert_allclose(slope, gradient, atol=1e-5)
    np.testing.assert_allclose(weight, -np.diagonal(hessian), atol=1e-5)
    np.testing.assert_allclose(np.exp(every).sum(0), 1, rtol=1e-5)
    # Half an outcome of each level is added, so that none is impossible.
    shares = np.diff([0, *expit(np.array(likelihood.cuts)), 1])
    np.testing.assert_allclose(shares, (np.array([2, 1, 1, 3]) + 0.5) / 9, rtol=1e-6)


def test_a_bernoulli_is_a_coin():
    coin = Bernoulli(jnp.array([[0.0], [1.2]]))
    np.testing.assert_allclose(coin.cdf(jnp.zeros((2, 1)))[:, 0], 1 - expit(np.array([0.0, 1.2])), rtol=1e-6)
    np.testing.assert_allclose(coin.entropy()[0], np.log(2), rtol=1e-6)
    assert coin.interval(0.9)[1][0, 0] == 1
    assert float(coin.log_prob(jnp.full((2, 1), 2.0))[0]) == -np.inf


def test_successes_less_sure_keep_their_mean_and_lie_farther_apart():
    mixed = DiscreteMixture(jnp.zeros(3), Binomial(jnp.array([-1.0, 0.5, 2.0])[:, None, None], jnp.full((1, 1, 1), 40.0)))
    wide = less_sure(mixed, 1.5)
    assert float(wide.mean[0, 0]) == pytest.approx(float(mixed.mean[0, 0]), rel=1e-4)
    assert float(wide.std[0, 0]) > 1.2 * float(mixed.std[0, 0])


def test_indicators_of_classes_are_those_of_a_categorical():
    share = np.array([[0.2, 0.3, 0.5], [1e-9, 1e-3, 1 - 1e-3 - 1e-9]])

    @jit
    def said(share, keys):
        known, nothing = indicators_of(share), jnp.zeros((2, 3))
        log_prob = [known.log_prob(jnp.broadcast_to(y, (2, 3))) for y in (*jnp.eye(3), jnp.ones(3))]
        mixed = DiscreteMixture(jnp.zeros(2), indicators_of(jnp.stack([share, share[:, ::-1]])))
        drawn = mixed.sample(KEY, (4000,))
        told = jax.vmap(lambda y, key: pit(mixed, y, key))(drawn, keys)
        means = mixed.mean, less_sure(mixed, 1.0).mean, less_sure(mixed, 0.5).mean
        return (log_prob, known.survival(nothing), known.cdf(nothing), known.entropy()), (drawn, told), means

    of_one, (drawn, found), means = said(jnp.asarray(share, jnp.float32), jax.random.split(KEY, 4000))
    (*log_prob, impossible), survival, cdf, entropy = of_one
    np.testing.assert_allclose(np.stack(log_prob, 1), np.log(share), rtol=1e-4)
    np.testing.assert_allclose(survival, share, rtol=1e-4)
    np.testing.assert_allclose(cdf, 1 - share, rtol=1e-4)
    assert (np.asarray(impossible) == -np.inf).all()
    np.testing.assert_allclose(entropy[0], -(share[0] * np.log(share[0])).sum(), rtol=1e-5)
    mean, same, surer = (np.asarray(part) for part in means)
    np.testing.assert_allclose(np.sum(drawn, -1), 1)
    np.testing.assert_allclose(np.mean(drawn, 0), mean, atol=0.03)
    # The transform of each output is uniform.
    for place in range(3):
        assert stats.kstest(np.asarray(found)[:, 0, place], "uniform").statistic < 0.03
    np.testing.assert_allclose(same, mean, rtol=1e-5)
    assert surer.max() > mean.max() - 1e-6
