"""Predictions of every method, a policy's actions and classes of images, frozen: a change that moves a number is seen.

`python tests/golden/test_golden.py` writes the numbers again, for a change that is meant to move them. With names after it, the
file writes those of the named methods alone.
"""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from cases import fixed_tasks, kind_for, preset, task

from bmaml import methods, train
from bmaml.distributions import AbstractContinuous
from bmaml.models import MLP, Conv4, GaussianPolicy
from bmaml.rl import Navigation, Sampling, presets
from bmaml.tasks import Bank, Episodes
from bmaml.training.optimisers import Adam

FILE = Path(__file__).with_name("golden.json")


def predicted(run, task):
    """The predictive of a trained run for the query points of a task, from one compiled program."""

    @jax.jit
    def program(meta, support, x):
        return run.method.learner.adapt(meta, support, key=jax.random.key(5)).predict(x)

    return program(run.meta, task.support, task.query.x)


def answers(name):
    """What a method predicts of a new task after four meta-steps, as plain numbers."""
    kind = kind_for(name)
    run = train(preset(name), fixed_tasks(kind=kind), steps=4, batch=4, seed=3)
    new = task(kind=kind)
    predictive = predicted(run, new)
    numbers = {"loss": np.mean([record["loss"] for record in run.history[1:]]), "log_prob": predictive.log_prob(new.query.y)}
    numbers |= (
        {"mean": predictive.mean, "std": predictive.std}
        if isinstance(predictive, AbstractContinuous)
        else {"probabilities": predictive.mean}
    )
    return numbers


def policy():
    """Returns of BMAML with a trust region in two meta-steps, and the action of the policy that adapts to a new goal."""
    method = presets.bmaml(GaussianPolicy(MLP((2, 3, 2), "tanh"), 2), particles=2, sampling=Sampling(2))
    world = Navigation(horizon=4)
    run = train(method, world, steps=2, batch=2, seed=3)
    lived = run.adapt([]).collect(world, jnp.asarray([0.3, -0.2]), episodes=2)
    returns = {key: [record[key] for record in run.history] for key in ("return_before", "return_after")}
    return returns | {"rewards": lived.rewards, "action": run.adapt(lived).act([0.1, -0.2])}


def images():
    """Classes of an episode of random pictures, told apart by prototypes on a convolutional network."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), dtype=np.uint8)
    tasks = Episodes(Bank(jnp.asarray(pixels), (5,) * 4, (4,), tuple("abcd")), way=3, shots=1, queries=2)
    run = train(methods.protonet(Conv4((16, 16, 1), 2), 3), tasks, steps=2, batch=2, seed=3, outer=Adam(0.01, decay="none"))

    predictive = predicted(run, tasks.sample(jax.random.key(7)))
    return {"loss": [record["loss"] for record in run.history], "probabilities": predictive.mean}


ANSWERS = {name: partial(answers, name) for name in methods.METHODS} | {"a policy": policy, "images": images}


def plain(name):
    """The answers of that name as JSON holds them."""
    return {key: np.asarray(value, np.float64).round(12).tolist() for key, value in ANSWERS[name]().items()}


@pytest.mark.parametrize("name", json.loads(FILE.read_text()))
def test_predictions_are_those_that_were_frozen(name, x64):
    wanted, found = json.loads(FILE.read_text())[name], plain(name)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6, atol=1e-8, err_msg=f"{key} of {name}")


if __name__ == "__main__":
    frozen = json.loads(FILE.read_text()) if FILE.exists() else {}
    with jax.enable_x64(True):
        numbers = frozen | {name: plain(name) for name in sys.argv[1:] or ANSWERS}
    FILE.write_text(json.dumps(numbers, indent=1) + "\n")
