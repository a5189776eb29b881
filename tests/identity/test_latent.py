"""Latent learners against closed forms: Gaussian divergence, MAML as a limit, the conjugate posterior and its evidence."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CLASSES, MODEL, is_one_sentence, jit, labelled, points, task

from bmaml.data import Task
from bmaml.distributions import Normal
from bmaml.inference.adjoints import Implicit
from bmaml.inference.directions import Langevin, Stein
from bmaml.inference.priors import AroundInit
from bmaml.learners import AbmlLearner, GradientLearner, Laplace, LearnedRates, PlatipusLearner, Sgd
from bmaml.learners.diagonal import DiagonalGaussian
from bmaml.learners.gradient import GradientMeta
from bmaml.learners.noise import ResidualNoise
from bmaml.learners.rules import Scaled
from bmaml.models import AbstractModel
from bmaml.models.base import log_likelihood, squared_error
from bmaml.objectives import Elbo, QueryLoss

KEY = jax.random.key(3)
NOISE = 0.3


class Line(AbstractModel):
    """y ~ N(w x + b, 0.3^2): a model whose posterior is known."""

    def init(self, key):
        return {"w": jnp.zeros(()), "b": jnp.zeros(())}

    def predictive(self, params, x):
        return Normal(params["w"] * x + params["b"], jnp.full((1, 1), NOISE))

    def weights(self, params):
        return params

    def log_precision(self, params):
        return None


def test_kl_agrees_with_monte_carlo(x64):
    def gaussian(seed):
        rng = np.random.default_rng(seed)
        draw = [{"a": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=4))} for _ in range(2)]
        return DiagonalGaussian(*draw)

    q, p = gaussian(0), gaussian(1)
    ratio = jit(jax.vmap(lambda k: (z := q.sample(k)) and q.log_prob(z) - p.log_prob(z)))(jax.random.split(KEY, 20_000))
    assert abs(float(q.kl(p)) - ratio.mean()) < 4 * ratio.std() / 20_000**0.5
    assert float(q.kl(q)) == 0.0


@pytest.mark.parametrize(("model", "kind", "fit"), [(MODEL, points, "squared_error"), (CLASSES, labelled, "mean")])
def test_platipus_without_variance_is_maml(model, kind, fit, x64):
    """Variances of 1e-24 and both gammas 0: the bound is MAML's NLL of the query, and so is its gradient in mu."""
    inner = GradientLearner(model, rule=Sgd(0.05), steps=2, fit=fit)
    learner, one = PlatipusLearner(inner, gamma=0.0, std=1e-12), task(kind=kind)
    meta = jit(learner.init)(KEY)

    def bound(mean):
        return Elbo(samples=2)(learner, eqx.tree_at(lambda m: m.mean, meta, mean), one, key=KEY)[0]

    def maml(mean):
        start = GradientMeta(jax.tree.map(lambda leaf: leaf[None], mean), None)
        return QueryLoss("each")(inner, start, one, key=KEY)[0]

    (found, slope), (wanted, true_slope) = (jit(jax.value_and_grad(f))(meta.mean) for f in (bound, maml))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(true_slope), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("fit", ["squared_error", "sum"])
