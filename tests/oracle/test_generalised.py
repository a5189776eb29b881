"""Families of outcomes: pmfs against scipy's, predictives and evidences against quadrature, and fits against known truths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy import stats
from scipy.special import expit, logsumexp

from bmaml.data import Data
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
    less_sure,
    level_shares,
    pit,
    pooled,
)
from bmaml.estimators.stacking.coefficient_draws import fit_generalised
from bmaml.learners.generalised import GeneralisedLearner, JointLaplace
from bmaml.learners.hierarchical import fit_basis
from bmaml.likelihoods import (
    BernoulliLikelihood,
    BinomialLikelihood,
    CensoredLikelihood,
    CensoredLogLikelihood,
    GammaLikelihood,
    KnownErrorLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentLikelihood,
    WeightedLikelihood,
)
from bmaml.likelihoods.ordered import cuts_of

KEY = jax.random.key(0)
FAMILIES = {
    "yes-no": BernoulliLikelihood(),
    "count": NegativeBinomialLikelihood(),
    "poisson": PoissonLikelihood(),
    "student-t": StudentLikelihood(),
    "gamma": GammaLikelihood(),
    "known-error": KnownErrorLikelihood(),
    "weighted": WeightedLikelihood(),
    "binomial": BinomialLikelihood(),
    "censored": CensoredLikelihood(),
}
# The density of an outcome given its latent number, what else is known of the row, and scales at the centre of their prior.
EXACT = {
    "student-t": lambda y, latent, side: stats.t.logpdf(y, 2 + np.exp(1.2), latent, np.exp(-1)),
    "gamma": lambda y, latent, side: stats.gamma.logpdf(y, np.exp(1.4), scale=np.exp(latent - 1.4)),
    "known-error": lambda y, latent, side: stats.norm.logpdf(y, latent, np.hypot(np.exp(-1), side)),
    "weighted": lambda y, latent, side: stats.norm.logpdf(y, latent, np.exp(-1 - side / 2)),
}


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


def test_the_transform_of_draws_is_uniform_and_intervals_hold_their_share():
    some = NegativeBinomial(jnp.array([[[0.3]], [[1.5]]]), jnp.array([[[1.0]], [[3.0]]]))
    mixed = pooled(jnp.log(jnp.array([0.4, 0.6])), [DiscreteMixture(jnp.zeros(2), some), DiscreteMixture(jnp.zeros(2), some)])
    drawn = mixed.sample(KEY, (4000,))
    keys = jax.random.split(jax.random.key(1), 4000)
    u = np.asarray(jit(jax.vmap(lambda y, key: pit(mixed, y, key)))(drawn, keys)).ravel()
    assert stats.kstest(u, "uniform").pvalue > 0.01
    low, high = (end[None] for end in mixed.interval(0.8))
    assert 0.8 <= ((drawn >= low) & (drawn <= high)).mean() < 0.95
    np.testing.assert_allclose(drawn.mean(), float(mixed.mean[0, 0]), rtol=0.1)


def over_normal(log_prob, mean, variance):
    """The log of the mean of exp(log_prob) over a normal, on a fine grid."""
    z = np.linspace(-9, 9, 4001)
    return logsumexp(log_prob(mean + np.sqrt(variance) * z) + stats.norm.logpdf(z)) + np.log(z[1] - z[0])


@pytest.mark.parametrize(("name", "tolerance"), [("yes-no", 1e-4), ("count", 0.02), ("poisson", 0.03)])
def test_outcomes_are_integrated_over_what_is_not_known(name, tolerance):
    """For sharp counts (here up to 300) points of quadrature alone would leave gaps between them."""
    likelihood = FAMILIES[name]
    scales = {key: jnp.array([centre]) for key, (centre, _) in likelihood.priors.items()}

    @jit
    def said(mean, variance, y):
        full = (jnp.full((1, 1), part) for part in (mean, variance))
        return likelihood.predictive(*full, jnp.zeros(1), scales, jnp.zeros(1)).log_prob(jnp.full((1, 1), y))[0]

    for mean, variance in ((0.4, 0.05), (-1.0, 4.0)) if name == "yes-no" else ((5.0, 0.02), (4.0, 0.5), (1.0, 1.0)):
        middle = np.exp(mean + 0.5 * variance)
        for y in (0.0, 1.0) if name == "yes-no" else np.round(middle * np.array([0.3, 0.9, 2.0])):

            def log_prob(latent, y=y):
                if name == "yes-no":
                    return np.log(expit(latent if y else -latent))
                if name == "poisson":
                    return stats.poisson.logpmf(y, np.exp(latent))
                size = np.exp(-2 * likelihood.priors["scatter"][0])
                return stats.nbinom.logpmf(y, size, size / (size + np.exp(latent)))

            assert float(said(mean, variance, y)) == pytest.approx(
                over_normal(log_prob, mean, variance), abs=tolerance, rel=0.01
            )


@pytest.mark.parametrize("name", EXACT)
def test_measurements_are_integrated_over_what_is_not_known(name):
    likelihood, y = FAMILIES[name], np.array([0.2, 0.4, 0.9, 1.5, 3.0])
    scales, column = {key: jnp.array([centre]) for key, (centre, _) in likelihood.priors.items()}, jnp.asarray(y[:, None], "f")

    @jit
    def said(mean, variance, side):
        made = likelihood.predictive(mean, variance, side, scales, jnp.zeros(1))
        return made.log_prob(column), made.cdf(column)[:, 0]

    for mean, variance, side in ((0.2, 1e-6, 0.0), (0.2, 0.05, 0.4), (-0.5, 1.5, 0.4)):
        at = np.linspace(mean - 8 * np.sqrt(variance), mean + 8 * np.sqrt(variance), 201)
        shares = stats.norm.pdf(at, mean, np.sqrt(variance)) * (at[1] - at[0])
        density = [np.log((np.exp(EXACT[name](one, at, side)) * shares).sum()) for one in y]
        grids = np.linspace(1e-6 if name == "gamma" else -40, y, 4001)
        each = [(np.exp(EXACT[name](grid[:, None], at[None], side)) * shares).sum(1) for grid in grids.T]
        full = (jnp.full((1, 5), part) for part in (mean, variance))
        found, below = said(*full, jnp.full(5, side))
        # Places of gamma noise lie far apart in its lower tail.
        np.testing.assert_allclose(found, density, atol=0.05 if name == "gamma" else 0.012)
        np.testing.assert_allclose(below, np.trapezoid(each, grids.T, axis=1), atol=0.004)


@pytest.mark.parametrize("name", EXACT)
def test_densities_have_the_slopes_that_they_say(name):
    likelihood, scales = FAMILIES[name], {key: jnp.asarray(centre) for key, (centre, _) in FAMILIES[name].priors.items()}
    latent, y, side = jnp.array([-1.0, 0.3, 2.0]), jnp.array([0.5, 1.7, 1.0]), jnp.full(3, 0.4)
    np.testing.assert_allclose(likelihood.log_prob(latent, y, side, scales), EXACT[name](y, latent, side), rtol=1e-5)
    slope, weight = likelihood.slopes(latent, y, side, scales)
    of = lambda at: likelihood.log_prob(at, y, side, scales).sum()  # noqa: E731
    np.testing.assert_allclose(slope, jax.grad(of)(latent), rtol=1e-5)
    if likelihood.CONCAVE:
        np.testing.assert_allclose(weight, -jnp.diagonal(jax.hessian(of)(latent)), rtol=1e-5)
    else:  # The mean over outcomes.
        drawn = likelihood.predictive(
            jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1), {k: v[None] for k, v in scales.items()}, jnp.zeros(1)
        )
        many = drawn.sample(KEY, (20_000,))[:, 0, 0]
        each = jax.vmap(lambda one: jax.hessian(lambda at: likelihood.log_prob(at, one, 0.0, scales))(0.0))(many)
        assert float(-each.mean()) == pytest.approx(float(weight[0]), rel=0.05)


NO_END = 1e8  # How far the truth may lie from a limit on one side.


@pytest.mark.parametrize("log", [False, True])
def test_what_is_known_up_to_a_limit_has_the_probability_of_its_interval(log):
    likelihood = CensoredLogLikelihood() if log else CensoredLikelihood()
    mean, variance = 0.3, 0.4
    wide = np.sqrt(variance + np.exp(-2))
    exact = stats.lognorm(wide, scale=np.exp(mean)) if log else stats.norm(mean, wide)
    y = np.array([0.9, 0.9, 0.9, 0.9, 5.0, 60.0, 0.9, 0.02])
    side = np.array([0.0, -NO_END, NO_END, 0.4, -NO_END, NO_END, 1e-5, -NO_END])
    low, high = y + np.minimum(side, 0), y + np.maximum(side, 0)
    known = np.where(exact.mean() < low, exact.sf(low) - exact.sf(high), exact.cdf(high) - exact.cdf(low))
    with np.errstate(divide="ignore"):
        known = np.where(side == 0, exact.logpdf(y), np.log(known))
    centre, wider = (jnp.full((1, len(y)), part) for part in (mean, variance))
    made = likelihood.predictive(centre, wider, jnp.asarray(side, "f"), {"noise": jnp.full(1, -1.0)}, jnp.zeros(1))
    column = jnp.asarray(y[:, None], "f")
    # The farthest one lies past single precision.
    np.testing.assert_allclose(made.log_prob(column), np.maximum(known, np.log(1e-37)), rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(made.cdf(column)[:, 0], exact.cdf(y), atol=1e-5)
    np.testing.assert_allclose(made.quantile(0.3)[:, 0], exact.ppf(0.3), rtol=1e-4)
    below, above = around(made, column)
    np.testing.assert_allclose([below[:, 0], above[:, 0]], [exact.cdf(low), exact.cdf(high)], atol=1e-5)


@pytest.mark.parametrize("log", [pytest.param(False, marks=pytest.mark.costly), True])
def test_limits_have_the_slopes_that_they_say_however_far_they_are(log):
    likelihood, scales = CensoredLogLikelihood() if log else CensoredLikelihood(), {"noise": jnp.asarray(-1.0)}
    y = jnp.array([0.5, 1.7, 0.5, 1.7, 1.0, 1.0, 1.0, 2.0, 2.0])
    side = jnp.array([0.0, NO_END, -NO_END, 0.3, 1e-5, NO_END, -NO_END, NO_END, -NO_END])
    latent = jnp.array([0.4, 1.0, 1.0, -0.2, 0.3, -9.0, 9.0, 30.0, -30.0])
    for wide, rtol in ((jnp.float64, 1e-4), (jnp.float32, 0.02)):
        with jax.enable_x64(wide == jnp.float64):
            at, seen, ends = (jnp.asarray(np.asarray(part), wide) for part in (latent, y, side))
            own = {"noise": jnp.asarray(-1.0, wide)}
            slope, weight = likelihood.slopes(at, seen, ends, own)
            of = lambda at: likelihood.log_prob(at, seen, ends, own).sum()  # noqa: B023, E731
            np.testing.assert_allclose(slope, jax.grad(of)(at), rtol=rtol, atol=1e-6)
            by_noise = jax.grad(lambda scale: likelihood.log_prob(at, seen, ends, {"noise": scale}).sum())(own["noise"])  # noqa: B023
            assert np.isfinite(by_noise)
            if wide == jnp.float64:
                bend = -jnp.diagonal(jax.hessian(of)(at))
                np.testing.assert_allclose(weight[:7], np.maximum(bend[:7], 1e-4 * np.exp(2)), rtol=1e-3)
            assert np.isfinite(weight).all()
            assert (weight > 0).all()
    assert float(likelihood.log_prob(latent[7], y[7], side[7], scales)) == pytest.approx(0, abs=1e-6)


def test_random_transforms_of_limits_are_uniform():
    inner = Normal(jnp.zeros((4000, 1)), jnp.ones((4000, 1)))
    drawn = inner.sample(KEY)
    y = jnp.clip(drawn, -0.5, 1.0)
    reach = jnp.where(drawn < -0.5, -NO_END, jnp.where(drawn > 1, NO_END, 0.0))
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
    log_prob = likelihood.log_prob(jnp.full(trials + 1, odds), y, side, scales)
    np.testing.assert_allclose(log_prob, exact.logpmf(np.asarray(y)), rtol=1e-4, atol=2e-3)
    # The predictive is of a normal of the same spread, whose mean is that of the latent number.
    mean, variance = (jnp.full((3, 1), part) for part in (odds, 1e-6))
    drawn = likelihood.predictive(mean, variance, side[:1], {"scatter": jnp.full(3, np.log(scatter))}, jnp.zeros(3))
    assert float(drawn.mean[0, 0]) == pytest.approx(exact.mean(), rel=0.01)
    assert float(drawn.std[0, 0]) == pytest.approx(exact.std(), rel=0.06)
    found = np.asarray([drawn.cdf(jnp.full((1, 1), level))[0, 0] for level in exact.ppf([0.1, 0.5, 0.9])])
    np.testing.assert_allclose(found, exact.cdf(exact.ppf([0.1, 0.5, 0.9])), atol=0.03)
    slope, weight = likelihood.slopes(jnp.full(trials + 1, odds), y, side, scales)
    # The variance of the slope over outcomes is the information.
    share = np.exp(np.asarray(log_prob))
    assert float(weight[0]) == pytest.approx(float((share * np.asarray(slope) ** 2).sum()), rel=0.15)


def test_levels_are_the_differences_of_a_logistic_distribution():
    levels = Ordered(jnp.array([[-1.0, 0.5, 2.0], [3.0, 4.0, 5.0]]))
    known = np.diff(expit(np.array([[-np.inf, -1.0, 0.5, 2.0, np.inf], [-np.inf, 3.0, 4.0, 5.0, np.inf]])), axis=1)
    np.testing.assert_allclose(levels.probabilities, known, rtol=1e-4)
    np.testing.assert_allclose(levels.mean[:, 0], known @ np.arange(4), rtol=1e-4)
    np.testing.assert_allclose(levels.variance[:, 0], known @ np.arange(4) ** 2 - (known @ np.arange(4)) ** 2, rtol=1e-3)
    for y in range(4):
        column = jnp.full((2, 1), float(y))
        np.testing.assert_allclose(levels.log_prob(column), np.log(known[:, y]), rtol=1e-4)
        np.testing.assert_allclose(levels.cdf(column)[:, 0], known[:, : y + 1].sum(1), rtol=1e-4)
        np.testing.assert_allclose(levels.survival(column)[:, 0], known[:, y + 1 :].sum(1), atol=1e-6)
    assert (levels.log_prob(jnp.array([[0.5], [4.0]])) == -jnp.inf).all()
    mixed = DiscreteMixture(jnp.zeros(2), Ordered(jnp.stack([levels.cuts, levels.cuts + 1])))
    drawn = mixed.sample(KEY, (4000,))
    np.testing.assert_allclose([(drawn == level).mean(0)[:, 0] for level in range(4)], level_shares(mixed).T, atol=0.03)
    np.testing.assert_allclose(level_shares(mixed).sum(1), 1, rtol=1e-5)


def test_levels_have_the_slopes_that_they_say_and_the_cuts_of_all_outcomes():
    likelihood = cuts_of(np.array([0, 0, 1, 2, 3, 3, 3]), 4)
    scales = {"gaps": jnp.asarray(likelihood.priors["gaps"][0], jnp.float32)}
    latent, y = jnp.array([-1.0, 0.3, 2.0, 0.0]), jnp.array([0.0, 1.0, 2.0, 3.0])
    of = lambda at: likelihood.log_prob(at, y, 0.0, scales).sum()  # noqa: E731
    slope, weight = likelihood.slopes(latent, y, 0.0, scales)
    np.testing.assert_allclose(slope, jax.grad(of)(latent), atol=1e-5)
    np.testing.assert_allclose(weight, -jnp.diagonal(jax.hessian(of)(latent)), atol=1e-5)
    every = [likelihood.log_prob(latent, jnp.full(4, float(level)), 0.0, scales) for level in range(4)]
    np.testing.assert_allclose(jnp.exp(jnp.stack(every)).sum(0), 1, rtol=1e-5)
    # Half an outcome of each level is added, so that none is impossible.
    shares = np.diff([0, *expit(np.array(likelihood.cuts)), 1])
    np.testing.assert_allclose(shares, (np.array([2, 1, 1, 3]) + 0.5) / 9, rtol=1e-6)


def told(name, tasks, rows, seed=0):
    """Inputs and outcomes of tasks that differ by a constant of deviation 0.9 around a common line of slope 0.7."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tasks, rows, 1))
    latent = 0.4 + 0.7 * x[..., 0] + 0.9 * rng.normal(size=(tasks, 1))
    side = np.log(np.random.default_rng(1).integers(1, 30, latent.shape))
    if name == "yes-no":
        y = rng.random(latent.shape) < expit(latent)
    elif name == "binomial":
        y = rng.binomial(np.round(np.exp(side)).astype(int), expit(latent + 0.5 * rng.normal(size=latent.shape)))
    elif name == "censored":
        y = np.clip(latent + 0.4 * rng.normal(size=latent.shape), 0.0, 1.5)
        side = np.where(y == 0.0, -NO_END, np.where(y == 1.5, NO_END, 0.0))
    elif name == "student-t":
        y = latent + 0.3 * rng.standard_t(3, latent.shape)
    elif name == "gamma":
        y = np.exp(latent) * rng.gamma(4.0, 0.25, latent.shape)
    else:
        rate = np.exp(latent) * (rng.gamma(4.0, 0.25, latent.shape) if name == "count" else 1)
        y = rng.poisson(rate)
    x = np.concatenate([x, side[..., None]], -1) if name in ("binomial", "censored") else x
    return Data(x.astype("f"), y[..., None].astype("f"), np.ones((tasks, rows), "f"))


