"""Exact heads against Bayesian linear regression in weight space (normal-inverse-gamma), by NumPy and SciPy alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEATURES, jit, points
from scipy import stats
from scipy.special import gammaln, logsumexp, softmax

from bmaml.data import Data
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners import ConjugateLearner, conjugate
from bmaml.learners.codes import draw_codes, thin
from bmaml.learners.exact_heads import InverseGammaHead, kernels
from bmaml.learners.exact_heads.inverse_gamma import InverseGammaPrior
from bmaml.models import MLPFeatures

KEY = jax.random.key(11)
F, P = 4, 2  # features, outputs
HEAD = InverseGammaHead()


@pytest.fixture(autouse=True)
def exact(monkeypatch, x64):
    """Double precision, and no jitter on the kernel (its effect has a test of its own)."""
    monkeypatch.setattr(kernels, "_JITTER", 0.0)


def random_prior(rng, experts=(), scales=1):
    """A head prior with nothing at its default."""
    return InverseGammaPrior(
        mean=jnp.asarray(rng.normal(size=(*experts, F, P))),
        log_scale=jnp.asarray(rng.normal(size=(*experts, F))),
        log_noise=jnp.asarray(rng.normal(size=experts) - 1),
        raw_a=jnp.asarray(rng.normal(size=(*experts, scales))),
        log_b=jnp.asarray(rng.normal(size=(*experts, scales, P))),
        log_share=jnp.asarray(rng.normal(size=(*experts, scales))),
    )


def random_rows(rng, count):
    """Features, log relative noise and targets."""
    return rng.normal(size=(count, F)), 0.5 * rng.normal(size=count), rng.normal(size=(count, P))


class WeightSpace:
    """The posterior over (weights, noise variance) of one output, and what follows from it."""

    def __init__(self, prior, features, log_noise, y, output, part=0):
        self.noise = float(np.exp(prior.log_noise))
        n = self.noise * np.exp(log_noise)
        mean, scale = np.asarray(prior.mean)[:, output], np.exp(np.asarray(prior.log_scale))
        a, b = float(prior.a[part]), float(np.exp(prior.log_b[part, output]))
        precision = np.diag(1 / scale) + features.T @ (features / n[:, None])
        self.mean = np.linalg.solve(precision, mean / scale + features.T @ (y[:, output] / n))
        self.covariance = np.linalg.inv(precision)
        self.a = a + len(n) / 2
        squares = (y[:, output] ** 2 / n).sum() + (mean**2 / scale).sum() - self.mean @ precision @ self.mean
        self.b = b + squares / 2
        log_det = np.log(n).sum() + np.log(scale).sum() + np.linalg.slogdet(precision)[1]
        ratio = a * np.log(b) - self.a * np.log(self.b) + gammaln(self.a) - gammaln(a)
        self.log_evidence = ratio - 0.5 * log_det - 0.5 * len(n) * np.log(2 * np.pi)

    def predictive(self, features, log_noise):
        variance = np.einsum("nf,fg,ng->n", features, self.covariance, features) + self.noise * np.exp(log_noise)
        return stats.t(2 * self.a, features @ self.mean, np.sqrt(variance * self.b / self.a))


def conditioned(prior, features, log_noise, y, mask=None, function=HEAD.condition):
    mask = np.ones(len(y)) if mask is None else mask
    return jit(function)(prior, *(jnp.asarray(v) for v in (features, log_noise, y, mask)))


def first_scale(predictive):
    """The component of the first scale, of priors that have one only."""
    return jax.tree.map(lambda leaf: leaf[0], predictive)


def test_evidence_is_that_of_weight_space_and_of_the_multivariate_t():
    rng = np.random.default_rng(0)
    prior, rows = random_prior(rng), random_rows(rng, 7)
    found = conditioned(prior, *rows).log_evidence
    wanted = sum(WeightSpace(prior, *rows, output).log_evidence for output in range(P))
    np.testing.assert_allclose(found, wanted, rtol=1e-11)
    features, log_noise, y = rows
    noise = np.diag(np.exp(np.asarray(prior.log_noise) + log_noise))
    kernel = features @ np.diag(np.exp(prior.log_scale)) @ features.T + noise
    direct = 0.0
    for output in range(P):
        shape = kernel * float(np.exp(prior.log_b[0, output]) / prior.a[0])
        direct += stats.multivariate_t.logpdf(y[:, output], features @ prior.mean[:, output], shape, df=2 * float(prior.a[0]))
    np.testing.assert_allclose(found, direct, rtol=1e-11)


@pytest.mark.parametrize("count", [0, 2, 7, 11], ids=["no support", "fewer points than features", "more", "many more"])
def test_predictive_is_that_of_weight_space(count):
    rng = np.random.default_rng(1)
    prior, rows, (features, log_noise, y) = random_prior(rng), random_rows(rng, count), random_rows(rng, 5)
    head = conditioned(prior, *rows) if count else conditioned(prior, *random_rows(rng, 1), mask=np.zeros(1))
    found = jit(lambda h, f, n: first_scale(h.predict(f, n)))(head, jnp.asarray(features), jnp.asarray(log_noise))
    wanted = [WeightSpace(prior, *rows, output).predictive(features, log_noise) for output in range(P)]
    np.testing.assert_allclose(found.mean, np.stack([t.mean() for t in wanted], 1), rtol=1e-10)
    np.testing.assert_allclose(found.std, np.stack([t.std() for t in wanted], 1), rtol=1e-10)
    each = sum(t.logpdf(y[:, output]) for output, t in enumerate(wanted))
    np.testing.assert_allclose(found.log_prob(jnp.asarray(y)), each, rtol=1e-10)


def test_evidence_obeys_the_chain_rule():
    """p(D1 u D2) = p(D1) times the predictive of D2's points one at a time."""
    rng = np.random.default_rng(2)
    prior, rows, first = random_prior(rng), random_rows(rng, 6), 2
    total = conditioned(prior, *(v[:first] for v in rows)).log_evidence
    predict = jit(lambda h, f, n, y: h.predict(f, n).log_prob(y)[0, 0])
    for i in range(first, 6):
        # The mask hides what has not been seen yet, so that one program serves all steps.
        head = conditioned(prior, *rows, mask=(np.arange(6) < i).astype(float))
        total += predict(head, *(jnp.asarray(v[i : i + 1]) for v in rows))
    np.testing.assert_allclose(total, conditioned(prior, *rows).log_evidence, rtol=1e-11)