def test_platipus_prior_and_guide_are_one_gradient_step_from_mu(fit, x64):
    """The prior's mean moves on the support with gamma_p, the guide's on the query with gamma_q; variances are the learned."""
    learner, one = PlatipusLearner(GradientLearner(MODEL, steps=3, fit=fit)), task()
    meta = dataclasses.replace(jit(learner.init)(KEY), prior_rate=jnp.asarray(0.03), guide_rate=jnp.asarray(0.2))

    def loss(mean, data):
        if fit == "sum":
            return -log_likelihood(MODEL, mean.params, data)
        return squared_error(MODEL.predictive(mean.params, data.x).mean, data)

    for found, rate, data in (
        (jit(learner.prior)(meta, one.support), 0.03, one.support),
        (jit(lambda m, t: learner.guide(m, t, key=KEY))(meta, one), 0.2, one.query),
    ):
        wanted = jax.tree.map(lambda m, g, rate=rate: m - rate * g, meta.mean, jax.grad(loss)(meta.mean, data))
        for a, b in zip(jax.tree.leaves(found.mean), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        assert bool(eqx.tree_equal(found.log_variance, meta.prior_log_variance))


def test_platipus_adapts_draws_of_its_prior(x64):
    """With variances and no inner steps the particles are N(prior mean, sigma^2), one from another independent."""
    learner = PlatipusLearner(GradientLearner(Line(), steps=0), particles=4000, std=0.5)
    meta, support = jit(learner.init)(KEY), task().support
    drawn = jit(lambda m, s: learner.adapt(m, s, key=KEY))(meta, support).params
    prior = learner.prior(meta, support)
    for name in ("w", "b"):
        assert abs(drawn[name].mean() - prior.mean.params[name]) < 4 * 0.5 / 4000**0.5
        assert abs(drawn[name].std() - 0.5) < 4 * 0.5 / 8000**0.5


def line_task():
    """Symmetric inputs, so that the posterior of slope and intercept has no correlation."""
    x = np.linspace(-1, 1, 6)[:, None]
    data = points(6, 0)
    return eqx.tree_at(lambda d: (d.x, d.y), data, (jnp.asarray(x), jnp.asarray(0.8 * x + 0.3)))


def test_abml_climbs_to_the_conjugate_posterior_and_the_bound_to_its_evidence(x64):
    """With a full inner KL and sums of nats the fitted q is the exact posterior, and minus the bound its log evidence."""
    inner = GradientLearner(Line(), rule=Sgd(5e-3), steps=1500)
    learner = AbmlLearner(inner, draws=64, inner_kl=1.0, std=0.5)
    meta, data = jit(learner.init)(KEY), line_task()
    q = jit(lambda m, s: learner.fitted(m, s, key=KEY))(meta, data)
    x, y, prior = np.asarray(data.x), np.asarray(data.y), 1 / 0.5**2
    for name, column in (("w", x), ("b", np.ones_like(x))):
        precision = prior + (column**2).sum() / NOISE**2
        mean = (column * y).sum() / NOISE**2 / precision
        np.testing.assert_allclose(jnp.exp(-q.log_variance.params[name]), precision, rtol=0.05)
        np.testing.assert_allclose(q.mean.params[name], mean, atol=0.1 * precision**-0.5)
    covariance = NOISE**2 * np.eye(6) + 0.25 * (x @ x.T + 1)
    evidence = -0.5 * (y.T @ np.linalg.solve(covariance, y)).item() - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    none = eqx.tree_at(lambda d: d.mask, data, jnp.zeros(6))
    bound = jit(lambda m, t: Elbo(samples=4000, scored="all")(learner, m, t, key=KEY)[0])(meta, Task(data, none))
    np.testing.assert_allclose(-6 * bound, evidence, atol=0.05)


def test_abml_hyper_prior_is_the_density_it_names(x64):
    learner = AbmlLearner(GradientLearner(Line()), std=0.5, shape=3.0, rate=2.0)
    meta = eqx.tree_at(lambda m: m.prior.mean.params["w"], jit(learner.init)(KEY), jnp.asarray(0.7))
    gamma = (3.0 - 1) * np.log(4.0) - 2.0 * 4.0
    np.testing.assert_allclose(learner.log_hyper_prior(meta), -0.5 * 0.7**2 + 2 * gamma, rtol=1e-12)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    "build",
    [
        lambda: PlatipusLearner(GradientLearner(MODEL, particles=2)),
        lambda: PlatipusLearner(GradientLearner(MODEL), particles=0),
        lambda: AbmlLearner(GradientLearner(MODEL), draws=0),
        lambda: AbmlLearner(GradientLearner(MODEL), std=0.0),
        lambda: Elbo(samples=0),
        lambda: Elbo(kl_weight=-1.0),
        lambda: Elbo(scored="support"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the sentence is checked below
        build()
    assert is_one_sentence(error.value), error.value


@pytest.mark.parametrize(
    "build",
    [
        lambda: PlatipusLearner(GradientLearner(MODEL, AroundInit(), adjoint=Implicit(), adapt_noise=False)),
        lambda: AbmlLearner(GradientLearner(MODEL, AroundInit(), adjoint=Implicit(), adapt_noise=False)),
        lambda: AbmlLearner(GradientLearner(MODEL, direction=Stein())),
        lambda: AbmlLearner(GradientLearner(MODEL, noise=ResidualNoise())),
        lambda: Laplace(GradientLearner(MODEL, noise=ResidualNoise())),
        lambda: GradientLearner(CLASSES, noise=ResidualNoise()),
        lambda: GradientLearner(MODEL, rule=Sgd(0.1), direction=Langevin(0.1), clip=1.0),
        lambda: GradientLearner(MODEL, AroundInit(), Scaled(LearnedRates(), 0.5), adjoint=Implicit(), adapt_noise=False),
    ],
)
def test_pieces_that_do_not_fit_together_are_refused(build):
    with pytest.raises(TypeError) as error:
        build()
    assert is_one_sentence(error.value), error.value
