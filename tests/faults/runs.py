"""Whole trainings that are killed or stopped at random moments, two at once, and with other numbers of devices."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
TIMES = int(os.environ.get("BMAML_FAULTS", "3"))
TRAIN = ["train", "sinusoid", "--method", "maml", "--inner-steps", "1", "--steps", "300", "--save-every", "20", "--seed", "3"]
FIT = [
    "fit",
    "TABLE",
    "--method",
    "experts",
    "--task",
    "task",
    "--x",
    "x",
    "--y",
    "y",
    "--particles",
    "2",
    "--steps",
    "300",
    "--shots",
    "2",
]
BOARD = ["leaderboard", "sinusoid", "--methods", "maml", "--seeds", "1", "--steps", "100", "--count", "20"]


@dataclass(frozen=True)
class Job:
    """A command, the folder of the run that it trains, and whether the same command goes on after a stop."""

    name: str
    command: list[str]
    run: str
    again: bool = False


JOBS = (Job("train", TRAIN, ""), Job("fit", FIT, ""), Job("leaderboard", BOARD, "runs/maml-0", again=True))


def started(command: list[str], devices: int = 1) -> subprocess.Popen:
    """The command line as a process of its own, which hears Ctrl-C."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bmaml.cli import main; main()"
    flags = f"--xla_force_host_platform_device_count={devices} {os.environ.get('XLA_FLAGS', '')}"
    cheap = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", code, *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cheap)


def _table(place: Path) -> Path:
    path = place / "table.csv"
    rows = [[f"t{i}", j / 8, (j / 8 + i) % 1] for i in range(12) for j in range(8)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["task", "x", "y"], *rows])
    return path


def _command(job: Job, place: Path, out: Path) -> list[str]:
    table = str(_table(place))
    return [table if word == "TABLE" else word for word in job.command] + ["--out", str(out)]


def _weights(run: Path) -> bytes:
    """The last checkpoint of a finished run."""
    last = json.loads((run / "manifest.json").read_text())["checkpoints"][-1]["step"]
    return (run / f"checkpoint-{last:08d}.safetensors").read_bytes()


def _finish(command: list[str], devices: int = 1) -> None:
    process = started(command, devices)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors


def _go_on(job: Job, command: list[str], out: Path) -> None:
    """Finish what was stopped: by the same command, or by `resume` where there is a run with a checkpoint."""
    run = out / job.run
    if not job.again and (run / "run.json").exists():
        command = ["resume", str(out)]
    _finish(command)


def killed(job: Job, place: Path) -> Iterator[tuple[str, bool]]:
    """Stop a job by each signal at random moments, go on, and compare with a run that nobody stopped."""
    rng = random.Random(job.name)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    whole, began = place / "whole", time.monotonic()
    _finish(_command(job, place, whole))
    seconds = time.monotonic() - began
    for sent in SIGNALS:
        for attempt in range(TIMES):
            out = place / f"{sent.name}-{attempt}"
            command = _command(job, place, out)
            process = started(command)
            # A third is stopped at any time, the others soon after the run has begun to write.
            if attempt % 3:
                while process.poll() is None and not (out / job.run / "metrics.jsonl").exists():
                    time.sleep(0.005)
            time.sleep(rng.random() * seconds * (0.1 if attempt % 3 else 1.0))
            process.send_signal(sent)
            _, errors = process.communicate()
            assert "Traceback" not in errors, errors
            _go_on(job, command, out)
            assert _weights(out / job.run) == _weights(whole / job.run), f"{job.name}: other weights"
            left = [str(file) for file in (out / job.run).glob(".*")]
            assert not left, left
            shutil.rmtree(out)
            yield f"{sent.name} of {job.name}", process.returncode != 0


def together(place: Path) -> Iterator[tuple[str, bool]]:
    """Two processes train into one folder at once: one is refused by a sentence, and the other's run is whole."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for attempt in range(TIMES):
        out = place / f"both-{attempt}"
        pair = [started([*TRAIN[:-1], str(seed), "--out", str(out)]) for seed in (3, 4)]
        told = [process.communicate()[1] for process in pair]
        assert sorted(process.returncode for process in pair) == [0, 2], told
        refused = next(text for process, text in zip(pair, told, strict=True) if process.returncode)
        assert "another training" in refused or "already holds a run" in refused, refused
        _finish(["evaluate", str(out), "--count", "2"])
        yield "two trainings into one folder", True


def devices(place: Path) -> Iterator[tuple[str, bool]]:
    """A run that is stopped goes on with another number of devices, to nearly the same parameters."""
    import numpy as np
    import safetensors.numpy

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    _finish([*TRAIN, "--out", str(place / "whole")])
    whole = safetensors.numpy.load(_weights(place / "whole"))
    for before, after in ((1, 2), (1, 4), (4, 1)):
        out = place / f"from-{before}-on-{after}"
        process = started([*TRAIN, "--out", str(out)], before)
        while process.poll() is None and not list(out.glob("checkpoint-*")):
            time.sleep(0.005)
        process.kill()
        process.communicate()
        _finish(["resume", str(out)], after)
        other = safetensors.numpy.load(_weights(out))
        for name, value in whole.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-2, atol=1e-3, err_msg=name)
        yield f"a run on {before} devices goes on with {after}", True


def lost(place: Path) -> Iterator[tuple[str, bool]]:
    """Of two processes that train together one is killed: the other ends in a sentence, and the run goes on alone."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for victim in (0, 1):
        out = place / f"without-{victim}"
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listening.getsockname()[1]}"
        joined = [*TRAIN, "--out", str(out), "--distributed", "--coordinator", address, "--processes", "2", "--process"]
        pair = [started([*joined, str(process)]) for process in (0, 1)]
        while all(process.poll() is None for process in pair) and not list(out.glob("checkpoint-*")):
            time.sleep(0.005)
        pair[victim].kill()
        _, errors = pair[1 - victim].communicate(timeout=60)
        assert pair[1 - victim].returncode == 3, errors
        assert "another process of this training ended or was lost at meta-step" in errors.splitlines()[-1], errors
        assert "Traceback" not in errors, errors
        pair[victim].communicate()
        _finish(["resume", str(out)])
        yield f"process {victim} of two is lost", True