def test_masked_rows_are_as_good_as_absent():
    rng = np.random.default_rng(3)
    prior, rows, (ask, ask_noise, _) = random_prior(rng), random_rows(rng, 6), random_rows(rng, 3)
    mask = np.array([1.0, 0, 1, 1, 0, 1])
    garbage = [np.where(mask.reshape(-1, *[1] * (v.ndim - 1)) > 0, v, 1e3) for v in rows]
    whole, part = conditioned(prior, *garbage, mask=mask), conditioned(prior, *(v[mask > 0] for v in rows))
    np.testing.assert_allclose(whole.log_evidence, part.log_evidence, rtol=1e-11)
    for a, b in zip(
        *(jax.tree.leaves(h.predict(jnp.asarray(ask), jnp.asarray(ask_noise))) for h in (whole, part)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_jitter_is_worth_a_relative_noise_of_three_in_a_hundred_thousand(monkeypatch):
    """With it, a head is the exact posterior for the noise raised by 3e-5 of the kernel's mean diagonal; in float64 by less."""
    rng = np.random.default_rng(4)
    prior, (features, _, y) = random_prior(rng), random_rows(rng, 6)
    added = 3e-5 * (features**2 @ np.exp(np.asarray(prior.log_scale))).mean()
    monkeypatch.setattr(kernels, "_JITTER", 3e-5)
    assert kernels._relative(np.dtype("float32")) == 3e-5
    assert kernels._relative(np.dtype("float64")) < 1e-13
    monkeypatch.setattr(kernels, "_relative", lambda dtype: 3e-5)
    # A function of its own, for programs are kept by function and the others were traced without jitter.
    found = conditioned(prior, features, np.zeros(6), y, function=lambda *rows: HEAD.condition(*rows)).log_evidence
    noise = float(np.exp(prior.log_noise))
    log_noise = np.full(6, np.log((noise + added) / noise))
    np.testing.assert_allclose(
        found, sum(WeightSpace(prior, features, log_noise, y, o).log_evidence for o in range(P)), rtol=1e-11
    )


def learner_and_meta(**options):
    learner = ConjugateLearner(FEATURES, **{"particles": 3, **options})
    return learner, jit(learner.init)(KEY)


def adapt(learner, meta, support) -> AbstractPosterior:
    return jit(lambda m, s: learner.adapt(m, s, key=KEY))(meta, support)


def test_mixture_weights_are_prior_weight_times_evidence():
    """Of the experts' own predictives, mixed by hand."""
    learner, meta = learner_and_meta(own_prior=True)
    rng = np.random.default_rng(5)
    meta = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), meta)
    support, query = points(4, 0), points(5, 1)
    posterior, apply = adapt(learner, meta, support), jit(FEATURES.apply)
    evidence, each = [], []
    for m in range(3):
        prior = jax.tree.map(lambda leaf, m=m: leaf[m], meta.prior)
        features, log_noise = apply(meta.network, support.x, meta.codes[m])
        exact = WeightSpace(prior, *(np.asarray(v) for v in (features, log_noise, support.y)), output=0)
        evidence.append(exact.log_evidence)
        each.append(exact.predictive(*(np.asarray(v) for v in apply(meta.network, query.x, meta.codes[m]))))
    weights = softmax(np.asarray(meta.log_weights) + evidence)
    assert weights.min() > 0.005, "one expert alone would prove nothing"
    predictive, said = jit(lambda posterior: ((made := posterior.predict(query.x)), made.log_prob(query.y)))(posterior)
    np.testing.assert_allclose(softmax(np.asarray(predictive.log_weights)), weights, rtol=1e-9)
    y = np.asarray(query.y)[:, 0]
    density = np.asarray(logsumexp([np.log(w) + t.logpdf(y) for w, t in zip(weights, each, strict=True)], axis=0))
    np.testing.assert_allclose(said, density, rtol=1e-9)
    np.testing.assert_allclose(predictive.mean[:, 0], sum(w * t.mean() for w, t in zip(weights, each, strict=True)), rtol=1e-9)


