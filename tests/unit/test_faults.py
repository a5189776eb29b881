"""The short part of the fault bench; `make faults` runs all of it."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_a_save_that_is_killed_or_has_no_space_loses_and_mixes_nothing():
    """Whichever call of three kinds of saves it dies at. In a process of its own, which may be forked."""
    command = [sys.executable, TESTS / "faults", "short"]
    source = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=source)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, met, survived = map(int, done.stdout.splitlines()[-1].split()[1:])
    assert tried == survived
    assert met > 30
