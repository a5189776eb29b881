"""NUTS and HMC against densities and posteriors in closed form; what they then say of the other inferences."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmaml.data import data
from bmaml.errors import InputError
from bmaml.experiments import banana, posteriors
from bmaml.experiments.inferences import HiddenLayer, Size, inferences
from bmaml.experiments.one_task import OneTask, PriorTasks
from bmaml.experiments.posteriors import sample_truth, scores
from bmaml.inference.compiled import CompiledPosterior
from bmaml.inference.particles import flatten
from bmaml.inference.priors import AroundInit, GammaPrior, GaussianPrior, Particle
from bmaml.learners.mcmc import convergence, followed, hmc, log_posterior, nuts, task_posterior
from bmaml.models import MLP, GaussianModel
from bmaml.plots import posteriors as plot

pytest.importorskip("blackjax", reason="the reference sampler is an extra: pip install 'bmaml[mcmc]'")
KEY = jax.random.key(0)


# NUTS is held by the closed posterior below, too.
@pytest.mark.parametrize("sampler", [pytest.param(nuts, marks=pytest.mark.costly), hmc])
def test_moments_of_a_gaussian(sampler):
    """With about n effective draws a mean is off by 1 / sqrt(n) deviations; four of those are allowed.

    Draws that alternate about the mean are worth more than independent ones for it, and less for products.
    """
    mean, covariance = np.array([1.0, -2.0]), np.array([[1.0, -0.6], [-0.6, 2.0]])
    precision = jnp.asarray(np.linalg.inv(covariance), jnp.float32)
    starts = 3.0 * jax.random.normal(KEY, (4, 2))
    chains = sampler(lambda x: -0.5 * (x - mean) @ precision @ (x - mean), starts, warmup=300, draws=3500, key=KEY)
    well = convergence(chains.draws)
    assert well.r_hat.shape == (2,)
    assert (well.r_hat < 1.01).all()
    assert chains.divergences == 0
    off = banana.moment_errors(np.asarray(chains.pooled(), np.float64), mean, covariance)
    assert off[0] < 4 / np.sqrt(well.ess.min())
    apart = chains.draws - mean[None, None]
    products = convergence(jnp.stack([apart[..., 0] ** 2, apart[..., 1] ** 2, apart[..., 0] * apart[..., 1]], -1))
    assert off[1] < 8 / np.sqrt(products.ess.min())
    assert chains.pooled(every=7).shape == (2000, 2)


def test_a_linear_tasks_posterior_is_the_closed_one():
    """A network without a hidden layer is Bayesian linear regression: NUTS's predictive moments are the exact ones."""
    model = GaussianModel(MLP((1, 1)), precision=4.0, known=True)
    x, y = np.array([-1.0, 0.5, 2.0]), np.array([0.3, 0.1, -1.0])
    posterior, chains = task_posterior(model, GaussianPrior(0.5), data(x, y), warmup=300, draws=1000, key=KEY)
    basis, at = np.stack([x, np.ones(3)], 1), np.array([-3.0, 0.0, 1.0])
    covariance = np.linalg.inv(4 * basis.T @ basis + 0.5 * np.eye(2))
    asked = np.stack([at, np.ones(3)], 1)
    mean, variance = asked @ covariance @ (4 * basis.T @ y), (asked @ covariance * asked).sum(1)
    predictive = posterior.predict(jnp.asarray(at)[:, None])
    ess = float(convergence(followed(model, chains, jnp.asarray(at)[:, None])).ess.min())
    assert ess > 500
    np.testing.assert_allclose((predictive.mean[:, 0] - mean) / np.sqrt(variance), 0, atol=4 / np.sqrt(ess))
    np.testing.assert_allclose(predictive.variance[:, 0] - 0.25, variance, rtol=6 / np.sqrt(ess))


def test_a_posterior_may_have_hyper_parameters_and_an_anchor():
    model, support = GaussianModel(MLP((1, 2, 1), "tanh")), data([0.0, 1.0], [0.0, 1.0])
    posterior, chains = task_posterior(model, GammaPrior(), support, warmup=20, draws=10, key=KEY)
    assert posterior.predict(jnp.zeros((3, 1))).mean.shape == (3, 1)
    assert chains.draws.hyper["log_weight_precision"].shape == (4, 10)
    anchor = Particle(model.init(KEY), None)
    moved = Particle(jax.tree.map(lambda leaf: leaf + 1.0, anchor.params), None)
    around = log_posterior(model, AroundInit(2.0), support, anchor)
    flat = log_posterior(model, AroundInit(2.0), support, moved)
    np.testing.assert_allclose(flat(moved) - around(moved), 7.0, rtol=1e-5)


def test_convergence_tells_chains_that_agree_from_others(x64):
    rng = np.random.default_rng(0)
    alike = jnp.asarray(rng.normal(size=(4, 500)))
    well = convergence(alike)
    assert abs(well.r_hat - 1) < 0.01
    assert 1400 < well.ess < 2800
    assert convergence(alike + jnp.arange(4.0)[:, None]).r_hat > 1.3
    assert convergence(alike + jnp.linspace(0, 2, 500)[None]).r_hat > 1.1, "a drift within chains was not seen"


