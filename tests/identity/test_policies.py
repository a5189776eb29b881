"""Policies: what surrogates differentiate to, natural gradients, and the Stein direction on trajectories."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit

from bmaml.data import Data, Task
from bmaml.distributions import Categorical, Normal, kl_divergence
from bmaml.errors import PairError
from bmaml.inference.directions import Stein
from bmaml.inference.priors import Particle
from bmaml.learners import GradientLearner, PolicyGradientLearner, Sgd
from bmaml.learners.gradient import GradientMeta
from bmaml.models import MLP, CategoricalModel, Functional, GaussianPolicy, surrogate
from bmaml.objectives import ChaserLoss, PolicyLoss
from bmaml.rl import PolicyMethod, TrustRegion
from bmaml.rl.advantages import Advantages, discounted, linear_values
from bmaml.rl.presets import anil, maml
from bmaml.rl.trajectories import Trajectories
from bmaml.rl.trust_region import Shared, conjugate_gradients
from bmaml.training.meta_step import MetaBatch
from bmaml.training.plan import Plan

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(3)
KINDS = ("sum", "ratio", "dice")
# Logits of two actions in each of two states, which are seen one-hot: p(a | s) = softmax of a row.
TABLE = CategoricalModel(Functional(lambda key: 0.5 * jax.random.normal(key, (2, 2)), lambda p, x: x @ p))
POLICY = GaussianPolicy(MLP((2, 3, 1), "tanh"), 1)


def logits():
    return jnp.asarray([[1.0, -0.4], [-0.2, 0.9]])


def probabilities(table):
    return jax.nn.softmax(table, -1)


def first(kind, data):
    return jit(jax.grad(lambda t: surrogate(TABLE, {"weights": t}, data, kind)))(logits())


def second(kind, data):
    return jit(jax.hessian(lambda t: surrogate(TABLE, {"weights": t}, data, kind)))(logits())


def test_every_surrogate_has_reinforces_gradient():
    """Two states, two episodes of three steps: sum of w_t (onehot(a_t) - p(. | s_t)) in the row of s_t, by hand."""
    states, actions = np.asarray([[0, 1, 1], [0, 0, 1]]), np.asarray([[1, 0, 1], [0, 0, 1]])
    weights = np.asarray([[0.5, -1.0, 2.0], [0.25, 0.0, -0.75]])
    wanted, p = np.zeros((2, 2)), np.asarray(probabilities(logits()))
    for s, a, w in zip(states.flat, actions.flat, weights.flat, strict=True):
        wanted[s] += w * (np.eye(2)[a] - p[s])
    data = Data(jnp.eye(2)[states], jnp.asarray(actions), jnp.asarray(weights))
    for kind in KINDS:
        np.testing.assert_allclose(first(kind, data), wanted, atol=1e-12, err_msg=kind)


# A problem of two steps: the first action leads to the state of its number, rewards depend on state and action.
REWARDS = np.asarray([[2.0, 1.0], [0.7, 2.0]])


def value(table):
    """The exact expected sum of rewards."""
    p = probabilities(table)
    return (p[0] * (REWARDS[0] + (p * REWARDS).sum(-1))).sum()


def every_episode():
    """All four episodes, each step's weight the episode's probability times its return to go less a baseline of the state."""
    p = probabilities(logits())
    pairs = list(itertools.product((0, 1), repeat=2))
    states = jnp.asarray([[0, a] for a, _ in pairs])
    actions = jnp.asarray(pairs)
    chance = jnp.stack([p[0, a] * p[a, b] for a, b in pairs])
    rewards = jnp.stack([jnp.stack([REWARDS[0, a], REWARDS[a, b]]) for a, b in pairs])
    weights = discounted(rewards, 1.0) - jnp.asarray([0.4, -0.3])[states]
    return Data(jnp.eye(2)[states], actions, jnp.asarray(chance[:, None] * weights))


def test_dice_has_the_exact_first_and_second_derivatives():
    data = every_episode()
    np.testing.assert_allclose(first("dice", data), jit(jax.grad(value))(logits()), atol=1e-12)
    exact = jit(jax.hessian(value))(logits())
    np.testing.assert_allclose(second("dice", data), exact, atol=1e-12)
    # The others leave out how the first action moves what the second is worth.
    assert np.abs(second("ratio", data) - exact).max() > 0.01
    assert np.abs(second("sum", data) - exact).max() > 0.01


def bandit(table):
    """The exact expected reward of one choice in state 0."""
    return (probabilities(table)[0] * REWARDS[0]).sum()


def every_choice():
    weights = probabilities(logits())[0] * REWARDS[0]
    return Data(jnp.eye(2)[jnp.zeros((2, 1), int)], jnp.asarray([[0], [1]]), weights[:, None])


@pytest.mark.parametrize("kind", KINDS)
def test_low_variance_curvature_and_dice_give_the_exact_meta_gradient_of_a_bandit(kind):
    """The support is all choices with their probabilities, so that what is compared is the estimate's mean."""
    learner = PolicyGradientLearner(GradientLearner(TABLE, rule=Sgd(0.7), fit=kind))
    support = jax.tree.map(lambda leaf: leaf[None, None], every_choice())

    def after(table):
        meta = GradientMeta(Particle({"weights": table[None]}, None), None)
        return value(learner.adapt(meta, support, key=KEY).params["weights"][0])

    def exact(table):
        return value(table + 0.7 * jax.grad(bandit)(table))

    gap = np.abs(jit(lambda t: jax.grad(after)(t) - jax.grad(exact)(t))(logits())).max()
    assert gap > 0.01 if kind == "sum" else gap < 1e-12


