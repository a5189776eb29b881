"""Callbacks that send a run's records to TensorBoard, Weights & Biases, MLflow or trackio.

The package of a tracker is imported when a run starts, so only its users need it (extras `tensorboard`, `wandb`, `mlflow`
and `trackio`). `metrics.jsonl` in the run's folder is the exact record. After a run was killed and resumed, the tracker
gets the records after the last checkpoint a second time.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.training.callbacks import Callback, Training
from bmaml.training.records import Record


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(f"{name} is not installed: pip install 'bmaml[{extra}]'.") from None


def _numbers(record: Record) -> Record:
    """Return what a tracker can draw: finite numbers, the step left out."""
    return {name: value for name, value in record.items() if name != "step" and math.isfinite(value)}


def _title(name: str | None, training: Training) -> str | None:
    """Return the name of a run: the user's, else the name of its folder."""
    return name or (None if training.directory is None else training.directory.name)


class TensorBoard(Callback):
    """Writes records for TensorBoard (https://www.tensorflow.org/tensorboard), with the package tensorboardX.

    `directory` is the folder of the events (None: the folder `tensorboard` in the run's own). A resumed run hides the events
    after its checkpoint.
    Raises: InputError at the start of a run without a folder, if `directory` is None too.
    """

    def __init__(self, directory: str | Path | None = None):
        self.directory = directory
        self._writer: Any = None

    def start(self, training):
        directory = self.directory or (training.directory and training.directory / "tensorboard")
        if directory is None:
            raise InputError("TensorBoard has no folder to write to: give it a directory, or give train one.")
        purge = training.step + 1 if training.step else None
        self._writer = _package("tensorboardX", "tensorboard").SummaryWriter(logdir=str(directory), purge_step=purge)
        if not training.step:
            rows = (f"| {name} | {value} |" for name, value in training.settings().items())
            self._writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), 0)

    def record(self, training, record):
        for name, value in _numbers(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def close(self):
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandB(Callback):
    """Sends records to Weights & Biases (https://docs.wandb.ai).

    `project` and `name` are theirs (name None: the run's folder), and `options` are passed to `wandb.init`. Give an `id`, so
    that a resumed run continues in the same place.
    """

    def __init__(self, project: str = "bmaml", name: str | None = None, **options: Any):
        self.project, self.name, self.options = project, name, options
        self._run: Any = None

    def start(self, training):
        told = {"project": self.project, "name": _title(self.name, training), "config": training.settings(), "resume": "allow"}
        self._run = _package("wandb", "wandb").init(**(told | self.options))

    def record(self, training, record):
        self._run.log(_numbers(record), step=record["step"])

    def close(self):
        if self._run is not None:
            self._run.finish()
            self._run = None


class MLflow(Callback):
    """Sends records to MLflow (https://mlflow.org/docs/latest/ml/tracking), wherever its tracking URI points.

    `name` is the run's (None: its folder), and `options` are passed to `mlflow.start_run`. Give a `run_id`, so that a resumed
    run continues in the same place.
    """

    def __init__(self, name: str | None = None, **options: Any):
        self.name, self.options = name, options
        self._mlflow: Any = None

    def start(self, training):
        mlflow = _package("mlflow", "mlflow")
        told = {} if "run_id" in self.options else {"run_name": _title(self.name, training)}
        mlflow.start_run(**(told | self.options))
        mlflow.log_params(training.settings())
        self._mlflow = mlflow

    def record(self, training, record):
        self._mlflow.log_metrics(_numbers(record), step=record["step"])

    def close(self):
        if self._mlflow is not None:
            self._mlflow.end_run()
            self._mlflow = None


class Trackio(Callback):
    """Sends records to trackio (https://huggingface.co/docs/trackio), which draws them on this machine or in a Space.

    `project` and `name` are theirs (name None: the run's folder), and `options` are passed to `trackio.init`. A resumed run
    continues under its name.
    """

    def __init__(self, project: str = "bmaml", name: str | None = None, **options: Any):
        self.project, self.name, self.options = project, name, options
        self._trackio: Any = None

    def start(self, training):
        told = {"project": self.project, "name": _title(self.name, training), "config": training.settings(), "resume": "allow"}
        trackio = _package("trackio", "trackio")
        trackio.init(**(told | self.options))
        self._trackio = trackio

    def record(self, training, record):
        self._trackio.log(_numbers(record), step=record["step"])

    def close(self):
        if self._trackio is not None:
            self._trackio.finish()
            self._trackio = None