def test_scales_are_a_mixture_of_inverse_gammas():
    """Each a normal-inverse-gamma of its own in weight space; their shares are prior share times evidence."""
    rng = np.random.default_rng(7)
    prior, rows, (features, log_noise, y) = random_prior(rng, scales=3), random_rows(rng, 4), random_rows(rng, 5)
    head = conditioned(prior, *rows)
    each = [[WeightSpace(prior, *rows, output, scale) for output in range(P)] for scale in range(3)]
    evidence = np.log(softmax(prior.log_share)) + [sum(part.log_evidence for part in one) for one in each]
    np.testing.assert_allclose(head.log_evidence, np.asarray(logsumexp(evidence)), rtol=1e-11)
    np.testing.assert_allclose(jax.nn.softmax(head.log_weights), softmax(evidence), rtol=1e-9)
    found = jit(lambda h, f, n, y: h.predict(f, n).log_prob(y))(head, *(jnp.asarray(v) for v in (features, log_noise, y)))
    for density, one in zip(found, each, strict=True):
        wanted = sum(part.predictive(features, log_noise).logpdf(y[:, o]) for o, part in enumerate(one))
        np.testing.assert_allclose(density, wanted, rtol=1e-10)


def test_identical_codes_are_one_expert():
    learner, meta = learner_and_meta()
    single = ConjugateLearner(FEATURES, particles=1)
    same = type(meta)(meta.network, jnp.tile(meta.codes[:1], (3, 1)), meta.prior, meta.log_weights)
    alone = type(meta)(meta.network, meta.codes[:1], meta.prior, meta.log_weights[:1])
    query = points(5, 1)

    @jit
    def answers(same, alone):
        many, one = (part.adapt(m, points(4, 0), key=KEY).predict(query.x) for part, m in ((learner, same), (single, alone)))
        return [(p.log_prob(query.y), p.mean, p.std) for p in (many, one)]

    for a, b in zip(*answers(same, alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_drawn_weights_have_the_moments_of_weight_space():
    """Draws by Matheron's rule, the noise variance drawn too: mean m_n, covariance b_n / (a_n - 1) times the inverse precision.

    The mean of n draws is off by 1 / sqrt(n) deviations; six are allowed, and 6 % for the covariance's norm.
    """
    rng, count = np.random.default_rng(6), 20_000
    prior, rows = random_prior(rng), random_rows(rng, 3)
    head = conditioned(prior, *rows)
    draws = np.asarray(jit(jax.vmap(head.sample_weights))(jax.random.split(KEY, count)))
    for output in range(P):
        exact = WeightSpace(prior, *rows, output)
        covariance = exact.covariance * exact.b / (exact.a - 1)
        deviation = np.sqrt(np.diag(covariance))
        assert (np.abs(draws[..., output].mean(0) - exact.mean) < 6 * deviation / np.sqrt(count)).all()
        gap = np.cov(draws[..., output].T) - covariance
        assert np.linalg.norm(gap) < 0.06 * np.linalg.norm(covariance)


def test_the_features_log_noise_is_the_noise_of_its_points():
    """A heteroscedastic head is the exact posterior for the noise its network states, at the support and at the query."""
    features = MLPFeatures(1, learned=3, hidden=(4,), code=2, heteroscedastic=True)
    learner = ConjugateLearner(features, particles=1)
    meta = jit(learner.init)(KEY)
    support, query = points(4, 0), points(5, 1)
    prior = jax.tree.map(lambda leaf: leaf[0], meta.prior)
    apply = jit(features.apply)
    at_support, at_query = (tuple(np.asarray(v) for v in apply(meta.network, d.x, meta.codes[0])) for d in (support, query))
    assert np.ptp(at_query[1]) > 0.01
    wanted = WeightSpace(prior, *at_support, y=np.asarray(support.y), output=0).predictive(*at_query)
    found = adapt(learner, meta, support).predict(query.x)
    np.testing.assert_allclose(found.std[:, 0], wanted.std(), rtol=1e-10)


def test_no_support_gives_back_the_prior_weights():
    learner, meta = learner_and_meta()
    nothing = Data(jnp.zeros((2, 1)), jnp.zeros((2, 1)), jnp.zeros(2))
    meta = type(meta)(meta.network, meta.codes, meta.prior, jnp.asarray([0.0, 1.0, -1.0]))
    weights = jit(lambda m: learner.adapt(m, nothing, key=KEY).predict(points(3, 0).x).log_weights)(meta)
    np.testing.assert_allclose(softmax(np.asarray(weights)), softmax([0.0, 1.0, -1.0]), rtol=1e-12)


def drawn_learner(count, features=FEATURES):
    return ConjugateLearner(features, particles=count, codes="drawn")


def test_drawn_codes_are_learned_codes_that_were_drawn():
    """The same experts in both forms; and a given key, or none, always draws the same."""
    drawn, learned = drawn_learner(5), ConjugateLearner(FEATURES, particles=5)
    meta, support, x = jit(drawn.init)(KEY), points(4, 0), points(6, 1).x
    assert meta.codes.shape == (0, FEATURES.code_size)

    def answer(learner, meta, key):
        posterior = learner.adapt(meta, support, key=key)
        return posterior.codes, posterior.predict(x).mean

    some, none = (jit(lambda m, key=key: answer(drawn, m, key)) for key in (jax.random.key(3), None))
    codes, mean = some(meta)
    fixed = conjugate.ConjugateMeta(meta.network, codes, meta.prior, jnp.zeros(5))
    np.testing.assert_allclose(mean, jit(lambda m: answer(learned, m, None))(fixed)[1], rtol=1e-12)
    np.testing.assert_array_equal(none(meta)[0], jit(lambda m: answer(drawn, m, None))(meta)[0])
    assert not np.allclose(codes, none(meta)[0])


def test_the_lattice_follows_the_density_of_the_code():
    """Of 1,000 codes each of 4 bins gets its share to within one or two; both axes have their own density."""
    mass = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    codes, weights = draw_codes(KEY, jnp.log(jnp.asarray(mass)) + 3.0, 1000)
    for axis in range(2):
        shares = np.histogram(codes[:, axis], 4, (-(3**0.5), 3**0.5))[0] / 1000
        np.testing.assert_allclose(shares, mass[axis], atol=0.0031)
    np.testing.assert_array_equal(weights, 0.0)


def test_the_density_s_gradient_is_that_of_the_integral_over_codes():
    """d/d log p of log of the integral of p(z) L(z): posterior mass of each bin minus its prior mass."""
    log_density = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4)))

    def log_likelihood(z):
        return -0.5 * ((z - 0.7) / 0.4) ** 2

    def log_evidence(log_density):
        codes, weights = draw_codes(KEY, log_density, 20_000)
        return jax.nn.logsumexp(weights + log_likelihood(codes[:, 0]))

    edges = np.linspace(-(3**0.5), 3**0.5, 5)
    prior = np.asarray(jax.nn.softmax(log_density[0]))
    mass = prior * np.diff(stats.norm(0.7, 0.4).cdf(edges))
    np.testing.assert_allclose(jit(jax.grad(log_evidence))(log_density)[0], mass / mass.sum() - prior, atol=2e-3)