def gathered(tasks=2, particles=2, episodes=3, horizon=4, seed=0, scale=1.0):
    """A meta-batch of made-up trajectories, the last steps of some episodes not taken."""
    rng = np.random.default_rng(seed)

    def sets(count):
        shape = (tasks, count, particles, episodes, horizon)
        taken = np.arange(horizon) < rng.integers(2, horizon + 1, (*shape[:-1], 1))
        weights = scale * rng.normal(size=shape) * taken / (episodes * horizon)
        return Data(*map(jnp.asarray, (rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 1)), weights)))

    return MetaBatch(Task(sets(1), sets(1)), jax.random.split(KEY, tasks))


def method(direction=None, particles=2, **options):
    extra = {} if direction is None else {"direction": direction}
    climber = GradientLearner(POLICY, rule=Sgd(0.3), particles=particles, fit="ratio", **extra)
    return PolicyMethod(PolicyGradientLearner(climber), PolicyLoss(), step=TrustRegion(**options))


def start(one):
    """Meta-parameters with deviations that differ."""
    meta = jit(one.learner.init)(KEY)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), meta)


def divergence(one, meta, other, batch):
    """KL from the policies adapted from `meta` to those from `other`, mean over the steps taken and over tasks."""

    def task(task, key):
        query = jax.tree.map(lambda leaf: leaf[0], task.query)
        taken = (query.mask != 0).astype(float)

        def chosen(meta):
            params = one.learner.adapt(meta, task.support, key=key).params
            return jax.vmap(POLICY.predictive)(params, query.x)

        return (kl_divergence(chosen(meta), chosen(other)) * taken).sum((-2, -1)) / taken.sum((-2, -1))

    return jax.vmap(task)(batch.tasks, batch.keys).mean(0)


