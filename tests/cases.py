"""Tiny models, tasks and every named method, for tests that go over all of them; the command line called from a test."""

import hashlib
import os
import re
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmaml import methods
from bmaml.cli import main
from bmaml.data import Data, Task
from bmaml.errors import InputError
from bmaml.methods.made_of import Offer, OfHead
from bmaml.models import MLP, CategoricalModel, GaussianModel, MLPFeatures
from bmaml.tasks import FixedTasks

MODEL = GaussianModel(MLP((1, 4, 1), "tanh"))
CLASSES = CategoricalModel(MLP((1, 4, 3), "tanh"))
FEATURES = MLPFeatures(1, learned=3, hidden=(4,), code=2)
EXTRACTOR = MLP((1, 5, 4), "tanh")
HEADS = CategoricalModel(MLP((4, 3)))
# Sizes for methods that have them to set.
TINY = {"particles": 3, "draws": 2, "width": 8, "depth": 1, "layers": 2, "heads": 2}


def jit(function, **options):
    """Like `jax.jit` with XLA's cheap code generation: the tests compile much and run little."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"}, **options)


def preset(name, model=MODEL, features=FEATURES):
    """The method of that name on the tiny model, three particles where it has several; tiny where it has a network itself.

    Methods of classes alone are made for three of them, whatever the model.
    """
    row, classes = methods.METHODS[name], for_classes(name)
    settings = {"inner_steps": 1} if name == "abml" else {}
    if isinstance(row.made_of, OfHead):
        settings = {"inner_steps": 2, "inner_learning_rate": 0.02}
    offer = Offer(
        *(1, 3 if classes else 1),
        model=lambda _: model,
        features=lambda: features,
        extractor=lambda: (EXTRACTOR, 4),
        head=lambda _: HEADS,
        classes=classes,
        settings=TINY,
    )
    return row.build(offer, methods.Tuned(settings))


def for_classes(name):
    """Whether a method is for classes alone."""
    return "numbers" not in methods.METHODS[name].fits


def points(count, seed, outputs=1):
    """Points of a noisy sine, in the default precision."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (count, 1))
    y = np.sin(x + np.arange(outputs)) + 0.1 * rng.normal(size=(count, outputs))
    return Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(count))


def labelled(count, seed):
    """Points of three classes."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (count, 1))
    return Data(jnp.asarray(x), jnp.asarray(np.digitize(x[:, 0], (-0.7, 0.7))), jnp.ones(count))


def kind_for(name):
    """The kind of points that a preset is made for."""
    return labelled if for_classes(name) else points


def task(support=5, query=6, seed=0, kind=points):
    """A task of the given kind of points."""
    return Task(kind(support, 2 * seed), kind(query, 2 * seed + 1))


def fixed_tasks(count=8, rows=10, shots=(3, 5), queries=4, kind=points):
    """A finite set of tasks in memory."""
    sets = [kind(rows, 100 + i) for i in range(count)]
    return FixedTasks(jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets), shots, queries)


_VERBS = "use|give|restore|resume|update|free|pass|set|lower|install|leave|make|correct|remove|save|add|choose|check|compress"
TELLS = rf"\b({_VERBS}|name (it|one)|its columns are)\b"


def is_one_sentence(message, *, tells=TELLS):
    """Whether a message is one sentence on one line that says what to do."""
    message = str(message)
    return message.endswith((".", ").")) and not re.search(r"\n|[.!?] +[A-Z]", message) and bool(re.search(tells, message))


def sentence(action):
    """The sentence by which an action is refused, or None if it is not. Any other error passes through."""
    try:
        action()
    except InputError as error:
        said = str(error)
    else:
        return None
    assert is_one_sentence(said), said
    return said


def refused(action):
    """The sentence by which an action is refused, which it has to be."""
    said = sentence(action)
    assert said is not None
    return said


def run(*arguments):
    """The command line's exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def content(folder):
    """A digest of every file of a folder, by its path."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def in_new_process(code, **environment):
    """The last line that `code` prints in a process of its own, in which every warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
