"""A model from somebody else: opening it and predicting with it reads nothing else, writes nothing and starts nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

from watch import watched

TESTS = Path(__file__).parents[1]
# In a process of its own, because modules that are imported late open files, too.
OPENED = """
import json, sys
from pathlib import Path
import bmaml, jax
from watch import watched

jax.devices()  # looks for the machine's hardware
done = []
for folder in map(Path, sys.argv[1:]):
    with watched(folder) as seen:
        run = bmaml.load(folder)
        run.adapt([[0.1], [0.2]], [[0.3], [0.4]]).predict([[0.5]])
        bmaml.about(folder)
    done += seen
print(json.dumps(done))
"""


def test_opening_a_model_reads_its_folder_alone_and_starts_nothing():
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    done = subprocess.run(
        [sys.executable, "-c", OPENED, *(TESTS / "fixtures" / "runs" / name for name in ("linear", "maml"))],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_watch_sees_what_it_must(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_text("")
    with watched(tmp_path / "in") as seen:
        (tmp_path / "in" / "x").read_text()
        assert not seen
        (tmp_path / "in" / "x").write_text("")
        (tmp_path / "y").touch()
        (tmp_path / "y").read_text()
        (tmp_path / "y").unlink()
        subprocess.run([sys.executable, "-c", ""], check=True)
    told = [line.split("(")[0].split(" /")[0] for line in seen]
    assert {"open for writing", "open", "os.remove", "subprocess.Popen"} <= set(told)
