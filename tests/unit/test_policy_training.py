"""Policies in the loop: every method, resuming, rewards that are no number, saved policies that act, and what is refused."""

import dataclasses
import json
import shutil
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import MODEL, is_one_sentence
from typer.testing import CliRunner

import bmaml
from bmaml.cli import app
from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.learners import GradientLearner, PolicyGradientLearner
from bmaml.models import MLP, CategoricalModel, GaussianPolicy
from bmaml.objectives import ChaserLoss, PolicyLoss
from bmaml.rl import (
    POLICY_METHODS,
    AbstractWorld,
    AdaptedPolicy,
    ClippedSteps,
    GradientStep,
    Navigation,
    PolicyMethod,
    Sampling,
    TrustRegion,
)
from bmaml.rl.advantages import Advantages
from bmaml.rl.presets import bmaml_chaser, fomaml, maml
from bmaml.rl.recipes import WORLDS, build_policy, build_policy_method, build_policy_plan, build_world
from bmaml.rl.returns import evaluate_policies
from bmaml.tasks import Sinusoids
from bmaml.training.loop import NonFiniteError
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress

POLICY = GaussianPolicy(MLP((2, 3, 2), "tanh"), 2)
CHOICES = CategoricalModel(MLP((2, 3, 5), "tanh"))
SMALL = Sampling(2)
WORLD = Navigation(horizon=4)
PLAN = Plan(3, 2, Adam(0.01), seed=4, skip_limit=0)
METHOD = bmaml_chaser(POLICY, particles=2, sampling=SMALL)