def layout(rows):
    return fit_basis(rows.x[..., 0].reshape(-1, 1), np.repeat(np.arange(len(rows.mask)), rows.mask.shape[1]))


NEW = [pytest.param(name, marks=pytest.mark.costly) for name in ("binomial", "censored")]


@pytest.mark.parametrize("name", ["yes-no", "count", "student-t", "gamma", *NEW])
def test_the_evidence_of_a_support_is_that_of_quadrature(name):
    """One task whose constant alone is open: the integral over one number."""
    likelihood, rows = FAMILIES[name], told(name, 1, 6)
    learner = GeneralisedLearner(layout(rows)[0], likelihood, "constant", draws=1)
    meta = learner.init(KEY)
    meta = dataclasses.replace(meta, root=jnp.zeros_like(meta.root), centre=jnp.asarray(0.4))
    wide = {**meta.scales, "lines": jnp.full((1, 1), np.log(0.9))}
    meta = dataclasses.replace(meta, scales=wide)
    x, y, _ = (jnp.asarray(leaf[0]) for leaf in (rows.x, rows.y, rows.mask))
    support = Data(
        jnp.pad(x, ((0, 2), (0, 0)), constant_values=1e30), jnp.pad(y, ((0, 2), (0, 0))), jnp.array([1.0] * 6 + [0] * 2)
    )

    @jit
    def weighed(meta, support):
        posterior, evidence = learner.weigh(meta, support, key=KEY)
        return evidence, posterior.predict(x[:1]).mean[0, 0]

    evidence, predicted = weighed(meta, support)
    scales = {key: value[0] for key, value in meta.scales.items()}

    def log_prob(latent):
        side = x[:, 1][None] if x.shape[1] > 1 else jnp.zeros((1, 6))
        each = likelihood.log_prob(jnp.asarray(latent)[:, None], y[:, 0][None], side, scales)
        return np.asarray(each, np.float64).sum(1)

    # A density that is not concave is farther from a normal.
    assert float(evidence) == pytest.approx(over_normal(log_prob, 0.4, 0.81), abs=0.05 if likelihood.CONCAVE else 0.1)
    # The predicted mean is that of the exact posterior.
    z = np.linspace(-6, 6, 2001)
    weight = np.exp(log_prob(0.4 + 0.9 * z) + stats.norm.logpdf(z))
    side = float(x[0, 1]) if x.shape[1] > 1 else 0.0
    exact = (weight * np.asarray(likelihood.expected(jnp.asarray(0.4 + 0.9 * z), side, scales))).sum() / weight.sum()
    assert float(predicted) == pytest.approx(exact, rel=0.04)