def test_the_fisher_product_is_the_hessian_of_the_divergence_times_the_vector():
    """With Stein's direction, where every particle's policy depends on all particles."""
    one, batch = method(Stein(), damping=0.0), gathered()
    meta = start(one)
    tangent = jax.tree.map(jnp.cos, meta)

    @jit
    def both(meta):
        slope = jax.grad(lambda new: divergence(one, meta, new, batch).sum())
        return one.step.fisher_product(one, meta, batch)(tangent), jax.jvp(slope, (meta,), (tangent,))[1]

    for found, wanted in zip(*map(jax.tree.leaves, both(meta)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)


@functools.cache
def stepped(particles):
    """A method and its step as one program: (meta, batch) to whether all was finite, where it led and how far that is.

    Three iterations: ten on thirteen parameters go on past what rounding allows to compare.
    """
    one = method(particles=particles, max_kl=0.02, cg_steps=3)

    @jit
    def step(meta, batch):
        moved, _, good = one.step(one, Plan(), meta, None, batch)
        return good, moved, divergence(one, meta, moved, batch)

    return one, step


def test_a_trust_region_step_moves_and_keeps_the_divergence_below_its_limit():
    one, step = stepped(2)
    meta = start(one)
    for seed, scale in ((0, 1.0), (1, 10.0), (2, 1e-3)):
        good, _, kl = step(meta, gathered(seed=seed, scale=scale))
        assert good
        assert (np.asarray(kl) <= 0.02).all(), scale
        assert (np.asarray(kl) > 1e-4).all(), "it moves"


def test_an_ensemble_in_trust_regions_is_one_of_independent_learners():
    """Particle by particle: products, step and search of two together are those of each alone."""
    (both, step), (_, alone) = stepped(2), stepped(1)
    batch, meta = gathered(), start(both)
    moved = step(meta, batch)[1]
    for i in range(2):
        own = jax.tree.map(lambda leaf, i=i: leaf[:, :, i : i + 1], batch.tasks)
        mine = alone(jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], meta), MetaBatch(own, batch.keys))[1]
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(mine), strict=True):
            np.testing.assert_allclose(a[i], b[0], rtol=1e-7, atol=1e-9)


def test_conjugate_gradients_solve_each_particles_system():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 5, 5))
    matrices = roots @ roots.swapaxes(1, 2) + np.eye(5)
    wanted = rng.normal(size=(2, 5))
    assert method().step.cg_steps == 10
    found, image = conjugate_gradients(
        lambda v: jnp.einsum("pij,pj->pi", matrices, v), jnp.asarray(wanted), 5, Shared(method().learner)
    )
    np.testing.assert_allclose(jnp.einsum("pij,pj->pi", matrices, found), wanted, atol=1e-8)
    np.testing.assert_allclose(image, wanted, atol=1e-8)


def test_stein_variational_policy_gradient_of_one_particle_is_reinforce():
    alone = method(particles=1).learner
    stein = PolicyGradientLearner(dataclasses.replace(alone.climber, direction=Stein(repulsion=5.0)))
    batch = gathered(particles=1)
    task, meta = jax.tree.map(lambda leaf: leaf[0], batch.tasks), start(method(particles=1))
    data = jax.tree.map(lambda leaf: leaf[0, 0], task.support)

    def reinforce(params):
        each = POLICY.predictive(params, data.x).log_prob(data.y)
        return (data.mask * each).sum()

    params = jax.tree.map(lambda leaf: leaf[0], meta.particles.params)
    wanted = jax.tree.map(lambda p, g: p + 0.3 * g, params, jit(jax.grad(reinforce))(params))
    for learner in (alone, stein):
        found = jit(lambda learner=learner: learner.adapt(meta, task.support, key=KEY).params)()
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a[0], b, rtol=1e-10, atol=1e-12)


def test_anil_moves_the_last_layer_and_the_deviation_as_maml_does():
    task, meta = jax.tree.map(lambda leaf: leaf[0], gathered(particles=1).tasks), start(method(particles=1))
    made = (preset(POLICY, inner_learning_rate=0.3).learner for preset in (maml, anil))
    whole, head = (jit(lambda kind=kind: kind.adapt(meta, task.support, key=KEY).params)() for kind in made)
    before, (shared, last) = meta.particles.params["weights"], head["weights"]
    jax.tree.map(np.testing.assert_array_equal, shared, before[0])
    jax.tree.map(np.testing.assert_array_equal, (last, head["log_std"]), (whole["weights"][1], whole["log_std"]))
    assert float(jnp.abs(last["weight"] - before[1]["weight"]).max()) > 1e-6
    with pytest.raises(PairError, match="layers"):
        anil(GaussianPolicy(Functional(lambda key: jnp.ones((2, 1)), lambda p, x: x @ p), 1))


def test_every_step_and_particle_adapts_to_its_own_trajectories():
    learner = method().learner.with_steps(2)
    sets = gathered(tasks=2).tasks.support  # two sets, in the place of two steps
    support = jax.tree.map(lambda leaf: leaf[:, 0], sets)
    meta = start(method())
    adapt = jit(lambda support: learner.adapt(meta, support, key=KEY).params)
    advance = jit(lambda state, one: learner.advance(meta, state, one, 1, key=KEY))
    whole, state = adapt(support), learner.start(meta, support)
    for i in range(2):
        state = advance(state, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], support))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state.particles.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    other = adapt(Data(support.x, support.y, support.mask.at[:, 1].multiply(3.0)))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert (np.asarray(a[1]) != np.asarray(b[1])).any()