def test_more_drawn_experts_integrate_the_code_more_finely():
    """The evidence of the support is an integral over codes: on a lattice its error falls about as 1 / experts."""
    features = MLPFeatures(1, learned=3, hidden=(4,), code=1)
    meta = jax.tree.map(lambda leaf: 1.5 * leaf, jit(drawn_learner(1, features).init)(KEY))
    support = points(4, 0)

    def log_evidences(count, seeds):
        """For each seed, in one program."""

        def one(key):
            weights = drawn_learner(count, features).adapt(meta, support, key=key).log_weights
            return jax.nn.logsumexp(weights) - np.log(count)

        return np.asarray(jit(jax.vmap(one))(jax.vmap(jax.random.key)(jnp.arange(seeds))))

    (truth,) = log_evidences(20_000, 1)
    coarse, fine = (np.abs(log_evidences(n, 5) - truth).mean() for n in (8, 128))
    assert coarse > 1e-6, "codes make no difference, so nothing is tested"
    assert fine < coarse / 5
    assert fine < 0.02


def test_drawn_codes_refuse_what_belongs_to_lasting_experts():
    with pytest.raises(ValueError, match="use codes='learned'"):
        ConjugateLearner(FEATURES, codes="drawn", own_prior=True)


def test_chosen_experts_stand_for_all_without_bias():
    """Over 4,000 choices every expert's mean weight is its own; heavy ones are in each of them, none is in one twice."""
    weights = np.array([6.0, 0.3, 0.02, 3.0, 0.2, 0.5, 1e-12, 0.4])
    which, log_shares = jax.jit(jax.vmap(lambda key: thin(key, jnp.log(jnp.asarray(weights)) - 50.0, 4)))(
        jax.random.split(KEY, 4000)
    )
    assert (jnp.diff(jnp.sort(which), axis=1) > 0).all()
    shares = np.exp(log_shares + 50.0)
    np.testing.assert_allclose(shares[which == 0], 6.0)
    assert (which == 0).sum() == (which == 3).sum() == 4000
    means = np.bincount(which.ravel(), shares.ravel(), len(weights)) / 4000
    # What is left, 1.42, goes in two places of 0.71: a share's standard error is at most 0.71 / 2 / sqrt(4000).
    np.testing.assert_allclose(means, weights, atol=0.03)