COSTLY_SLOPES = [pytest.param(name, marks=pytest.mark.costly) for name in ("count", "gamma")] + NEW


@pytest.mark.parametrize("name", ["yes-no", "student-t", *COSTLY_SLOPES])
def test_the_joint_evidence_has_the_slope_and_the_curvature_that_it_says(name):
    rows, likelihood = told(name, 5, 6), FAMILIES[name]
    basis, knots = layout(rows)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (knots, rows))
        joint = JointLaplace(basis, wide[0], "lines", likelihood, wide[1], 0.3)
        fold, y = jnp.array([1.0, 1, 1, 1, 0]), wide[1].y[..., 0]
        flat = np.asarray(joint.start) + 0.1
        _, slope = joint.value_and_grad(jnp.asarray(flat), fold, y)
        for place in range(len(flat)):
            step = 1e-4 * (np.arange(len(flat)) == place)
            above, below = (float(joint.value_and_grad(jnp.asarray(flat + s * step), fold, y)[0]) for s in (1, -1))
            # The mode is found to a tolerance, which the difference of two nearly equal values enlarges.
            assert float(slope[place]) == pytest.approx((above - below) / 2e-4, abs=5e-4)
        # A task that is not seen changes nothing.
        densities = [float(joint.densities(jnp.asarray(flat)[None], fold, seen)[0]) for seen in (y, y.at[4].set(1.0))]
        assert densities[0] == pytest.approx(densities[1], abs=1e-8)


