"""Learners for classes against their definitions written out, and the shared extractor against the same thing unshared."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import EXTRACTOR, HEADS, jit, labelled, task

from bmaml.data import Data, Task, pad
from bmaml.distributions import CategoricalMixture
from bmaml.inference.adjoints import FirstOrder
from bmaml.inference.directions import Stein
from bmaml.inference.priors import GammaPrior
from bmaml.learners import FeatureLearner, GradientLearner, MatchingLearner, PrototypeLearner, RidgeLearner, Sgd
from bmaml.models import CategoricalModel, Functional
from bmaml.objectives import ChaserLoss, QueryLoss

KEY = jax.random.key(0)


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def rows(classes=(0, 0, 1, 1, 1, 2), width=3, seed=0):
    """A support of given classes, and some queries."""
    rng = np.random.default_rng(seed)
    x, queries = rng.normal(size=(len(classes), width)), rng.normal(size=(4, width))
    return Data(jnp.asarray(x), jnp.asarray(classes), jnp.ones(len(classes))), queries


def probabilities(learner, support, queries, meta=None):
    meta = jit(learner.init)(KEY) if meta is None else meta
    return np.asarray(jit(lambda m, s, q: learner.adapt(m, s, key=KEY).predict(q).mean)(meta, support, jnp.asarray(queries)))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_prototypes_are_class_means(distance, x64):
    support, queries = rows()
    x, y = np.asarray(support.x), np.asarray(support.y)
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    if distance == "euclidean":
        logits = -0.7 * ((queries[:, None] - means) ** 2).sum(-1)
    else:
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(means, axis=1)
        logits = 0.7 * queries @ means.T / lengths
    found = probabilities(PrototypeLearner(3, distance, 0.7), support, queries)
    np.testing.assert_allclose(found, softmax(logits), rtol=1e-9)


def test_matching_attends_to_rows_by_cosine(x64):
    support, queries = rows()
    x, y = np.asarray(support.x), np.asarray(support.y)
    cosine = queries @ x.T / (np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(x, axis=1))
    # The paper's form: no temperature, and almost no weight on the row that stands for no row.
    found = probabilities(MatchingLearner(3, 1.0, -40.0, learn_scale=False), support, queries)
    np.testing.assert_allclose(found, softmax(cosine) @ np.eye(3)[y], rtol=1e-9)
    # A background of weight e^b, shared evenly.
    each = np.exp(np.concatenate([4.0 * cosine, np.full((4, 1), 0.5)], 1))
    wanted = (each / each.sum(1, keepdims=True)) @ np.concatenate([np.eye(3)[y], np.full((1, 3), 1 / 3)])
    np.testing.assert_allclose(probabilities(MatchingLearner(3, 4.0, 0.5), support, queries), wanted, rtol=1e-9)


def ridge_by_normal_equations(meta, support, queries, uncertainty):
    """Mean and variance of a head from its posterior in the space of the weights; (log evidence by a dense Gaussian)."""
    x = np.concatenate([np.asarray(support.x), np.ones((len(support.x), 1))], 1)
    q = np.concatenate([queries, np.ones((len(queries), 1))], 1)
    prior, scale = np.exp(np.asarray(meta.log_variance)), np.exp(float(meta.log_scale))
    noise = np.exp(float(meta.log_noise))
    targets = np.eye(3)[np.asarray(support.y)] - 1 / 3
    covariance = np.linalg.inv(x.T @ x / noise + np.diag(1 / prior))
    mean = q @ covariance @ x.T @ targets / noise
    variance = np.einsum("nf,fg,ng->n", q, covariance, q)[:, None]
    logits = scale * mean / np.sqrt(1 + np.pi / 8 * scale**2 * variance) if uncertainty else scale * mean
    kernel = (x * prior) @ x.T + noise * np.eye(len(x))
    evidence = -0.5 * (np.trace(targets.T @ np.linalg.solve(kernel, targets)) + 3 * np.linalg.slogdet(kernel)[1])
    return softmax(logits), evidence


@pytest.mark.parametrize("uncertainty", [True, False])
def test_ridge_is_the_normal_equations_solution_and_heads_are_weighted_by_evidence(uncertainty, x64):
    support, queries = rows()
    learner = RidgeLearner(3, 3, 2, 0.2, 3.0, uncertainty)
    meta = jit(learner.init)(KEY)
    parts = [
        ridge_by_normal_equations(jax.tree.map(lambda leaf, m=m: leaf[m], meta), support, queries, uncertainty) for m in (0, 1)
    ]
    weights = softmax(np.array([evidence for _, evidence in parts]))
    assert 0.01 < weights[0] < 0.99
    wanted = weights[0] * parts[0][0] + weights[1] * parts[1][0]
    np.testing.assert_allclose(probabilities(learner, support, queries, meta), wanted, rtol=1e-8)


def test_ridge_draws_have_the_posterior_mean_and_variance(x64):
    support, queries = rows()
    learner = RidgeLearner(3, 3, noise=0.3, scale=1.0)
    meta = jit(learner.init)(KEY)
    adapt = jit(learner.adapt)
    head = jax.tree.map(lambda leaf: leaf[0], adapt(meta, support).heads)
    features = jnp.concatenate([jnp.asarray(queries), jnp.ones((4, 1))], 1)
    draws = np.asarray(jit(jax.vmap(lambda k: head.draw(k, features)))(jax.random.split(KEY, 4000)))
    logits = jit(lambda head: head.logits(features))
    plain = logits(dataclasses.replace(head, uncertainty=False))
    flat = (np.asarray(plain) / np.asarray(logits(head))) ** 2
    variance = (flat - 1) * 8 / np.pi
    np.testing.assert_allclose(draws.mean(0), plain, atol=5 * np.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.12)
    drawn = jit(lambda: learner.adapt(meta, support).sample_functions(jnp.asarray(queries), key=KEY, count=5))()
    assert drawn.shape == (5, 4, 3)


CLOSED = {
    "prototypes": PrototypeLearner(3),
    "cosine": PrototypeLearner(3, "cosine"),
    "matching": MatchingLearner(3, 500.0),
    "ridge": RidgeLearner(3, 3, 2),
}


@pytest.mark.parametrize("name", CLOSED)
def test_empty_classes_and_supports_have_finite_answers(name):
    """A class that was not shown is possible; where nothing was shown all classes are alike."""
    learner, (support, queries) = CLOSED[name], rows(classes=(0, 0, 1, 1))
    meta = jit(learner.init)(KEY)
    near = np.asarray(support.x)[:2]

    def nll(meta, support, y):
        predictive = learner.adapt(meta, support, key=KEY).predict(jnp.asarray(near))
        return -predictive.log_prob(y).sum(), predictive.mean

    (loss, p), gradient = jit(jax.value_and_grad(nll, has_aux=True))(meta, support, jnp.array([2, 2]))
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert (p[:, 0] > 1 / 3).all()
    nothing = Data(support.x, support.y, jnp.zeros(4))
    np.testing.assert_allclose(probabilities(learner, nothing, queries), 1 / 3, atol=1e-6)


def test_a_ridge_head_is_less_sure_where_it_knows_less():
    """Far from the support, in a direction that it says nothing of, R2-D2 keeps its odds and the Bayesian head does not."""
    support = Data(jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([0, 1]), jnp.ones(2))
    queries = np.array([[1.0, 0.0], [1.0, 30.0]])
    sure = probabilities(RidgeLearner(2, 2, uncertainty=False), support, queries)
    humble = probabilities(RidgeLearner(2, 2), support, queries)
    np.testing.assert_allclose(sure[0], sure[1], atol=1e-5)
    assert humble[0, 0] > humble[1, 0] + 0.2


def stein(head, **options):
    return GradientLearner(head, GammaPrior(), Sgd(0.1), 2, 3, Stein(), **options)


@pytest.mark.parametrize("objective", [QueryLoss("joint"), ChaserLoss(1)], ids=str)
def test_heads_on_a_shared_extractor_are_heads_on_its_features(objective, x64):
    """Loss and meta-gradient are those of a model whose extractor is a constant of the inner steps, run where it is needed."""
    shared = FeatureLearner(EXTRACTOR, stein(HEADS))
    meta, one = jit(shared.init)(KEY), task(kind=labelled)

    def by_hand(meta):
        """A head that runs the extractor itself each time it is asked: many passes where the shared form has one."""

        network = Functional(
            HEADS.network.init, lambda params, x: HEADS.network.apply(params, EXTRACTOR.apply(meta.extractor, x))
        )
        learner = stein(CategoricalModel(network))
        return objective(learner, meta.inner, one, key=KEY)[0]

    def loss(meta):
        return objective(shared, meta, one, key=KEY)[0]

    found, wanted = (jit(jax.value_and_grad(f))(meta) for f in (loss, by_hand))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_the_posterior_scores_as_the_objective_does(x64):
    """One sees support and query apart, the other together."""
    shared, one = FeatureLearner(EXTRACTOR, stein(HEADS)), task(kind=labelled)

    @jit
    def both(meta):
        predictive = shared.adapt(meta, one.support, key=KEY).predict(one.query.x)
        assert isinstance(predictive, CategoricalMixture)
        return -predictive.log_prob(one.query.y).mean(), QueryLoss()(shared, meta, one, key=KEY)[0]

    np.testing.assert_allclose(*both(jit(shared.init)(KEY)), rtol=1e-10)


def test_first_order_extractors_learn_from_the_query_alone():
    learner = FeatureLearner(EXTRACTOR, stein(HEADS, adjoint=FirstOrder()))
    meta, one = jit(learner.init)(KEY), task(kind=labelled)

    def through(support):
        """The gradient of the query's loss in the support's inputs: what it says of the support's features."""
        return QueryLoss()(learner, meta, Task(support, one.query), key=KEY)[0]

    @jit
    def gradients(meta, x):
        of_inputs = jax.grad(lambda x: through(Data(x, one.support.y, one.support.mask)))(x)
        return of_inputs, jax.grad(lambda m: QueryLoss()(learner, m, one, key=KEY)[0])(meta)

    of_inputs, of_weights = gradients(meta, one.support.x)
    assert not np.asarray(of_inputs).any()
    assert np.abs(of_weights.extractor[0]["weight"]).max() > 0


