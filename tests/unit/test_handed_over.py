"""Runs with parts that a file cannot hold: each missing part is named, and with it handed over the run is loaded or goes on."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import fixed_tasks, is_one_sentence, points, preset, run

import bmaml
from bmaml.data import Task
from bmaml.io.config import NotSaved
from bmaml.methods import maml
from bmaml.models import Functional, GaussianModel
from bmaml.tasks.base import AbstractTasks
from bmaml.training.optimisers import CustomOuter


class Ring(AbstractTasks):
    """A family of a stranger's, without a registered name."""

    @property
    def inputs(self):
        return 1

    @property
    def outputs(self):
        return 1

    def sample(self, key):
        return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(key), Task(points(5, 0), points(4, 1)))


METHOD = maml(GaussianModel(Functional(lambda key: jnp.ones((1, 1)), lambda params, x: x * params)))
OUTER = CustomOuter(optax.sgd(1e-2))


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A run of four meta-steps whose method, optimiser and tasks are all Python code; and where it is."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return bmaml.train(METHOD, Ring(), steps=4, batch=2, outer=OUTER, save_every=2, directory=folder), folder


def missing(action):
    with pytest.raises(NotSaved) as error:
        action()
    assert is_one_sentence(error.value), error.value
    return str(error.value)


def test_to_predict_only_the_method_is_needed(mine):
    trained, folder = mine
    assert missing(lambda: bmaml.load(folder)) == (
        "method.learner.model.network.init_fn (function) is Python code, which the file does not hold: pass method= when "
        "loading or resuming, or give it a name with @bmaml.register before training."
    )
    loaded = bmaml.load(folder, method=METHOD)
    assert loaded.finished
    assert bool(eqx.tree_equal(loaded.meta, trained.meta))
    given = points(5, 0)
    one, other = (each.adapt(given.x, given.y).predict(given.x).mean for each in (trained, loaded))
    np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:.*is gone")
def test_to_go_on_each_part_is_asked_for_and_the_end_is_the_same(mine):
    trained, folder = mine
    (folder / "checkpoint-00000004.safetensors").unlink()
    assert "method.learner" in missing(lambda: bmaml.resume(folder))
    said = missing(lambda: bmaml.resume(folder, method=METHOD))
    assert "plan.outer.transformation (GradientTransformation" in said
    assert "pass outer=" in said
    said = missing(lambda: bmaml.resume(folder, method=METHOD, outer=OUTER))
    assert said == (
        "tasks (Ring) is a class without a registered name, which the file does not hold: pass tasks= when loading or "
        "resuming, or give it a name with @bmaml.register before training."
    )
    again = bmaml.resume(folder, method=METHOD, outer=OUTER, tasks=Ring())
    assert (again.step, again.finished) == (4, True)
    assert bool(eqx.tree_equal(again.meta, trained.meta))


def test_another_optimiser_than_in_training_is_refused(mine):
    with pytest.raises(bmaml.InputError, match=r"does not fit this method and outer optimiser \(optimiser") as error:
        bmaml.resume(mine[1], method=METHOD, outer=CustomOuter(optax.adam(1e-2)), tasks=Ring())
    assert is_one_sentence(error.value)


def test_an_estimators_model_is_loaded_with_its_method_handed_over(tmp_path):
    x, y = np.arange(24.0)[:, None] % 7, np.sin(np.arange(24.0))
    fitted = bmaml.FewShotRegressor(METHOD, steps=1, batch=2, shots=3, queries=2).fit(x, y, groups=np.arange(24) // 6)
    fitted.save(tmp_path / "model")
    assert "pass method=" in missing(lambda: bmaml.FewShotRegressor.load(tmp_path / "model"))
    loaded = bmaml.FewShotRegressor.load(tmp_path / "model", method=METHOD)
    assert loaded.method is METHOD
    np.testing.assert_array_equal(*(model.adapt(x[:3], y[:3]).predict(x[3:6]) for model in (fitted, loaded)))


def test_the_command_line_scores_a_run_of_pythons_on_its_own_tasks(tmp_path, capsys):
    """Only a run that a leaderboard trained is sent to the board."""
    bmaml.train(preset("maml"), fixed_tasks(), steps=1, batch=2, directory=tmp_path / "run")
    assert run("evaluate", tmp_path / "run", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["method"], row["shots"], row["tasks"]) for row in rows} == {("GradientLearner", 5, 8)}
    assert {"mse", "nll"} <= {row["metric"] for row in rows}


def test_the_command_line_says_that_python_is_needed_for_tasks_of_python(mine, capsys):
    assert run("evaluate", mine[1]) == 2
    said = capsys.readouterr().err.removeprefix("bmaml: ").removesuffix("\n")
    assert "tasks (Ring) is a class without a registered name" in said
    assert "use bmaml.evaluate in Python" in said
    assert is_one_sentence(said), said
