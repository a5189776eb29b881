"""What a saved run can hold: objects come back equal, and no code but this library's is named."""

import dataclasses
import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from cases import fixed_tasks, is_one_sentence, preset, refused

import bmaml
from bmaml.io.checkpoint import RunFolder
from bmaml.io.config import NotSaved, from_config, to_config
from bmaml.io.sealed import sealed
from bmaml.methods import METHODS, maml
from bmaml.models import Functional, GaussianModel
from bmaml.tasks import Sinusoids, ambiguous
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan


def there_and_back(value):
    arrays = {}
    return from_config(json.loads(json.dumps(to_config(value, arrays))), arrays)


SAVED = {
    **{f"method {name}": lambda name=name: preset(name) for name in METHODS},
    "fixed tasks": fixed_tasks,
    "sinusoids": lambda: Sinusoids((3, 5), queries=7, noise=0.1),
    "ambiguous": ambiguous,
    "plan": lambda: Plan(7, 4, Adam(2e-3, "exponential", clip=1.0), seed=3, accumulation_steps=2),
}


@pytest.mark.parametrize("name", SAVED)
def test_everything_saved_comes_back_equal(name):
    value = SAVED[name]()
    back = there_and_back(value)
    assert type(back) is type(value)
    assert bool(eqx.tree_equal(back, value))


def test_a_run_from_before_a_setting_was_made_is_the_same_with_its_default(tmp_path):
    """Kept trainings go on after an update that adds a field, and stay refused where the field has another value."""
    folder, parts = RunFolder(tmp_path / "run"), {"method": preset("maml"), "tasks": Sinusoids((2, 4))}
    folder.create(parts, {})
    written = json.loads((folder.path / "run.json").read_text())
    method, tasks = (written["parts"][name]["fields"] for name in ("method", "tasks"))
    del method["masses"], method["learner"]["fields"]["steps"], tasks["queries"]
    (folder.path / "run.json").write_text(json.dumps(sealed({k: v for k, v in written.items() if k != "sha256"})))
    steps = {f.name: f.default for f in dataclasses.fields(parts["method"].learner)}["steps"]
    before = dataclasses.replace(parts["method"], learner=dataclasses.replace(parts["method"].learner, steps=steps))
    assert folder.describes({"method": before, "tasks": Sinusoids((2, 4))})
    assert not folder.describes({"method": before, "tasks": Sinusoids((2, 4), queries=3)})


@pytest.mark.unchecked
@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
def test_numbers_of_numpy_are_saved_as_numbers():
    """A user's rate or shots often come out of `numpy.logspace` or an array."""
    for value in (Plan(np.int64(7), 4, Adam(np.float64(2e-3))), Sinusoids((np.int64(3),), queries=np.int32(4))):
        assert "unsaved" not in json.dumps(to_config(value, {}))
        assert bool(eqx.tree_equal(there_and_back(value), value))


def test_python_functions_are_named_and_asked_for(tmp_path):
    method = maml(GaussianModel(Functional(lambda key: jnp.zeros(1), lambda p, x: x * p)))
    folder = RunFolder(tmp_path)
    folder.create({"method": method, "plan": Plan(10)}, {})
    with pytest.raises(NotSaved, match=r"method\.learner\.model\.network\.init_fn") as error:
        bmaml.load(tmp_path)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    "kind", ["subprocess:Popen", "os/system", "bmaml.io.files:os", "learner/none", "outer/adam/x", "", 3, None, []]
)
@pytest.mark.parametrize("tag", ["type", "named"])
def test_a_file_can_name_no_other_code(kind, tag, tmp_path):
    canary = tmp_path / "ran"
    config = {tag: kind, "fields": {"args": ["touch", str(canary)]}}
    message = refused(lambda: from_config(config, {}, "method"))
    assert repr(kind) in message
    assert not canary.exists()