def test_reptile_by_distances_follows_unit_vectors():
    learner, batch = method().learner, gathered(tasks=1)
    task, meta = jax.tree.map(lambda leaf: leaf[0], batch.tasks), start(method())
    chaser = ChaserLoss(0, hyper=True, squared=False)
    gradient = jit(jax.grad(lambda m: chaser(learner, m, task, key=KEY)[0]))(meta)
    for i in range(2):
        norm = sum(jnp.sum(leaf[i] ** 2) for leaf in jax.tree.leaves(gradient))
        np.testing.assert_allclose(norm, 1.0, rtol=1e-10)


def test_divergences_are_the_mean_log_ratio():
    p, q = (Normal(jnp.asarray([[m, 0.3]]), jnp.asarray([[s, 1.5 * s]])) for m, s in ((0.2, 0.7), (-0.5, 1.1)))
    draws = p.sample(KEY, (200_000,))
    np.testing.assert_allclose(kl_divergence(p, q), (p.log_prob(draws) - q.log_prob(draws)).mean(0), rtol=0.01)
    a, b = Categorical(logits()), Categorical(logits()[::-1])
    np.testing.assert_allclose(kl_divergence(a, b), (a.mean * jnp.log(a.mean / b.mean)).sum(-1), rtol=1e-12)
    with pytest.raises(TypeError, match="give two"):
        kl_divergence(p, a)


def lived(episodes=4, horizon=6, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, horizon + 1, episodes)
    alive = (np.arange(horizon) < lengths[:, None]).astype(float)
    seen = rng.normal(size=(episodes, horizon, 1))
    return Trajectories(*map(jnp.asarray, (seen, seen, rng.normal(size=(episodes, horizon)) * alive, alive)))


def test_advantages_are_sums_of_temporal_differences():
    """The trace of 1 without a baseline is the discounted return to go; with a baseline, the definition by a double loop."""
    one = lived()
    plain = jit(Advantages(0.9, 1.0, baseline=False, normalise=False).each)(one)
    np.testing.assert_allclose(plain[:, 0], (one.rewards * 0.9 ** np.arange(6)[None]).sum(1), atol=1e-12)
    values = np.asarray(jit(lambda one: linear_values(one, 0.9))(one) * one.alive)
    rewards, alive = np.asarray(one.rewards), np.asarray(one.alive)
    wanted = np.zeros_like(values)
    for e, t in itertools.product(*map(range, values.shape)):
        for u in range(t, int(alive[e].sum())):
            later = values[e, u + 1] if u + 1 < int(alive[e].sum()) else 0.0
            wanted[e, t] += (0.9 * 0.7) ** (u - t) * (rewards[e, u] + 0.9 * later - values[e, u])
    found = jit(Advantages(0.9, 0.7, normalise=False).each)(one)
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    normal = np.asarray(jit(Advantages(0.9, 0.7).each)(one))[alive > 0]
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=1e-6)
    data = jit(Advantages(0.9, 0.7, normalise=False).data)(one)
    np.testing.assert_allclose(data.mask, wanted / alive.sum(), atol=1e-10)


def test_the_linear_baseline_is_a_least_squares_fit():
    noisy = lived(episodes=12, horizon=8)
    one = dataclasses.replace(noisy, rewards=(noisy.rewards + 2) * noisy.alive)
    seen, t = np.asarray(one.observations)[..., 0], np.broadcast_to(np.arange(8) / 100, (12, 8))
    features = np.stack([seen, seen**2, t, t**2, t**3, np.ones_like(t)], -1)
    real = np.asarray(one.alive) > 0
    target = np.asarray(discounted(one.rewards, 0.95))
    best = np.linalg.lstsq(features[real], target[real], rcond=None)[0]
    residual = target - np.asarray(linear_values(one, 0.95))
    least = target - features @ best
    assert np.sum(residual[real] ** 2) < 1.05 * np.sum(least[real] ** 2) < 0.5 * np.sum(target[real] ** 2)
