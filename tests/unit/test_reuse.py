"""Trainings that are alike but for their seed and the values of their tasks share a program, and no others do."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from cases import MODEL, fixed_tasks

import bmaml
from bmaml.learners import GradientLearner, Sgd
from bmaml.methods import Method, fomaml
from bmaml.models import MLP, Functional, GaussianModel, GaussianPolicy
from bmaml.objectives import QueryLoss
from bmaml.rl import POLICY_METHODS, Navigation, Sampling
from bmaml.training import reuse
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

PLAN = Plan(6, 2, Adam(0.01))
POLICIES = POLICY_METHODS["maml"].preset(GaussianPolicy(MLP((2, 3, 2), "tanh"), 2), sampling=Sampling(2))


@pytest.fixture(autouse=True)
def nothing_kept():
    reuse._built.cache_clear()


def misses():
    return reuse._built.cache_info().misses


@pytest.mark.parametrize(
    ("method", "source", "other"),
    [
        (fomaml(MODEL), fixed_tasks(), fixed_tasks(queries=4, shots=(3, 5), rows=10, count=8)),
        pytest.param(POLICIES, Navigation(horizon=4), Navigation(horizon=4), marks=pytest.mark.costly),
    ],
    ids=["points", "policies"],
)
def test_another_seed_needs_no_new_program_and_trains_as_if_alone(method, source, other, compilations):
    bmaml.train(method, source, PLAN)
    before, plan = len(compilations), dataclasses.replace(PLAN, seed=3, record_every=1, skip_limit=7)
    again = bmaml.train(method, other, plan)
    assert len(compilations) - before <= 1, "the initial state alone, in which the seed is a constant"
    assert misses() == 1
    reuse._built.cache_clear()
    assert eqx.tree_equal(again.meta, bmaml.train(method, other, plan).meta)


def nothing(method, plan, options):
    """In place of the compiler: which trainings share a program is decided before one is made."""
    return jax.jit(lambda state: state)


def build(plan, method=None, source=None):
    """What a training by that plan is handed."""
    return reuse.program_of(nothing, method or fomaml(MODEL), plan, source or fixed_tasks())


def test_policies_share_a_program_among_seeds_too():
    worlds = Navigation(horizon=4), Navigation(horizon=4)
    assert build(PLAN, POLICIES, worlds[0]) is build(dataclasses.replace(PLAN, seed=3), POLICIES, worlds[1])
    assert build(PLAN, POLICIES, worlds[0]) is not build(PLAN, fomaml(MODEL), worlds[0])


@pytest.mark.parametrize(
    "changed",
    [{"steps": 7}, {"batch": 4}, {"outer": Adam(0.02)}, {"outer": Adam(0.01, decay="none")}, {"accumulation_steps": 2}],
)
def test_another_plan_is_another_program(changed):
    assert build(PLAN) is build(dataclasses.replace(PLAN, seed=3))
    assert build(PLAN) is not build(dataclasses.replace(PLAN, **changed))


def test_a_whole_number_is_not_the_same_as_another_kind_of_number():
    whole, other = (Method(GradientLearner(MODEL, rule=Sgd(rate)), QueryLoss()) for rate in (1, 1.0))
    assert build(PLAN, whole) is not build(PLAN, other)


def test_a_function_of_the_users_is_read_again_in_each_training():
    """In a notebook it may call what has changed since."""
    settings = {"size": 1.0}
    network = Functional(lambda key: jnp.ones(()), lambda p, x: x * p * settings["size"])
    method = Method(GradientLearner(GaussianModel(network)), QueryLoss())
    before = bmaml.train(method, fixed_tasks(), PLAN)
    settings["size"] = 5.0
    assert bmaml.train(method, fixed_tasks(), PLAN).history[0]["loss"] != before.history[0]["loss"]
    assert misses() == 0
