"""Worlds that other packages simulate: any Gymnasium environment, MuJoCo's and Brax's bodies, and what can go wrong in them."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence

from bmaml.errors import InputError
from bmaml.models import MLP, CategoricalModel, GaussianModel
from bmaml.rl import check_policy
from bmaml.rl.recipes import WORLDS, build_policy, build_world
from bmaml.rl.simulators import BraxLocomotion, GymnasiumWorld, MujocoLocomotion
from bmaml.rl.simulators.locomotion import reward

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra gymnasium")
KEY = jax.random.key(0)
CONTINUOUS = GaussianModel(MLP((2, 1)), precision=1.0, known=True)
NEEDS_MUJOCO = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs the extra mujoco")
NEEDS_BRAX = pytest.mark.skipif(importlib.util.find_spec("brax") is None, reason="needs the extra brax")


class Line(gymnasium.Env):
    """A point on a line: a step moves it by the action, the reward is minus its distance to the goal, past 1 it is done.

    It raises, or gives a NaN, once it has made as many steps in all as it is told.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))

    def __init__(self, goal=0.0, discrete=False, raises=None, nan=None):
        self.goal, self.raises, self.nan = goal, raises, nan
        box = gymnasium.spaces.Box(-0.3, 0.3, (1,))
        self.action_space = gymnasium.spaces.Discrete(3, start=-1) if discrete else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-0.1, 0.1), 0
        return self._seen(), {}

    def _seen(self):
        return np.asarray([self.place, self.steps], np.float32)

    def step(self, action):
        assert self.action_space.contains(action), action
        if self.steps == self.raises:
            raise RuntimeError("the line\nbroke.")
        self.place += float(np.squeeze(action))
        self.steps += 1
        gained = np.nan if self.nan == self.steps - 1 else -abs(self.place - self.goal)
        return self._seen(), gained, abs(self.place) > 1, False, {"goal": self.goal}


def draw(key):
    return jax.random.uniform(key, minval=-1.0)


def assign(environment, goal):
    environment.unwrapped.goal = float(goal)


def line(horizon=6, at_once=64, **options):
    return GymnasiumWorld(lambda: Line(**options), draw, horizon, assign, at_once)


def rollout(world, model=CONTINUOUS, tasks=3, particles=2, episodes=2):
    params = jax.vmap(jax.vmap(model.init))(jax.random.split(KEY, (tasks, particles)))
    return world.rollout(model, params, world.goals(KEY, tasks), episodes, key=KEY)


def test_rewards_are_those_of_each_task_and_ended_episodes_count_no_further():
    world, goals = line(horizon=12), np.asarray(line().goals(KEY, 3))
    lived = rollout(world)
    assert (world.observations, world.actions, world.discrete) == (2, 1, False)
    assert lived.actions.shape == (3, 2, 2, 12, 1)
    alive, seen = np.asarray(lived.alive), np.asarray(lived.observations)
    # Where the point has gone to by a step is what is seen at the next one.
    after, both = seen[..., 1:, 0], alive[..., 1:] > 0
    np.testing.assert_allclose(lived.rewards[..., :-1][both], -np.abs(after - goals[:, None, None, None])[both], atol=1e-6)
    moved = np.clip(lived.actions[..., :-1, 0], -0.3, 0.3)
    np.testing.assert_allclose((after - seen[..., :-1, 0])[both], moved[both], atol=1e-6)
    np.testing.assert_array_equal(np.sort(alive, -1)[..., ::-1], alive)
    assert 0 < alive.mean() < 1
    assert not np.asarray(lived.rewards)[alive == 0].any()
    assert np.abs(seen[..., 0][alive > 0]).max() < 1


def test_how_many_run_side_by_side_changes_nothing():
    wide, narrow = rollout(line()), rollout(line(at_once=1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), wide, narrow)
    starts = np.asarray(wide.observations[..., 0, 0]).ravel()
    assert len(set(starts.tolist())) == starts.size


def test_environments_can_be_made_of_their_goal():
    given = GymnasiumWorld(lambda goal: Line(float(goal)), draw, 6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), rollout(given), rollout(line()))


def test_discrete_actions_and_observations():
    model = CategoricalModel(MLP((2, 3)))
    world = line(discrete=True, horizon=4)
    check_policy(world, model)
    lived = rollout(world, model)
    assert jnp.issubdtype(lived.actions.dtype, jnp.integer)
    assert set(np.asarray(lived.actions)[np.asarray(lived.alive) > 0].tolist()) == {0, 1, 2}
    lake = GymnasiumWorld(lambda: gymnasium.make("FrozenLake-v1"), draw, 3, lambda environment, goal: None)
    assert (lake.observations, lake.actions, lake.discrete) == (16, 4, True)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"raises": 2}, ("RuntimeError", "the line broke", "step 2", "episode 0 of particle 0 in task 0")),
        ({"nan": 3}, ("reward", "step 3", "episode 0 of particle 0 in task 0")),
    ],
)
def test_an_environment_that_goes_wrong_is_named(options, names):
    with pytest.raises(InputError) as error:
        rollout(line(**options))
    assert is_one_sentence(error.value), error.value
    assert all(name in str(error.value) for name in names), error.value