COSTLY = [pytest.param(name, marks=pytest.mark.costly) for name in ("student-t", "count", "gamma", "binomial", "censored")]


@pytest.mark.parametrize("name", ["yes-no", *COSTLY])
def test_many_tasks_tell_the_scales(name):
    rows = told(name, 150, 12)
    basis, knots = layout(rows)
    learner = GeneralisedLearner(basis, FAMILIES[name], "constant", draws=8)
    meta = fit_generalised(learner, knots, rows, np.ones((1, 150), bool))
    weights = np.asarray(jax.nn.softmax(meta.log_weights[0]))
    assert np.exp(weights @ np.asarray(meta.scales["lines"][0, :, 0])) == pytest.approx(0.9, rel=0.2)
    own = {name: ("scatter", 0.5) for name in ("count", "gamma", "binomial")}
    own |= {"student-t": ("noise", 0.3), "censored": ("noise", 0.4)}
    if name in own:
        assert np.exp(weights @ np.asarray(meta.scales[own[name][0]][0])) == pytest.approx(own[name][1], rel=0.15)
    mean = weights @ np.asarray(meta.mean[0])
    assert mean[1] == pytest.approx(0.7, abs=0.12)
    assert float(meta.centre[0]) + mean[0] == pytest.approx(0.4, abs=0.25)
    # Yes at one input: after five times yes and after five times no.
    one, width = jax.tree.map(lambda leaf: leaf[0], meta), rows.x.shape[-1]
    said = [
        float(
            learner.adapt(one, Data(jnp.zeros((5, width)), jnp.full((5, 1), y), jnp.ones(5)))
            .predict(jnp.zeros((1, width)))
            .mean[0, 0]
        )
        for y in (0.0, 1.0)
    ]
    assert said[0] < said[1]


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