class Snapshot(Progress):
    """Keeps what a kill between the second chunk and its checkpoint would leave."""

    def __init__(self, folder, to):
        self.folder, self.to = folder, to

    def update(self, step, loss, speed):
        if step == 2:
            shutil.copytree(self.folder, self.to)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of three meta-steps, and the same killed at the second and resumed from the first."""
    whole, broken = tmp_path_factory.mktemp("whole") / "run", tmp_path_factory.mktemp("broken") / "run"
    about = {"kind": "control", "tasks": "navigation", "method": "bmaml-chaser"}
    watch = Snapshot(whole, broken)
    straight = bmaml.train(METHOD, WORLD, PLAN, directory=whole, about=about, save_every=1, progress=watch)
    return {"whole": whole, "broken": broken, "straight": straight, "resumed": bmaml.resume(broken)}


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(runs):
    last = "checkpoint-00000003.safetensors"
    assert (runs["whole"] / last).read_bytes() == (runs["broken"] / last).read_bytes()
    assert runs["resumed"].finished
    returns = [[-record["loss"] for record in runs[name].history] for name in ("straight", "resumed")]
    assert returns[0] == returns[1]
    assert all(-4 < value < 0 for value in returns[0]), "four steps of the squared distance near the origin"


def test_a_saved_policy_loads_by_name_adapts_and_acts(runs):
    run = bmaml.load(runs["whole"])
    fresh = run.adapt([])
    assert isinstance(fresh, AdaptedPolicy)
    lived = fresh.collect(WORLD, jnp.asarray([0.3, -0.2]), episodes=3)
    assert lived.rewards.shape == (2, 3, 4)
    once, twice = run.adapt(lived), run.adapt([lived, lived])
    actions = [policy.act([0.1, 0.0]) for policy in (fresh, once, twice)]
    assert all(action.shape == (2,) for action in actions)
    assert len({tuple(np.asarray(action).tolist()) for action in actions}) == 3, "it moves with every set"
    drawn = [once.act([0.1, 0.0], key=jax.random.key(i)) for i in range(2)]
    assert (np.asarray(drawn[0]) != np.asarray(drawn[1])).any()
    with pytest.raises(InputError, match="2 particles") as error:
        run.adapt(jax.tree.map(lambda leaf: leaf[0], lived))
    assert is_one_sentence(error.value)
    with pytest.raises(InputError, match="a policy was given a Data: give Trajectories"):
        run.adapt([[0.0, 0.0]], [[1.0, 0.0]])


def test_the_command_line_scores_a_run_of_policies(runs, tmp_path):
    call = ["evaluate", str(runs["whole"]), "--steps", "0,2", "--count", "3", "--out", str(tmp_path / "scores.json"), "--json"]
    done = CliRunner().invoke(app, [*call, "--trajectories", "3", "--slower", "0.1"])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert [(row["steps"], row["shots"], row["tasks"]) for row in rows] == [(0, 3, 3), (2, 3, 3)]
    assert all(row["low"] < row["mean"] < row["high"] for row in rows)
    refused = CliRunner().invoke(app, ["evaluate", str(runs["whole"]), "--shots", "5"])
    assert isinstance(refused.exception, InputError)
    assert is_one_sentence(str(refused.exception).replace("leave", "give")), refused.exception


def test_returns_before_any_update_are_those_of_the_policy(runs):
    """And the same tasks are drawn whatever the method."""
    run = runs["straight"]
    found = evaluate_policies(run.method, run.meta, WORLD, updates=0, count=2, batch=2)
    row = found.get("return", 2, 0)
    assert row.mean == pytest.approx(found.scores[2, 0]["return"].mean())
    assert row.tasks == 2


def test_scores_take_more_trajectories_and_another_rate_after_the_first_update(runs):
    run = runs["straight"]
    sizes = {"updates": 2, "count": 2, "batch": 2, "episodes": 3}
    half, tenth = (evaluate_policies(run.method, run.meta, WORLD, slower=slower, **sizes) for slower in (0.5, 0.1))
    assert [half.get("return", 3, k).mean == tenth.get("return", 3, k).mean for k in (0, 1, 2)] == [True, True, False]


def small(name, model=POLICY):
    """The method of that name on a tiny policy, two particles where it has several."""
    particles = {"particles": 2} if name in ("emaml", "bmaml", "bmaml-chaser") else {}
    return POLICY_METHODS[name].preset(model, sampling=SMALL, **particles)


VARIANTS = {
    **{name: small(name) for name in POLICY_METHODS},
    "discrete": small("maml", CHOICES),
    "dice, two steps": maml(POLICY, surrogate="dice", inner_steps=2, sampling=SMALL),
    "clipped": maml(POLICY, surrogate="ratio", sampling=SMALL, outer=ClippedSteps()),
    "adam": maml(POLICY, sampling=SMALL, outer=GradientStep()),
    "some episodes": maml(POLICY, sampling=SMALL, outer=TrustRegion(fisher_episodes=1)),
    "leader of two steps": bmaml_chaser(POLICY, particles=2, leader_steps=2, sampling=SMALL),
    "no baseline": fomaml(POLICY, sampling=Sampling(2, Advantages(baseline=False))),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_method_has_a_meta_step_of_its_own_shapes(name):
    """Traced, not run: gathering, adapting and the outer step fit together and give back a state like the one given."""
    method, world = VARIANTS[name], Navigation(horizon=4, discrete=name == "discrete")
    state = eqx.filter_eval_shape(lambda: method.begin(PLAN))

    def step(state):
        return method.improve(PLAN, state, *method.collect(PLAN, world, state.meta, jax.random.key(0)))

    moved, numbers = jax.eval_shape(step, state)
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(moved)] == [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)
    ]
    assert {value.shape for value in numbers.values()} == {()}


class OnHost(AbstractWorld):
    """The plane as a simulator that JAX cannot compile: rollouts are handed concrete arrays, one reward may be poisoned."""

    poisoned: bool = False
    pure = False
    observations: ClassVar[int] = 2
    actions: ClassVar[int] = 2
    discrete: ClassVar[bool] = False
    horizon: ClassVar[int] = 4

    def sample(self, key):
        return WORLD.sample(key)

    def goals(self, key, count):
        return WORLD.goals(key, count)

    def rollout(self, policy, params, goals, episodes, *, key):
        assert not isinstance(jax.tree.leaves(params)[0], jax.core.Tracer)
        lived = WORLD.rollout(policy, params, goals, episodes, key=key)
        if not self.poisoned:
            return lived
        return dataclasses.replace(lived, rewards=lived.rewards.at[1, 0, 1, 3].set(jnp.nan))


TINY = fomaml(POLICY, sampling=SMALL, outer=GradientStep())


def test_a_world_on_the_host_trains_as_a_pure_one_does(runs):
    host = bmaml.train(METHOD, OnHost(), PLAN)
    for a, b in zip(jax.tree.leaves(runs["straight"].meta), jax.tree.leaves(host.meta), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_reward_that_is_no_number_stops_the_run_and_is_named(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 3 of episode 1 in task 1 of meta-step 0") as error:
        bmaml.train(TINY, OnHost(poisoned=True), PLAN, directory=tmp_path / "run")
    assert is_one_sentence(error.value)
    with pytest.raises(InputError, match=r"step 3 of episode 1 in task 1") as error:
        evaluate_policies(TINY, TINY.begin(PLAN).meta, OnHost(poisoned=True), count=2, batch=2)
    assert is_one_sentence(error.value)
    assert RunFolder(tmp_path / "run").about() == {}


GIVEN = GradientLearner(MODEL)
GATHERING = PolicyGradientLearner(GradientLearner(POLICY))


@pytest.mark.parametrize(
    "build",
    [
        lambda: PolicyMethod(GIVEN, PolicyLoss()),
        lambda: bmaml.Method(GIVEN, PolicyLoss()),
        lambda: bmaml.Method(GATHERING, PolicyLoss()),
        lambda: PolicyMethod(GATHERING, ChaserLoss(1), step=TrustRegion()),
        lambda: PolicyMethod(GATHERING, ChaserLoss(1), step=ClippedSteps()),
        lambda: bmaml.train(TINY, Sinusoids(5, 5), PLAN),
        lambda: bmaml.train(bmaml.methods.maml(MODEL), WORLD, PLAN),
        lambda: bmaml.train(TINY, Navigation(discrete=True), PLAN),
        lambda: bmaml.train(fomaml(GaussianPolicy(MLP((3, 2)), 2)), WORLD, PLAN),
        lambda: Sampling(0),
        lambda: Advantages(discount=1.5),
        lambda: TrustRegion(max_kl=0.0),
        lambda: TrustRegion(cg_steps=0),
        lambda: ClippedSteps(clip=2.0),
        lambda: GaussianPolicy(MLP((2, 2)), 2, std=0.0),
        lambda: build_world("navigatoin"),
        lambda: build_policy_method("mmaml", "navigation", WORLD),
        lambda: build_policy_method("maml", "navigation", WORLD, surrogate="none"),
        lambda: build_policy_method("maml", "navigation", WORLD, outer="gradient", fisher_episodes=2),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(build):
    with pytest.raises((TypeError, ValueError)) as error:
        build()
    assert is_one_sentence(error.value), error.value


def test_recipes_fit_their_worlds_and_say_what_a_method_lacks():
    for family in (name for name in WORLDS if name.startswith("navigation")):
        world = build_world(family, horizon=3)
        assert world.horizon == 3
        assert isinstance(build_policy(family, world), CategoricalModel if world.discrete else GaussianPolicy)
    method = build_policy_method("bmaml", "navigation", WORLD, trajectories=3, particles=4, fisher_episodes=2)
    assert (method.sampling.episodes, method.policies.particles, method.step.fisher_episodes) == (3, 4, 2)
    assert build_policy_plan("navigation", steps=7).steps == 7
    with pytest.raises(InputError, match="no particles to set"):
        build_policy_method("maml", "navigation", WORLD, particles=3)


@pytest.mark.parametrize("call", [["navigation", "--shots", "5"], ["sinusoid", "--trajectories", "5"]])
def test_flags_without_a_meaning_are_refused(call, tmp_path):
    done = CliRunner().invoke(app, ["train", *call, "--out", str(tmp_path / "run")])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).endswith("leave it out.")
    assert not (tmp_path / "run").exists()