def test_tasks_pass_the_extractor_as_one_batch_with_unbatched_weights():
    """Else a convolution would become one convolution a task, which is many times slower."""
    seen = []

    def apply(params, x):
        seen.append((params["weight"], x))
        return x @ params["weight"]

    def start(key):
        return {"weight": jax.random.normal(key, (1, 4))}

    learner = FeatureLearner(Functional(start, apply), stein(HEADS))
    meta = jit(learner.init)(KEY)
    tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[task(kind=labelled, seed=seed) for seed in range(3)])

    def loss(meta):
        return jax.vmap(lambda one: ChaserLoss(1)(learner, meta, one, key=KEY)[0])(tasks).mean()

    equations = jax.make_jaxpr(jax.grad(loss))(meta).jaxpr
    assert len(seen) == 2
    # The support's 5 rows of all 3 tasks meet the weights in one product, the query's 6 in another.
    products = [e for e in equations.eqns if e.primitive.name == "dot_general" and e.invars[1].aval.shape == (1, 4)]
    assert [e.invars[0].aval.shape for e in products] == [(3, 5, 1), (3, 6, 1)]


@pytest.mark.parametrize("learner", [PrototypeLearner(3, "cosine"), MatchingLearner(3)])
def test_rows_without_features_leave_the_gradient_finite(learner):
    """Padding that an extractor maps to exactly 0 has no direction: neither it nor its derivative may be anything but 0."""
    with jax.enable_x64(False):
        support, query = (pad(jax.tree.map(lambda v: jnp.asarray(v), labelled(n, n)), n + 2) for n in (5, 6))
        given = [
            Data(jnp.concatenate([d.x, d.x**2], 1).astype("float32"), d.y, d.mask.astype("float32")) for d in (support, query)
        ]

        def loss(weight):
            rows = [Data(d.x @ weight, d.y, d.mask) for d in given]
            posterior = learner.adapt(learner.init(KEY), rows[0], key=KEY)
            return -(posterior.predict(rows[1].x).log_prob(rows[1].y) * rows[1].mask).sum()

        gradient = jit(jax.grad(loss))(jax.random.normal(KEY, (2, 4), "float32"))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-4


@pytest.mark.unchecked
def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        PrototypeLearner(1)
    with pytest.raises(ValueError, match="give one of 'euclidean', 'cosine'"):
        PrototypeLearner(3, "manhattan")
    with pytest.raises(ValueError, match="scale above 0"):
        MatchingLearner(3, 0.0)
    with pytest.raises(ValueError, match="noise above 0"):
        RidgeLearner(4, 3, noise=-1.0)
