"""Families of outcomes: predictives and evidences against quadrature, and fits against known truths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy import stats
from scipy.special import expit, logsumexp

from bmaml.data import Data
from bmaml.estimators.stacking.coefficient_draws import fit_generalised
from bmaml.learners.generalised import ClassesLearner, GeneralisedLearner, JointLaplace
from bmaml.learners.generalised import scales as of_scales
from bmaml.learners.generalised.classes import shares_of, steps_of
from bmaml.learners.hierarchical import fit_basis
from bmaml.likelihoods import (
    BernoulliLikelihood,
    BinomialLikelihood,
    CensoredLikelihood,
    GammaLikelihood,
    KnownErrorLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentLikelihood,
    WeightedLikelihood,
)
from bmaml.likelihoods.censored import NOWHERE

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
    of = lambda at: likelihood.log_prob(at, y, side, scales).sum()  # noqa: E731
    log_prob, (slope, weight), gradient = jit(
        lambda at: (likelihood.log_prob(at, y, side, scales), likelihood.slopes(at, y, side, scales), jax.grad(of)(at))
    )(latent)
    np.testing.assert_allclose(log_prob, EXACT[name](np.asarray(y), np.asarray(latent), np.asarray(side)), rtol=1e-5)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5)
    if likelihood.CONCAVE:
        curve = lambda at: jnp.diagonal(jax.hessian(of)(at))  # noqa: E731
        third, bend, by_jax = jit(
            lambda at: (likelihood.third(at, y, side, scales), jax.grad(lambda at: curve(at).sum())(at), curve(at))
        )(latent)
        np.testing.assert_allclose(third, bend, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(weight, -by_jax, rtol=1e-5)
    else:  # The mean over outcomes.

        @jit
        def bends(key):
            one_by_one = {k: v[None] for k, v in scales.items()}
            drawn = likelihood.predictive(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1), one_by_one, jnp.zeros(1))
            many = drawn.sample(key, (20_000,))[:, 0, 0]
            return jax.vmap(lambda one: jax.hessian(lambda at: likelihood.log_prob(at, one, 0.0, scales))(0.0))(many)

        assert -np.mean(bends(KEY)) == pytest.approx(float(weight[0]), rel=0.05)


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
        side = np.where(y == 0.0, -NOWHERE, np.where(y == 1.5, NOWHERE, 0.0))
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
    learner = GeneralisedLearner(layout(rows)[0], likelihood, "constant", draws=1, point="mean")
    meta = jit(learner.init)(KEY)
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

    @jit
    def each(latent):
        side = x[:, 1][None] if x.shape[1] > 1 else jnp.zeros((1, 6))
        return likelihood.log_prob(latent[:, None], y[:, 0][None], side, scales)

    def log_prob(latent):
        return np.asarray(each(jnp.asarray(latent)), np.float64).sum(1)

    # A density that is not concave is farther from a normal.
    assert float(evidence) == pytest.approx(over_normal(log_prob, 0.4, 0.81), abs=0.05 if likelihood.CONCAVE else 0.1)
    # The predicted mean is that of the exact posterior.
    z = np.linspace(-6, 6, 2001)
    weight = np.exp(log_prob(0.4 + 0.9 * z) + stats.norm.logpdf(z))
    side = float(x[0, 1]) if x.shape[1] > 1 else 0.0
    exact = (weight * np.asarray(likelihood.expected(jnp.asarray(0.4 + 0.9 * z), side, scales))).sum() / weight.sum()
    assert float(predicted) == pytest.approx(exact, rel=0.01 if likelihood.CONCAVE else 0.04)


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

    @jit
    def mean_after(y):
        given = Data(jnp.zeros((5, width)), jnp.full((5, 1), y), jnp.ones(5))
        return learner.adapt(one, given).predict(jnp.zeros((1, width))).mean[0, 0]

    assert mean_after(0.0) < mean_after(1.0)


@pytest.mark.parametrize("rows", [2, 6])
def test_what_tasks_share_is_not_drawn_to_even_odds_by_few_rows_of_yes_or_no(rows):
    """An input of tasks, and tasks that differ widely: the exact mean of what is shared, by quadrature over tasks."""
    rng, likelihood, deviation = np.random.default_rng(0), BernoulliLikelihood(), 1.5
    kind, own = rng.normal(size=(60, 1)), deviation * rng.normal(size=(60, 1))
    y = (rng.random((60, rows)) < expit(2 + kind + own)).astype(float)
    x = np.repeat(kind, rows, 1)[..., None]
    basis, knots = fit_basis(x.reshape(-1, 1), np.repeat(np.arange(60), rows))
    centre = float(np.log(y.mean() / (1 - y.mean())))
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (knots, Data(x, y[..., None], np.ones_like(y)))
        )
        joint = JointLaplace(basis, wide[0], "constant", likelihood, wide[1], centre)
        scales = joint.unravel(joint.start) | {"lines": jnp.log(jnp.array([deviation]))}
        flat = jax.flatten_util.ravel_pytree(scales)[0]
        mean, _ = joint.shared(flat[None], jnp.ones(60), wide[1].y[..., 0])
        functions, width = np.asarray(basis.mean(wide[0], jnp.asarray(x[:, 0]))), np.asarray(of_scales.widths(basis, scales))
    z, weights = np.polynomial.hermite_e.hermegauss(40)
    places = np.stack(np.meshgrid(np.linspace(-2, 3, 51), np.linspace(-1, 3, 41), indexing="ij"), -1).reshape(-1, 2)
    latent = centre + places @ functions.T
    each = expit(np.where(y[..., None, None] > 0, 1, -1) * (latent.T[:, None, :, None] + deviation * z))
    density = np.log(each.prod(1) @ (weights / weights.sum())).sum(0) - 0.5 * ((places / width) ** 2).sum(1)
    exact = np.exp(density - logsumexp(density)) @ places
    np.testing.assert_allclose(np.asarray(mean[0]), exact, atol=0.08)


def test_a_chain_of_questions_is_the_probability_of_each_class():
    order, share = (2, 0, 1), np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    yes = np.array([[0.5, 0.0], [0.4, 0.0]])
    np.testing.assert_allclose(shares_of(jnp.asarray(yes), order), share, atol=1e-6)
    asked = steps_of(jnp.asarray(share), order)
    np.testing.assert_allclose(asked.y, yes, atol=1e-6)
    np.testing.assert_allclose(asked.left, [[1, 1], [0.5, 1]], atol=1e-6)


def test_classes_are_integrated_over_what_is_not_known():
    """One task whose constants alone are open: the integrals over two numbers, one for each question."""
    order, classes = (1, 0, 2), np.array([1, 1, 0, 2, 1, 0])
    inner = GeneralisedLearner(
        fit_basis(np.zeros((6, 1)), np.arange(6) // 3)[0], BernoulliLikelihood(), "constant", draws=1, point="mean"
    )
    learner = ClassesLearner(inner, order)
    meta = jit(learner.init)(KEY)
    wide = {**meta.scales, "lines": jnp.full((2, 1, 1), np.log(0.9))}
    meta = dataclasses.replace(meta, root=jnp.zeros_like(meta.root), centre=jnp.array([0.4, -0.3]), scales=wide)
    y = np.pad(np.eye(3)[classes], ((0, 2), (0, 0)))
    support = Data(jnp.zeros((8, 1)), jnp.asarray(y, jnp.float32), jnp.array([1.0] * 6 + [0] * 2))

    @jit
    def weighed(meta, support):
        posterior, evidence = learner.weigh(meta, support, key=KEY)
        drawn = posterior.sample_functions(support.x[:1], key=KEY, count=2000)
        return evidence, posterior.predict(support.x[:1]), drawn[:, 0], posterior.noise_entropy(support.x[:1])

    evidence, said, drawn, noise = weighed(meta, support)
    # The first question has 3 of 6 yes, the second 2 of the other 3.
    z = np.linspace(-7, 7, 4001)
    total, yes, entropy = 0.0, [], []
    for centre, (right, wrong) in zip((0.4, -0.3), ((3, 3), (2, 1)), strict=True):
        p = expit(centre + 0.9 * z)
        weight = stats.norm.pdf(z) * (z[1] - z[0]) * p**right * (1 - p) ** wrong
        total += np.log(weight.sum())
        yes.append((weight @ p) / weight.sum())
        entropy.append(weight @ -(p * np.log(p) + (1 - p) * np.log1p(-p)) / weight.sum())
    assert float(evidence) == pytest.approx(total, abs=0.05)
    exact = np.array([(1 - yes[0]) * yes[1], yes[0], (1 - yes[0]) * (1 - yes[1])])
    np.testing.assert_allclose(said.mean[0], exact, atol=0.01)
    np.testing.assert_allclose(drawn.mean(0), exact, atol=0.02)
    np.testing.assert_allclose(drawn.sum(1), 1, atol=1e-5)
    assert float(noise[0]) == pytest.approx(entropy[0] + (1 - yes[0]) * entropy[1], abs=0.01)
    assert float(said.entropy()[0]) > float(noise[0])
    np.testing.assert_allclose(said.log_prob(jnp.eye(3)[:1]), np.log(exact[0]), atol=0.03)
