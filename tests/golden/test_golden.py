"""Predictions of every method, a policy's actions and classes of images, frozen: a change that moves a number is seen.

Each method trains on from where its numbers were taken, and its loss falls.

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

from cases import CLASSES, fixed_tasks, kind_for, labelled, preset, task

from bmaml import methods, train
from bmaml.distributions import AbstractContinuous
from bmaml.models import MLP, Conv4, GaussianPolicy
from bmaml.rl import Navigation, Sampling, presets
from bmaml.tasks import Bank, Episodes
from bmaml.training import reuse
from bmaml.training.loop import Loop
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

FILE = Path(__file__).with_name("golden.json")


# The inner loops that differ, on classes.
ON_MODELS = ("maml", "imaml", "reptile", "ml-laplace", "bmaml", "platipus")
METHODS = {name: (partial(preset, name), kind_for(name)) for name in methods.METHODS} | {
    f"{name} on classes": (partial(preset, name, CLASSES), labelled) for name in ON_MODELS
}


def predicted(learner, meta, task):
    """The predictive for the query points of a task, from one compiled program."""

    @jax.jit
    def program(meta, support, x):
        return learner.adapt(meta, support, key=jax.random.key(5)).predict(x)

    return program(meta, task.support, task.query.x)


def begun(name):
    """The training of a method that has not moved yet."""
    build, kind = METHODS[name]
    return Loop(build(), fixed_tasks(kind=kind), Plan(100, 8, Adam(0.02, decay="none"), seed=3))


def answers(loop, kind):
    """The loss of a method in its first eight meta-steps, and what it then predicts of a new task."""
    new, loss = task(kind=kind), loop.advance(8)["loss"]
    predictive = predicted(loop.method.learner, loop.state.meta, new)
    numbers = {"loss": loss, "log_prob": predictive.log_prob(new.query.y)}
    return numbers | (
        {"mean": predictive.mean, "std": predictive.std}
        if isinstance(predictive, AbstractContinuous)
        else {"probabilities": predictive.mean}
    )


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

    predictive = predicted(run.method.learner, run.meta, tasks.sample(jax.random.key(7)))
    return {"loss": [record["loss"] for record in run.history], "probabilities": predictive.mean}


OTHERS = {"a policy": policy, "images": images}


def plain(answers):
    """Answers as JSON holds them."""
    return {key: np.asarray(value, np.float64).round(12).tolist() for key, value in answers.items()}


def frozen():
    return json.loads(FILE.read_text())


def compare(name, found):
    wanted = frozen()[name]
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6, atol=1e-8, err_msg=f"{key} of {name}")


@pytest.mark.parametrize("name", OTHERS)
def test_actions_and_classes_are_those_that_were_frozen(name, x64):
    compare(name, plain(OTHERS[name]()))


@pytest.mark.parametrize("name", METHODS)
def test_methods_predict_what_was_frozen_and_train_in_one_compilation(name, x64, compilations):
    """The loss falls over a few dozen meta-steps, in chunks of different lengths that share one program."""
    reuse._built.cache_clear()
    loop = begun(name)
    before = len(compilations)
    loop.compile()
    assert len(compilations) == before + 1
    found = plain(answers(loop, METHODS[name][1]))
    compare(name, found)

    before = len(compilations)
    for count in (1, 30, 40):
        loop.advance(count)
    first, last = found["loss"], loop.advance(21)["loss"]
    assert len(compilations) == before, "a chunk of another length was compiled again"
    # The leader runs away from a chaser whose extractor learns to tell classes apart: its loss may grow while the fit improves.
    if name != "shared-bmaml":
        assert last < 0.9 * first if first > 0 else last < first - 0.1
    assert int(loop.state.skipped) == 0
    assert loop.step == int(loop.state.step) == 100


def test_everything_frozen_is_compared():
    assert frozen().keys() == METHODS.keys() | OTHERS.keys()


def again(name):
    """The numbers of today's code, to be frozen."""
    if name in OTHERS:
        return plain(OTHERS[name]())
    loop = begun(name)
    loop.compile()
    return plain(answers(loop, METHODS[name][1]))


if __name__ == "__main__":
    numbers = frozen()
    with jax.enable_x64(True):
        for name in sys.argv[1:] or METHODS.keys() | OTHERS.keys():
            numbers[name] = again(name)
    numbers = {name: numbers[name] for name in [*METHODS, *OTHERS]}
    FILE.write_text(json.dumps(numbers, indent=1) + "\n")