def test_an_environment_that_cannot_be_reset_or_used_is_refused():
    def wrong(environment, goal):
        environment.unwrapped.reset = None

    space = gymnasium.spaces.MultiDiscrete([2, 2])
    other = gymnasium.wrappers.TransformAction(Line(), lambda action: action, space)
    worlds = [GymnasiumWorld(Line, draw, 3, wrong), GymnasiumWorld(lambda: other, draw, 3, assign)]
    for world in worlds:
        with pytest.raises(InputError) as error:
            rollout(world)
        assert is_one_sentence(error.value), error.value


@pytest.mark.parametrize(("world", "package"), [(line(), "gymnasium"), (BraxLocomotion(), "brax")])
def test_a_missing_extra_is_named_with_the_line_that_installs_it(world, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install 'bmaml\\[{package}\\]'"):
        _ = world.observations


@pytest.mark.parametrize("kind", [MujocoLocomotion, BraxLocomotion])
@pytest.mark.parametrize("wrong", [{"body": "dog"}, {"task": "jump"}, {"horizon": 0}])
@pytest.mark.unchecked
def test_a_body_that_makes_no_sense_is_refused(kind, wrong):
    with pytest.raises(ValueError, match=r"use|give") as error:
        kind(**wrong)
    assert is_one_sentence(error.value)


def test_rewards_of_locomotion():
    action = np.full(4, 0.5)
    np.testing.assert_allclose(reward("half-cheetah", "direction", -1.0, 3.0, action), -3.0 - 0.05)
    np.testing.assert_allclose(reward("half-cheetah", "velocity", 2.0, 1.5, action), -0.5 - 0.05)
    np.testing.assert_allclose(reward("ant", "direction", 1.0, 3.0, action), 3.0 - 0.005 + 0.05)
    np.testing.assert_allclose(reward("ant", "velocity", 2.0, 1.5, action), 1 - 0.5 - 0.005 + 0.05)


@NEEDS_MUJOCO
@pytest.mark.parametrize(("body", "widths"), [("half-cheetah", (17, 6)), ("ant", (27, 8))])
def test_the_bodies_of_mujoco_run(body, widths):
    world = MujocoLocomotion(body, "direction", horizon=5)
    assert (world.observations, world.actions) == widths
    model = GaussianModel(MLP(widths))
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2)[:, None], model.init(KEY))
    lived = world.rollout(model, params, jnp.asarray([1.0, -1.0]), 2, key=KEY)
    assert lived.rewards.shape == (2, 1, 2, 5)
    assert np.isfinite(lived.observations).all()
    assert set(np.asarray(world.goals(KEY, 20)).tolist()) == {-1.0, 1.0}
    # The body's forward speed is the ninth (half-cheetah) or fourteenth (ant) number seen; a step's reward is about it.
    speed = lived.observations[..., 1:, 8 if body == "half-cheetah" else 13]
    effort = (jnp.clip(lived.actions, -1, 1) ** 2).sum(-1)[..., :-1]
    found = lived.rewards[..., :-1] + (0.05 if body == "half-cheetah" else 0.005) * effort - (0.05 if body == "ant" else 0)
    assert np.corrcoef(found[0].ravel(), speed[0].ravel())[0, 1] > 0.5
    assert np.corrcoef(found[1].ravel(), speed[1].ravel())[0, 1] < -0.5


@NEEDS_MUJOCO
def test_the_bodies_are_families_by_name():
    names = [name for name in WORLDS if not name.startswith(("navigation", "brax"))]
    assert len(names) == 4
    for name in names:
        world = build_world(name, horizon=3)
        assert name == f"{world.body}-{world.task}"
        check_policy(world, build_policy(name, world))
    brax = build_world("brax-ant-direction", horizon=3)
    assert (type(brax), brax.body, brax.task) == (BraxLocomotion, "ant", "direction")


@NEEDS_BRAX
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("body", "widths"), [("half-cheetah", (17, 6)), ("ant", (27, 8))])
def test_the_bodies_of_brax_run_inside_a_program(body, widths):
    world = BraxLocomotion(body, "velocity", horizon=3)
    assert (world.observations, world.actions) == widths
    model, goals = GaussianModel(MLP(widths)), world.goals(KEY, 2)
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2)[:, None], model.init(KEY))
    lived = jax.jit(lambda params: world.rollout(model, params, goals, 2, key=KEY))(params)
    assert lived.rewards.shape == (2, 1, 2, 3)
    assert np.isfinite(lived.rewards).all()
    most = 1.05 if body == "ant" else 0.0
    assert (lived.rewards <= most).all()