def test_keeping_as_many_as_there_are_changes_nothing():
    weights = jnp.log(jnp.asarray([0.2, 0.5, 1e-40, 0.3]))
    which, log_shares = thin(KEY, weights, 4)
    np.testing.assert_array_equal(which, jnp.arange(4))
    np.testing.assert_allclose(jnp.exp(log_shares), jnp.exp(weights), atol=1e-12)


def test_where_few_experts_weigh_anything_those_kept_have_the_value_and_gradient_of_all():
    """Two of six experts hold all the weight but e^-30: keeping a third changes neither the loss nor its gradient."""
    every, kept = (ConjugateLearner(FEATURES, particles=6, kept=share) for share in (1.0, 1 / 3))
    meta = jit(every.init)(KEY)
    meta = type(meta)(meta.network, meta.codes, meta.prior, jnp.asarray([0.0, -40.0, -40.0, -1.0, -40.0, -40.0]))
    support, query = points(4, 0), points(6, 1)

    def loss(learner):
        def of(meta):
            posterior = learner.adapt(meta, support, key=KEY)
            return posterior.predict(query.x).log_prob(query.y).sum() + posterior.log_evidence

        return jit(jax.value_and_grad(of))(meta)

    (value, gradient), (wanted, wanted_gradient) = loss(kept), loss(every)
    np.testing.assert_allclose(value, wanted, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10), gradient, wanted_gradient)


@pytest.mark.parametrize("options", [{"kept": 0.0}, {"kept": 1.1}, {"particles": 0}])
def test_shares_and_counts_that_keep_nothing_are_refused(options):
    with pytest.raises(ValueError, match="give at least 1"):
        ConjugateLearner(FEATURES, **options)
