"""Predictions of every method, frozen: a change of code or of JAX that moves a number is seen.

`python tests/golden/test_golden.py` writes the numbers again, for a change that is meant to move them. With names after it, the
file writes those of the named methods alone.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from cases import fixed_tasks, kind_for, preset, task

from bmaml import methods, train
from bmaml.distributions import AbstractContinuous

FILE = Path(__file__).with_name("golden.json")


def answers(name):
    """What a method predicts of a new task after four meta-steps, as plain numbers."""
    kind = kind_for(name)
    run = train(preset(name), fixed_tasks(kind=kind), steps=4, batch=4, seed=3)
    new = task(kind=kind)
    posterior = run.method.learner.adapt(run.meta, new.support, key=jax.random.key(5))
    predictive = posterior.predict(new.query.x)
    numbers = {"loss": np.mean([record["loss"] for record in run.history[1:]]), "log_prob": predictive.log_prob(new.query.y)}
    numbers |= (
        {"mean": predictive.mean, "std": predictive.std}
        if isinstance(predictive, AbstractContinuous)
        else {"probabilities": predictive.mean}
    )
    return {key: np.asarray(value, np.float64).round(12).tolist() for key, value in numbers.items()}


@pytest.mark.parametrize("name", json.loads(FILE.read_text()))
def test_predictions_are_those_that_were_frozen(name, x64):
    wanted, found = json.loads(FILE.read_text())[name], answers(name)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6, atol=1e-8, err_msg=f"{key} of {name}")


if __name__ == "__main__":
    frozen = json.loads(FILE.read_text()) if FILE.exists() else {}
    with jax.enable_x64(True):
        numbers = frozen | {name: answers(name) for name in sys.argv[1:] or methods.METHODS}
    FILE.write_text(json.dumps(numbers, indent=1) + "\n")
