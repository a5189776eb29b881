"""Environments of control: the plane, rollouts with ends, and policies that do not fit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit

from bmaml.errors import InputError
from bmaml.models import MLP, CategoricalModel, GaussianModel
from bmaml.rl import AbstractEnvironment, Navigation, check_policy

KEY = jax.random.key(0)


class Countdown(AbstractEnvironment):
    """An episode of as many steps as the goal says, a reward of 1 for each, and a NaN for whoever goes on."""

    observations: int = eqx.field(static=True, default=1)
    actions: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)
    horizon: int = eqx.field(static=True, default=6)

    def sample(self, key):
        return jax.random.randint(key, (), 1, 6)

    def reset(self, goal, key):
        return jnp.zeros(())

    def observe(self, goal, state):
        return state[None]

    def step(self, goal, state, action, key):
        goal = goal.astype(state.dtype)
        return state + 1, jnp.where(state < goal, 1.0, jnp.nan), state + 1 >= goal


def rollout(world, model, goals, particles=2, episodes=3):
    tasks = len(jax.tree.leaves(goals)[0])
    params = jax.vmap(jax.vmap(model.init))(jax.random.split(KEY, (tasks, particles)))
    return jit(lambda params: world.rollout(model, params, goals, episodes, key=KEY))(params)


def test_an_ended_episode_counts_no_further():
    lived = rollout(Countdown(), GaussianModel(MLP((1, 1))), jnp.asarray([1, 4, 5]))
    assert lived.alive.shape == (3, 2, 3, 6)
    np.testing.assert_array_equal(lived.alive.sum(-1), np.broadcast_to([[[1]], [[4]], [[5]]], (3, 2, 3)))
    np.testing.assert_array_equal(lived.returns, lived.alive.sum(-1))


def test_the_point_moves_as_the_papers_say():
    world, goal = Navigation("squared"), jnp.asarray([0.25, -0.1])
    place, reward, done = world.step(goal, jnp.zeros(2), jnp.asarray([7.0, -0.5]), KEY)
    np.testing.assert_allclose(place, [0.1, -0.05])  # clipped in the first coordinate alone
    np.testing.assert_allclose(reward, -(0.15**2 + 0.05**2), rtol=1e-6)
    assert not done
    assert world.step(goal, goal + 0.05, jnp.asarray([-0.45, -0.55]), KEY)[2]
    assert not world.step(goal, goal + 0.05, jnp.asarray([-0.45, -0.65]), KEY)[2]  # one coordinate is still too far
    np.testing.assert_allclose(Navigation("distance").step(goal, goal, jnp.asarray([0.3, 0.4]), KEY)[1], -0.05, rtol=1e-5)
    sparse = Navigation("sparse", radius=0.2)
    np.testing.assert_allclose(sparse.step(goal, goal, jnp.asarray([0.3, 0.4]), KEY)[1], -0.25, rtol=1e-5)
    assert sparse.step(goal, goal + 0.5, jnp.zeros(2), KEY)[1] == -1
    assert np.abs(np.asarray(world.goals(KEY, 500))).max() < 0.5


def test_discrete_actions_move_one_reach():
    world = Navigation(discrete=True, horizon=4)
    moves = [world.step(jnp.ones(2), jnp.zeros(2), jnp.asarray(a), KEY)[0] for a in range(world.actions)]
    np.testing.assert_allclose(moves, 0.1 * np.asarray([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]))
    lived = rollout(world, CategoricalModel(MLP((2, 5))), world.goals(KEY, 2))
    assert lived.actions.shape == (2, 2, 3, 4)
    assert jnp.issubdtype(lived.actions.dtype, jnp.integer)


@pytest.mark.parametrize(
    ("world", "model"),
    [
        (Navigation(), GaussianModel(MLP((3, 2)))),
        (Navigation(), GaussianModel(MLP((2, 3)))),
        (Navigation(), CategoricalModel(MLP((2, 2)))),
        (Navigation(discrete=True), CategoricalModel(MLP((2, 4)))),
        (Navigation(discrete=True), GaussianModel(MLP((2, 5)))),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(world, model):
    with pytest.raises(InputError) as error:
        check_policy(world, model)
    assert is_one_sentence(error.value), error.value


def test_a_policy_that_fits_passes():
    check_policy(Navigation(), GaussianModel(MLP((2, 2))))
    check_policy(Navigation(discrete=True), CategoricalModel(MLP((2, 5))))


@pytest.mark.unchecked
@pytest.mark.parametrize("wrong", [{"reward": "none"}, {"horizon": 0}, {"radius": 0.0}])
def test_a_plane_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"use|give") as error:
        Navigation(**wrong)
    assert is_one_sentence(error.value)
