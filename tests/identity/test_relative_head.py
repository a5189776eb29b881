"""Heads relative to the noise against Gaussians written out for every centre and every sigma, by NumPy and SciPy alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from scipy import stats
from scipy.special import logsumexp, softmax

from bmaml.learners.exact_heads import InverseGammaHead, RelativeHead, kernels

F, P, J, G = 4, 2, 3, 5  # features, outputs, centres, cells
HEAD = RelativeHead(J, G, span=0.7)


@pytest.fixture(autouse=True)
def exact(monkeypatch, x64):
    """Double precision, and no jitter on the kernel."""
    monkeypatch.setattr(kernels, "_JITTER", 0.0)


def random_prior(rng):
    """A prior with nothing where it starts."""
    start = HEAD.init(jax.random.key(0), F, P, 0.3)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.5 * rng.normal(size=leaf.shape)), start)


def rows(rng, count):
    """Features, log relative noise and targets."""
    return tuple(
        jnp.asarray(v) for v in (rng.normal(size=(count, F)), 0.5 * rng.normal(size=count), rng.normal(size=(count, P)))
    )


def joint(prior, features, log_noise, output):
    """For every (centre, cell): prior log weight, sigma, and mean and covariance of the targets of one output."""
    log_prior = np.log(softmax(prior.log_which))[:, None] + np.log(softmax(prior.log_share))
    kernel = (features * np.exp(prior.log_scale)[None]) @ features.T + np.diag(np.exp(prior.log_noise + log_noise))
    sigma = np.exp(prior.log_sigma[output] + np.linspace(-0.7, 0.7, G))
    means = np.asarray(features @ prior.centres[output].T).T
    return [(log_prior[j, g], s, s * means[j], s**2 * np.asarray(kernel)) for j in range(J) for g, s in enumerate(sigma)]


@jit
def predicted(head, features, log_noise):
    return head.predict(features, log_noise)


def conditioned(prior, features, log_noise, y, mask=None, head=HEAD):
    mask = jnp.ones(len(y)) if mask is None else mask
    return jit(head.condition)(prior, features, log_noise, y, mask)


def test_evidence_and_moments_are_those_of_the_gaussians_written_out():
    rng = np.random.default_rng(0)
    prior, support, query = random_prior(rng), rows(rng, 4), rows(rng, 3)
    head = conditioned(prior, *support)
    predictive = predicted(head, *query[:2])
    features, log_noise = (np.concatenate([a, b]) for a, b in zip(support[:2], query[:2], strict=True))
    evidence = 0.0
    for output in range(P):
        weights, means, squares = [], [], []
        for log_prior, _, mean, covariance in joint(prior, features, log_noise, output):
            weights.append(log_prior + stats.multivariate_normal(mean[:4], covariance[:4, :4]).logpdf(support[2][:, output]))
            gain = np.linalg.solve(covariance[:4, :4], covariance[:4, 4:]).T
            means.append(mean[4:] + gain @ (support[2][:, output] - mean[:4]))
            squares.append(np.diag(covariance[4:, 4:] - gain @ covariance[:4, 4:]) + means[-1] ** 2)
        evidence += float(logsumexp(weights))
        mean = softmax(weights) @ means
        np.testing.assert_allclose(predictive.mean[0, :, output], mean, rtol=1e-9)
        np.testing.assert_allclose(predictive.variance[0, :, output], softmax(weights) @ squares - mean**2, rtol=1e-9)
    np.testing.assert_allclose(head.log_evidence, evidence, rtol=1e-10)


def test_the_degrees_of_freedom_keep_what_is_known_of_sigma():
    """The inverse-gamma of b / a sigma^2 has E[sigma^2] E[1 / sigma^2] = a / (a - 1)."""
    rng = np.random.default_rng(1)
    prior, support = random_prior(rng), rows(rng, 4)
    df = conditioned(prior, *support).predict(*support[:2]).df[0, 0]
    for output in range(P):
        parts = joint(prior, *support[:2], output=output)
        weights = softmax([p + stats.multivariate_normal(m, c).logpdf(support[2][:, output]) for p, _, m, c in parts])
        square = np.asarray([s**2 for _, s, _, _ in parts])
        np.testing.assert_allclose(df[output] / (df[output] - 2), (weights @ square) * (weights @ (1 / square)), rtol=1e-9)


def test_one_centre_at_zero_with_an_inverse_gamma_on_the_cells_is_the_conjugate_head():
    """A fine grid of sigma sums to the integral that is closed there; and the predictive is its Student-t."""
    rng = np.random.default_rng(2)
    support, query = rows(rng, 5), rows(rng, 3)
    conjugate = InverseGammaHead().init(jax.random.key(0), F, P, 0.3)
    fine = RelativeHead(1, 2000, span=8.0)
    log_sigma = np.linspace(-8, 8, 2000)
    a, b = float(conjugate.a[0]), float(jnp.exp(conjugate.log_b[0, 0]))
    prior = fine.init(jax.random.key(0), F, P, 0.3)
    prior = type(prior)(
        prior.centres,
        prior.log_scale,
        prior.log_noise,
        prior.log_sigma,
        jnp.asarray(-2 * a * log_sigma - b * np.exp(-2 * log_sigma)),
        prior.log_which,
    )
    closed, summed = (conditioned(p, *support, head=h) for p, h in ((conjugate, InverseGammaHead()), (prior, fine)))
    np.testing.assert_allclose(summed.log_evidence, closed.log_evidence, rtol=1e-9)
    wanted, found = (predicted(head, *query[:2]) for head in (closed, summed))
    np.testing.assert_allclose(found.df[0, 0], jnp.broadcast_to(wanted.df[0, 0], (P,)), rtol=1e-8)
    np.testing.assert_allclose(found.log_prob(query[2]), wanted.log_prob(query[2]), rtol=1e-8)


def test_the_size_of_what_is_seen_tells_the_noise():
    """Weights of size 1 in any direction of a plane, noise a hundredth: one wave seen at 3 points fixes sigma to a fifth.

    A Gaussian of the same second moments leaves it open by several times that.
    """
    angle = 2 * np.pi * np.arange(16) / 16
    x = np.array([-1.0, 0.4, 2.0])
    features = jnp.asarray(np.stack([np.sin(x), np.cos(x)], 1))
    y = jnp.asarray(2.5 * np.sin(x + 1.0)[:, None])

    def spread(centres, scale):
        head = RelativeHead(len(centres), 200)
        start = head.init(jax.random.key(0), 2, 1, 1e-4)
        prior = type(start)(jnp.asarray(centres)[None], jnp.log(jnp.full(2, scale)), *list(jax.tree.leaves(start))[2:])
        found = conditioned(prior, features, jnp.zeros(3), y, head=head)
        weights = jax.nn.softmax(found.log_weights[0].ravel()).reshape(found.log_weights[0].shape).sum(0)
        mean = weights @ jnp.log(found.sigma[0])
        return float(jnp.exp(mean)), float(jnp.sqrt(weights @ (jnp.log(found.sigma[0]) - mean) ** 2))

    ring = spread(np.stack([np.cos(angle), np.sin(angle)], 1), 0.15**2)
    gauss = spread(np.zeros((1, 2)), 0.5)
    assert abs(np.log(ring[0] / 2.5)) < 0.1
    assert ring[1] < 0.2
    assert gauss[1] > 2.5 * ring[1]


def test_masked_rows_change_nothing():
    rng = np.random.default_rng(3)
    prior, support, query = random_prior(rng), rows(rng, 5), rows(rng, 2)
    whole = conditioned(prior, *(leaf[:3] for leaf in support))
    padded = conditioned(prior, *support, mask=jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(padded.log_evidence, whole.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(padded.predict(*query[:2]).mean, whole.predict(*query[:2]).mean, rtol=1e-10)


def test_drawn_weights_have_the_predictive_s_moments():
    """20,000 draws: means within six standard errors, variances to 6%."""
    rng, count = np.random.default_rng(4), 20_000
    prior, support, query = random_prior(rng), rows(rng, 3), rows(rng, 3)
    head = conditioned(prior, *support)
    draws = query[0] @ np.asarray(jit(jax.vmap(head.sample_weights))(jax.random.split(jax.random.key(5), count)))
    # The predictive less its own noise, whose variance is E[sigma^2] n.
    predictive, weights = head.predict(*query[:2]), jax.nn.softmax(head.log_weights, axis=(-2, -1))
    noise = jnp.exp(prior.log_noise + query[1])[:, None] * jnp.einsum("ojg,og->o", weights, head.sigma**2)[None]
    variance = predictive.variance[0] - noise
    assert (np.abs(draws.mean(0) - predictive.mean[0]) < 6 * np.sqrt(variance / count)).all()
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.06)


@pytest.mark.parametrize("options", [{"centres": 0}, {"cells": 1}, {"span": 0.0}])
def test_heads_without_centres_cells_or_span_are_refused(options):
    with pytest.raises(ValueError, match="give at least 1"):
        RelativeHead(**options)


def test_a_support_of_no_rows_leaves_the_prior():
    rng = np.random.default_rng(8)
    prior, query = random_prior(rng), rows(rng, 3)
    none = conditioned(prior, jnp.zeros((0, F)), jnp.zeros(0), jnp.zeros((0, P)))
    masked = conditioned(prior, *rows(rng, 2), mask=jnp.zeros(2))
    np.testing.assert_allclose(none.log_evidence, 0.0, atol=1e-12)
    for one, other in zip(*(jax.tree.leaves(predicted(head, *query[:2])) for head in (none, masked)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