def test_what_makes_no_sense_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="give at least 20"):
        nuts(lambda x: -(x**2), jnp.zeros(2), warmup=3, key=KEY)
    with pytest.raises(ValueError, match="give at least 1"):
        hmc(lambda x: -(x**2), jnp.zeros(2), leapfrogs=0, key=KEY)
    model = GaussianModel(MLP((1, 1)))
    with pytest.raises(ValueError, match="give one, or GaussianPrior"):
        task_posterior(model, AroundInit(), data([0.0], [0.0]), key=KEY)
    with pytest.raises(ValueError, match="give at least 4"):
        convergence(jnp.zeros((4, 3)))
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(InputError, match=r"pip install 'bmaml\[mcmc\]'"):
        nuts(lambda x: -(x**2), jnp.zeros(2), key=KEY)


@pytest.mark.slow
@pytest.mark.optimised
@pytest.mark.costly
def test_on_a_five_point_task_nuts_judges_the_others():
    """SVGD's mean within 0.15 predictive deviations, its variance too small; exact heads agree with NUTS in both.

    The heads are importance sampling of the hidden layer with the output layer integrated out: the same posterior by
    another way, so that their agreement checks NUTS itself.
    """
    task = OneTask.draw()
    truth = sample_truth(task, 400, 400, seed=0)
    assert truth.report["r_hat_functions"] < 1.01
    assert truth.report["r_hat_log_density"] < 1.01
    size = Size(particles=(100,))
    rows = inferences(task, size)
    names = "SVGD, 100 particles", "conjugate heads, 5,000"
    made = {name: rows[name]()(jax.random.key(3)) for name in names}
    found = {name: scores(task, truth, posterior) for name, posterior in made.items()}
    error, _, variance, *_, discrepancy = found["SVGD, 100 particles"]
    assert error < 0.15
    assert variance > 0.3
    assert variance < 0.9
    # A run of a method answers by compiled programs, and its particles have a discrepancy, too.
    assert posteriors._ksd(task, CompiledPosterior(made["SVGD, 100 particles"], task.support)) == discrepancy
    error, _, variance, *_ = found["conjugate heads, 5,000"]
    assert error < 0.05
    assert abs(variance - 1) < 0.1


@pytest.mark.costly
@pytest.mark.slow
def test_the_comparison_has_a_row_for_every_inference(monkeypatch):
    """Two kinds of rows stand for all: particles, which have a Stein discrepancy, and a closed posterior, which has none."""
    task, said = OneTask.draw(), []
    size = Size(steps=20, particles=(2,))
    rows = inferences(task, size)
    some = {name: rows[name] for name in ("SVGD, 2 particles", "Laplace, 1 MAP")}
    monkeypatch.setattr(posteriors, "inferences", lambda *_, **__: some)
    numbers, curves, report = posteriors.run(task, size=size, warmup=20, draws=50, said=said.append)
    names = numbers.distinct("inference")
    assert names == [posteriors.TRUTH, "NUTS, 100 draws", *some] == curves.distinct("inference")
    assert len(said) == 1 + len(names)
    truth, _, svgd, laplace = numbers.where()
    assert (truth["mean_error"], truth["variance_ratio"]) == (0.0, 1.0)
    assert svgd["ksd"] > 0
    assert laplace["ksd"] is None
    assert all(np.isfinite(row["nll"]) for row in numbers.where())
    text = posteriors.to_markdown(numbers, report, "a heading")
    assert text.count("\n| ") == len(names) + 2
    assert "chains 4, draws 50" in text
    assert len(plot.draw(task, numbers, curves).axes) == 4


def test_heads_of_hidden_layers_are_the_network():
    """The features times output weights, and the prior's variance, are those of the network that NUTS samples."""
    task = OneTask.draw()
    params = {"weights": task.model.network.init(KEY)}
    first, last = params["weights"]
    code = jnp.concatenate([first["weight"][0], first["bias"]])
    features, _ = HiddenLayer(16).apply(None, task.grid, code)
    outputs = features @ jnp.concatenate([last["weight"], last["bias"][None]])
    np.testing.assert_allclose(outputs, task.model.predictive(params, task.grid).mean, atol=1e-5)


def test_prior_tasks_are_draws_of_the_prior():
    task = OneTask.draw()
    drawn = jax.jit(jax.vmap(PriorTasks(task).sample))(jax.random.split(KEY, 2000))
    assert drawn.support.x.shape == (2000, 5, 1)
    # Var f = (E sum of 16 tanh^2 + 1) / precision + noise^2, the first by draws of its own.
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, 100_000)
    hidden = np.tanh((x * rng.normal(size=100_000) + rng.normal(size=100_000)) / np.sqrt(task.precision))
    wanted = (16 * (hidden**2).mean() + 1) / task.precision + task.noise**2
    assert abs(float(drawn.query.y.var()) / wanted - 1) < 0.1
    assert flatten(drawn.query.y).shape == (2000, 15)
