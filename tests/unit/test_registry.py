"""Stable names for what a file holds: who may have which, what is saved under them, and how another process finds them."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence

import bmaml
from bmaml.errors import InputError
from bmaml.io import registry
from bmaml.io.config import NotSaved, from_config, to_config
from bmaml.training.optimisers import Adam


@pytest.fixture(autouse=True)
def names_of_their_own(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_OBJECTS", dict(registry._OBJECTS))
    monkeypatch.setattr(registry, "_NAMES", dict(registry._NAMES))


def refused(action):
    with pytest.raises(InputError) as error:
        action()
    assert is_one_sentence(error.value), error.value
    return str(error.value)


def there_and_back(value):
    arrays = {}
    return from_config(json.loads(json.dumps(to_config(value, arrays))), arrays)


def ring():
    """A class that each call defines again, like a notebook cell that runs again."""

    class Ring(eqx.Module):
        radius: float
        points: list = dataclasses.field(default_factory=list)
        array: jax.Array | None = None
        type: Any = "ring"

    return Ring


@pytest.mark.parametrize(
    "name", ["ring", "mylab/", "/ring", "my lab/ring", "mylab/ring/two", "mylab:ring", "mylab/ring\n", "1/2", 3]
)
@pytest.mark.unchecked
def test_a_malformed_name_is_refused(name):
    assert repr(name) in refused(lambda: bmaml.register(name)(ring()))


@pytest.mark.parametrize("name", ["learner/ring", "tasks/ring", "outer/adam"])
def test_the_librarys_prefixes_are_its_own(name):
    assert "is kept for bmaml's own classes" in refused(lambda: bmaml.register(name)(ring()))


def test_a_name_that_something_else_has_is_refused():
    bmaml.register("mylab/ring")(ring())

    class Other(eqx.Module):
        pass

    said = refused(lambda: bmaml.register("mylab/ring")(Other))
    assert "Ring is registered as 'mylab/ring' already" in said
    assert "Other another name" in said
    bmaml.register("mylab/other")(Other)
    assert "is registered as 'mylab/other' already" in refused(lambda: bmaml.register("mylab/second")(Other))


def test_a_class_that_is_defined_anew_takes_over_its_name():
    first, second = (bmaml.register("mylab/ring")(ring()) for _ in range(2))
    back = there_and_back(first(2.0))
    assert type(back) is second
    assert back.radius == 2.0


def test_a_registered_class_comes_back_whatever_its_fields_are_called():
    """Also with fields that are called what the description itself uses, and with lists, tuples and dictionaries in it."""
    made = bmaml.register("mylab/ring")(ring())
    value = made(0.5, [1, (2, [3.0, None])], jnp.arange(3), type={"dict": ("a", {"list": []})})
    back = there_and_back(value)
    assert (back.radius, back.points, back.type) == (value.radius, value.points, value.type)
    np.testing.assert_array_equal(back.array, value.array)


@dataclasses.dataclass(frozen=True)
class Layers:
    """A dataclass that is no Equinox module, as Flax's are."""

    widths: tuple[int, ...]
    build: object


def test_functions_constructors_and_other_dataclasses_are_saved_by_name():
    @bmaml.register("mylab/twice")
    def twice(x):
        return 2 * x

    bmaml.register("mylab/layers")(Layers)
    constructor = bmaml.register("mylab/ring")(ring())
    back = there_and_back(Layers((2, 3), twice))
    assert back == Layers((2, 3), twice)
    assert there_and_back((constructor, Adam)) == (constructor, Adam)


class WithKey(eqx.Module):
    """Its constructor takes a key and not its fields."""

    weight: jax.Array

    def __init__(self, key):
        self.weight = jax.random.normal(key)


Pair = namedtuple("Pair", "one two")
UNSAVED = {
    "a class without a registered name": lambda: ring()(1.0),
    "a class whose constructor does not take its fields": lambda: bmaml.register("mylab/key")(WithKey)(jax.random.key(0)),
    "Python code": lambda: lambda x: x,
    "Python code, too": lambda: Pair(1, 2),
    "Python code, again": lambda: {1: "a key that JSON would turn into text"},
    "Python code, of JAX": lambda: jax.random.key(0),
    "Python code, of numpy": lambda: np.array([object()]),
}


@pytest.mark.parametrize("why", UNSAVED)
def test_what_a_file_cannot_hold_is_marked_and_asked_for(why):
    config = json.loads(json.dumps(to_config({"a": 1, "tasks": UNSAVED[why]()}, {})))["dict"]
    assert from_config(config["a"], {}) == 1
    with pytest.raises(NotSaved, match="pass tasks= when loading or resuming") as error:
        from_config(config["tasks"], {}, "tasks")
    assert why.split(",")[0] in str(error.value)
    assert is_one_sentence(error.value)
    assert from_config(config["tasks"], {}, "tasks", {"tasks": "given"}) == "given"


MODULE = """
import jax, jax.numpy as jnp
import bmaml
from bmaml.data import Data, Task
from bmaml.models.network import AbstractNetwork
from bmaml.tasks.base import AbstractTasks

@bmaml.register("mylab/line")
class Line(AbstractNetwork):
    slope: float = 1.0

    def init(self, key):
        return jnp.ones((1, 1))

    def apply(self, params, x):
        return self.slope * params * x

@bmaml.register("mylab/lines")
class Lines(AbstractTasks):
    inputs = 1
    outputs = 1

    def sample(self, key):
        x = jax.random.normal(key, (4, 1))
        return Task(Data(x, 2 * x, jnp.ones(4)), Data(x, 2 * x, jnp.ones(4)))
"""
READ = """
import json, sys
import numpy as np
import bmaml
from bmaml.io.registry import find

assert "bmaml.experiments.inferences" not in sys.modules
missing = [name for name in json.load(open(sys.argv[2])) if find(name) is None]
assert not missing, missing
try:
    bmaml.load(sys.argv[1])
except bmaml.InputError as error:
    print(error)
import mylab
run, source = bmaml.load(sys.argv[1]), bmaml.training.run.source(sys.argv[1])
print(type(run.method.learner.model.network).__name__, run.method.learner.model.network.slope, type(source).__name__)
print(run.adapt([[1.0]], [[2.0]]).predict(np.array([[1.0], [3.0]])).mean.ravel().tolist())
"""
FROZEN = Path(__file__).parents[1] / "contract" / "saved_names.json"


def test_another_process_that_has_imported_the_package_loads_its_classes(tmp_path, monkeypatch):
    """A process that has not is told the package; and all of the library's own names are found after `import bmaml` alone."""
    (tmp_path / "mylab.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import mylab

    method = bmaml.methods.maml(bmaml.models.GaussianModel(mylab.Line(0.5)))
    trained = bmaml.train(method, mylab.Lines(), steps=1, batch=2, directory=tmp_path / "run")
    arguments = [sys.executable, "-c", READ, tmp_path / "run", FROZEN]
    path = os.pathsep.join([str(tmp_path), str(Path(bmaml.__file__).parents[1])])
    done = subprocess.run(arguments, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    said, types, predicted = done.stdout.splitlines()
    assert "method.learner.model.network is 'mylab/line', a name that nothing has registered" in said
    assert "import its package, mylab, before" in said
    assert "or pass method=" in said
    assert types == "Line 0.5 Lines"
    wanted = trained.adapt([[1.0]], [[2.0]]).predict(jnp.array([[1.0], [3.0]])).mean.ravel()
    np.testing.assert_allclose(json.loads(predicted), wanted, rtol=1e-5)
