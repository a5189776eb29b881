"""Training in worlds on the host: resumed from the last whole meta-step, and nothing lost where an environment raises."""

import jax
import numpy as np
import pytest
from cases import is_one_sentence

import bmaml
from bmaml.errors import InputError
from bmaml.models import MLP, GaussianPolicy
from bmaml.rl import GradientStep, Sampling
from bmaml.rl.presets import maml
from bmaml.rl.simulators import GymnasiumWorld
from bmaml.training.plan import Plan

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra gymnasium")
METHOD = maml(GaussianPolicy(MLP((1, 1)), 1), sampling=Sampling(2), outer=GradientStep())


class Walk(gymnasium.Env):
    """A point on a line; it raises once it has made as many steps in all as it is told."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-0.3, 0.3, (1,))

    def __init__(self, left=None):
        self.left = left

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.1, 0.1, 1).astype(np.float32)
        return self.place, {}

    def step(self, action):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("out of steps")
        self.place = self.place + action
        return self.place, self.goal * float(self.place[0]), False, False, {}


def world(left=None):
    def assign(environment, goal):
        environment.unwrapped.goal = float(goal)

    return GymnasiumWorld(lambda: Walk(left), lambda key: jax.random.rademacher(key, ()), 4, assign)


def train(directory, steps, source, method=METHOD):
    return bmaml.train(method, source, Plan(steps, 2, skip_limit=0), directory=directory, save_every=1)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.meta, b.meta)


def test_a_raising_environment_loses_nothing_and_the_run_goes_on_from_the_last_whole_meta_step(tmp_path):
    # Two sets of two episodes of four steps a meta-step, four simulators for two tasks: 8 steps of each a meta-step.
    with pytest.raises(InputError) as error:
        train(tmp_path / "raising", 3, world(left=2 * 8 + 2))
    assert is_one_sentence(error.value), error.value
    assert "step 2 of episode 0 in task 0" in str(error.value)
    assert bmaml.load(tmp_path / "raising").step == 2
    resumed = bmaml.resume(tmp_path / "raising", tasks=world())
    whole = train(tmp_path / "whole", 3, world())
    same(resumed, whole)
    # The environment is Python code, which a run's folder does not hold.
    with pytest.raises(InputError, match="pass"):
        bmaml.resume(tmp_path / "whole")
    adapted = whole.adapt(whole.adapt(_lived(whole)).collect(world(), 1.0, 2))
    assert adapted.act(np.zeros(1)).shape == (1,)


def _lived(run):
    params = jax.tree.map(lambda leaf: leaf[None], run.meta.particles.params)
    lived = world().rollout(METHOD.policies.model, params, np.ones(1), 2, key=jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf[0], lived)
