"""Training spread over several devices and several processes."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from cases import MODEL, in_new_process, sentence
from jax.flatten_util import ravel_pytree

import bmaml
from bmaml.methods import fomaml
from bmaml.tasks import Sinusoids
from bmaml.training.loop import Loop
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan


def test_two_devices_share_a_meta_batch_and_change_nothing(x64):
    """The tasks of a meta-batch are spread over all devices, three over two, too; the gradient is one device's to rounding."""
    code = """
        import jax, json, bmaml
        import bmaml.training.loop
        from jax.flatten_util import ravel_pytree
        from bmaml.models import MLP, GaussianModel
        method = bmaml.methods.fomaml(GaussianModel(MLP((1, 4, 1), "tanh")))
        import warnings
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loop = bmaml.training.loop.Loop(method, bmaml.tasks.Sinusoids(4, 3), bmaml.Plan(5, 3, bmaml.Adam(0.01)))
        loop.compile()
        losses = [loop.advance(1)["loss"] for _ in range(5)]
        spread = len(loop.state.step.sharding.device_set)
        meta = ravel_pytree(loop.state.meta)[0].tolist()
        print(json.dumps([len(jax.devices()), spread, meta, losses, [str(w.message) for w in said]]))
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"}
    devices, spread, meta, losses, said = json.loads(in_new_process(code, **environment))
    assert (devices, spread) == (2, 2)
    wanted = (
        "3 tasks at a time do not divide over 2 devices, which repeat 25% of the work: use a batch that is a multiple of 2."
    )
    assert said == [wanted]
    loop = Loop(fomaml(MODEL), Sinusoids(4, 3), Plan(5, 3, Adam(0.01)))
    loop.compile()
    np.testing.assert_allclose(losses, [loop.advance(1)["loss"] for _ in range(5)], rtol=1e-8)
    np.testing.assert_allclose(meta, ravel_pytree(loop.state.meta)[0], rtol=1e-8, atol=1e-10)


# Trains in one of two processes, or alone if it is given no number; with `mixed` a mixture, whose masses are found at the end.
TRAINING = """
    import sys
    import bmaml
    from bmaml.models import MLP, GaussianModel, MLPFeatures
    from bmaml.training.masses import EvidenceMasses
    kind, folder, port, *process = sys.argv[1:]
    if process:
        bmaml.distributed(f"127.0.0.1:{port}", processes=2, process=int(process[0]))
    if kind == "mixed":
        learner = bmaml.learners.ConjugateLearner(MLPFeatures(1, hidden=(4,), learned=2, code=1), particles=4, codes="drawn")
        masses = EvidenceMasses(tasks=1000, share=100.0, rounds=1)
        method = bmaml.Method(learner, bmaml.objectives.QueryLoss(), masses=masses)
    else:
        method = bmaml.methods.fomaml(GaussianModel(MLP((1, 4, 1), "tanh")))
    run = bmaml.train(method, bmaml.tasks.Sinusoids(4, 3), steps=6, batch=4, directory=folder)
    print(float(run.adapt([[0.5]], [[1.0]]).predict([[1.0]]).mean[0, 0]))
"""


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def beginning(kind, folder, devices, *process):
    """The training as a process that runs."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(TRAINING), kind, str(folder), *map(str, process)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return float(told.splitlines()[-1])


# Three processes that each start and compile. That tasks are spread over devices and change nothing is held above.
@pytest.mark.costly
@pytest.mark.parametrize("kind", ["fomaml", "mixed"])
def test_two_processes_train_what_one_with_two_devices_does_bit_for_bit(kind, tmp_path):
    port = free_port()
    pair = [beginning(kind, tmp_path / "two", 1, port, process) for process in (0, 1)]
    predictions = [ended(process) for process in pair]
    predictions.append(ended(beginning(kind, tmp_path / "one", 2, port)))
    assert len(set(predictions)) == 1
    checkpoints = [(tmp_path / name / "checkpoint-00000006.safetensors").read_bytes() for name in ("two", "one")]
    assert checkpoints[0] == checkpoints[1]


@pytest.mark.costly
def test_a_lost_process_ends_the_others_in_a_sentence_and_the_run_goes_on_alone():
    done = subprocess.run([sys.executable, Path(__file__).parents[1] / "faults", "processes"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"coordinator": "10.0.0.1", "processes": 2, "process": 0}, "10.0.0.1:1234"),
        ({"coordinator": "10.0.0.1:1", "processes": 2, "process": 2}, "0 to 1"),
        ({"coordinator": "10.0.0.1:1", "processes": 1, "process": 0}, "in use already"),
    ],
)
def test_what_cannot_be_joined_is_refused(arguments, names):
    jnp.zeros(()).block_until_ready()
    said = sentence(lambda: bmaml.distributed(**arguments))
    assert names in said


def test_options_of_several_processes_are_refused_for_one(refused, tmp_path):
    said = refused("train", "sinusoid", "--out", str(tmp_path / "run"), "--processes", "2")
    assert "--distributed" in said
