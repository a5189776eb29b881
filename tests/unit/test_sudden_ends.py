"""Ctrl-C and kill -9 of the command line in a process of its own: nothing is lost, nothing looks trained that is not."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from cases import is_one_sentence


def started(*arguments, first=""):
    """The command line as a process of its own, which runs `first` before."""
    # A background shell starts its children with SIGINT ignored; a person's terminal does not.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{first}\n{listen}; from bmaml.cli import main; main()"
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    cheap = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cheap)


def ended(*arguments, first=""):
    """The exit code of the command line in a process of its own."""
    process = started(*arguments, first=first)
    process.communicate(timeout=300)
    return process.returncode


def wait_for(there, process, seconds=300):
    """Wait until a condition holds while a process runs."""
    end = time.monotonic() + seconds
    while not there() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    assert there(), process.communicate(timeout=10)


@pytest.mark.slow
def test_ctrl_c_while_compiling_leaves_nothing_that_looks_trained(refused, tmp_path):
    out = tmp_path / "run"
    process = started("train", "sinusoid", "--method", "maml", "--out", out)
    # The line that says so comes just before the program is compiled, which takes seconds.
    assert "compiling" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert output == ""
    # Before it there may be the line that says what is compiled.
    assert is_one_sentence(err.splitlines()[-1], tells="Ctrl-C"), err
    assert not out.exists(), "the same command can be given again"
    assert "is not a run" in refused("evaluate", out)


# Dies as its second checkpoint is about to get its name, or just after, before the manifest speaks of it.
KILLED = """
import os, signal
replace = os.replace
def dying(source, target):
    last = "checkpoint-00000040" in str(target)
    if last and {after}:
        replace(source, target)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = dying
"""


SHORT = ["sinusoid", "--method", "maml", "--inner-steps", "1", "--steps", "100", "--save-every", "20", "--seed", "3"]


# Each in a process of its own: programs that other tests have compiled here round differently.
@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The folder of a run that nobody killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert ended("train", *SHORT, "--out", out) == 0
    return out


# `test_training.py` holds the same of a run that dies between a chunk and its checkpoint, in its own process.
@pytest.mark.costly
@pytest.mark.parametrize("after", [False, True])
def test_a_killed_run_resumes_to_the_same_parameters_bit_for_bit(tmp_path, never_stopped, after):
    killed = tmp_path / "run"
    assert ended("train", *SHORT, "--out", killed, first=KILLED.format(after=after)) == -signal.SIGKILL
    last = json.loads((killed / "manifest.json").read_text())["checkpoints"][-1]["step"]
    assert last == 20
    assert ended("resume", killed) == 0
    name = "checkpoint-00000100.safetensors"
    assert (killed / name).read_bytes() == (never_stopped / name).read_bytes()
    assert not re.search(r"\.checkpoint", " ".join(os.listdir(never_stopped)))
